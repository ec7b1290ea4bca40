# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs outside the tree, built with the library as `meson install` installs it."""

import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import BUILD, ROOT
from tests.support.process import must, run

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
C_COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
# g++ 12 and clang++ 14 know C++23 by this name only.
CXX = list(itertools.product(COMPILERS, ["-std=c++17", "-std=c++20", "-std=c++2b"]))
CODES = """
#include <libfreeze/ioctl.h>
enum { freeze = FIFREEZE, thaw = FITHAW };
#undef FIFREEZE
#undef FITHAW
#include <linux/fs.h>
_Static_assert(freeze == (int)FIFREEZE && thaw == (int)FITHAW, "as in linux/fs.h");
_Static_assert(FIFREEZE_TIMEOUT == 0x40085877 && FIFREEZE_RESET_TIMEOUT == 0x40085878,
               "as in the patches");
"""
FROM_PYTHON = """
import ctypes, errno, sys
libfreeze = ctypes.CDLL("libfreeze.so.0")
libfreeze.libfreeze_version.restype = ctypes.c_char_p
libfreeze.libfreeze_error_message.restype = ctypes.c_char_p
paths = (ctypes.c_char_p * 1)(b"/none")
guard = ctypes.c_void_p(1)
assert libfreeze.libfreeze_version().count(b".") == 2
result = libfreeze.libfreeze_freeze(paths, ctypes.c_size_t(1), None, ctypes.byref(guard))
assert result == -errno.ENOENT and not guard.value, result
assert b"'/none'" in libfreeze.libfreeze_error_message()
libfreeze.libfreeze_guard_free(guard)
"""


class Installed:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.env = {"PKG_CONFIG_SYSROOT_DIR": str(root)}
        must("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root)
        self.library = self.find("libfreeze.so.*.*")
        self.guardian = self.find("libfreeze-guardian")
        self.env["PKG_CONFIG_PATH"] = str(self.find("libfreeze.pc").parent)
        self.env["LD_LIBRARY_PATH"] = str(self.library.parent)
        self.env["LIBFREEZE_GUARDIAN"] = str(self.guardian)
        self.flags = must("pkg-config", "--cflags", "--libs", "libfreeze", env=self.env).split()
        self.include = self.find("libfreeze/freeze.hpp").parents[1]

    def find(self, pattern: str) -> Path:
        return next(self.root.rglob(pattern))

    def succeeds(self, *words: str | Path) -> str:
        result = run(*words, env=self.env, seconds=300)
        assert result.status == 0, f"{' '.join(map(str, words))}: {result}"
        return result.text

    def compiles(self, source: str, language: str, compiler: str, *options: str) -> str:
        command = [compiler, *options, f"-I{self.include}", "-x", language, "-"]
        done = subprocess.run(command, input=source, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


def test_with_pkg_config(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "consumer"
    for compiler, standard in CXX:
        source = HERE / "consumer.cpp"
        installed.succeeds(compiler, standard, *STRICT, source, "-o", program, *installed.flags)
        installed.succeeds(program)


def test_with_cmake(installed: Installed, tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("needs cmake")
    installed.succeeds("cmake", "-G", "Ninja", "-S", HERE, "-B", tmp_path)
    installed.succeeds("cmake", "--build", tmp_path)
    installed.succeeds(tmp_path / "consumer")
    installed.succeeds(tmp_path / "consumer-c")


def test_headers_stand_alone(installed: Installed) -> None:
    headers = installed.include / "libfreeze"
    for header in headers.glob("*.hpp"):
        for compiler, standard in CXX:
            source = f"#include <libfreeze/{header.name}>\n"
            installed.compiles(source, "c++", compiler, standard, *STRICT, "-fsyntax-only")
    for header in headers.glob("*.h"):
        source = f"#include <libfreeze/{header.name}>\n"
        for compiler in C_COMPILERS:
            installed.compiles(source, "c", compiler, "-std=c99", *STRICT, "-fsyntax-only")
        for compiler, standard in CXX:
            installed.compiles(source, "c++", compiler, standard, *STRICT, "-fsyntax-only")


def test_all_forms_of_construction_compile(installed: Installed) -> None:
    source = (HERE / "construction.cpp").read_text()
    for compiler, standard in CXX:
        installed.compiles(
            source, "c++", compiler, standard, *STRICT, "-Wno-unused-variable", "-fsyntax-only"
        )


def test_codes_agree_with_the_kernel_headers(installed: Installed) -> None:
    installed.compiles(CODES, "c", "gcc", "-std=c11", "-fsyntax-only")


def test_headers_include_no_other_library(installed: Installed) -> None:
    source = "#include <libfreeze/freeze.hpp>"
    included = installed.compiles(source, "c++", "g++", "-std=c++17", "-M")
    other = r"\S*(?:libmount|blkid|/fmt/|linux/(?:fs|ioctl|mount)\.h|sys/(?:ioctl|mount)\.h)\S*"
    assert "libfreeze/freeze_guard.hpp" in included
    assert not re.findall(rf"{other}|\S*libfreeze/ioctl\.h", included)


DISCARDED = [
    pytest.param("make()", COMPILERS, id="that a function returns"),
    pytest.param('libfreeze::FreezeGuard::adopt("/")', COMPILERS, id="that is adopted"),
    # g++ does not look at the class of a temporary.
    pytest.param('libfreeze::FreezeGuard("/")', ["clang++"], id="that is a temporary"),
]


@pytest.mark.parametrize(("discarded", "warning"), DISCARDED)
def test_a_discarded_guard_is_warned_about(
    installed: Installed, discarded: str, warning: list[str]
) -> None:
    source = (
        "#include <libfreeze/freeze.hpp>\nlibfreeze::FreezeGuard make();\n"
        f"void f() {{ {discarded}; }}\n"
    )
    compilers = [compiler for compiler in warning if compiler in COMPILERS]
    if not compilers:
        pytest.skip(f"needs {', '.join(warning)}")
    for compiler in compilers:
        with pytest.raises(AssertionError, match="nodiscard|unused"):
            installed.compiles(source, "c++", compiler, "-std=c++17", "-Werror", "-fsyntax-only")


def test_only_the_interface_is_exported(installed: Installed) -> None:
    """Every function that freeze.h declares, under a version, and nothing else."""
    options = ("-D", "--defined-only", "--with-symbol-versions")
    text = installed.succeeds("nm", *options, installed.library)
    exported = {line.split()[-1] for line in text.splitlines()}
    functions = {name for name in exported if not name.startswith("LIBFREEZE_")}
    header = (installed.include / "libfreeze/freeze.h").read_text()
    declared = set(re.findall(r"^(?:LIBFREEZE_EXPORT )?[^#\n]*?\b(libfreeze_\w+)\(", header, re.M))
    versioned = re.compile(r"(libfreeze_\w+)@@LIBFREEZE_\d+\.\d+")
    names = {match[1] for name in functions if (match := versioned.fullmatch(name))}
    assert len(names) == len(functions), functions
    assert names == declared


def test_the_soname_is_right(installed: Installed) -> None:
    dynamic = installed.succeeds("readelf", "-d", installed.library)
    assert re.search(r"SONAME.*\[libfreeze\.so\.0\]", dynamic)
    assert installed.library.with_name("libfreeze.so.0").exists()
    assert installed.library.with_name("libfreeze.so").exists()


def test_a_c_program_links(installed: Installed, tmp_path: Path) -> None:
    program = tmp_path / "in_c"
    source = ROOT / "examples/snapshot_in_c.c"
    installed.succeeds("gcc", "-std=c99", *STRICT, source, "-o", program, *installed.flags)
    assert "usage" in run(program, env=installed.env).text
    for compiler in C_COMPILERS:
        source = HERE / "consumer.c"
        installed.succeeds(compiler, "-std=c99", *STRICT, source, "-o", program, *installed.flags)
        installed.succeeds(program)


def test_a_python_program_uses_the_library(installed: Installed) -> None:
    installed.succeeds(sys.executable, "-c", FROM_PYTHON)


def test_the_guardian_is_installed(installed: Installed) -> None:
    assert run("test", "-x", installed.guardian).status == 0
    path = "/" + str(installed.guardian.relative_to(installed.root))
    assert path.encode() in installed.library.read_bytes()
