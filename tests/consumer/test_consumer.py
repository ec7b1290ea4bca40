# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs outside the tree, built with the library as `meson install` installs it."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import BUILD, ROOT
from tests.support.process import must, run

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror"]
COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
CXX = list(itertools.product(COMPILERS, ["-std=c++17", "-std=c++20"]))
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


def test_headers_stand_alone(installed: Installed) -> None:
    headers = installed.include / "libfreeze"
    for header in headers.glob("*.hpp"):
        for compiler, standard in CXX:
            source = f"#include <libfreeze/{header.name}>"
            installed.compiles(source, "c++", compiler, standard, *STRICT, "-fsyntax-only")
    for header in headers.glob("*.h"):
        source = f"#include <libfreeze/{header.name}>"
        installed.compiles(source, "c", "gcc", "-std=c99", *STRICT, "-fsyntax-only")
        installed.compiles(source, "c++", "g++", "-std=c++17", *STRICT, "-fsyntax-only")


def test_codes_agree_with_the_kernel_headers(installed: Installed) -> None:
    installed.compiles(CODES, "c", "gcc", "-std=c11", "-fsyntax-only")


def test_headers_include_no_other_library(installed: Installed) -> None:
    source = "#include <libfreeze/freeze.hpp>"
    included = installed.compiles(source, "c++", "g++", "-std=c++17", "-M")
    other = r"\S*(?:libmount|blkid|/fmt/|linux/(?:fs|ioctl|mount)\.h|sys/(?:ioctl|mount)\.h)\S*"
    assert "libfreeze/freeze_guard.hpp" in included
    assert not re.findall(rf"{other}|\S*libfreeze/ioctl\.h", included)


def test_a_discarded_guard_is_warned_about(installed: Installed) -> None:
    for compiler in COMPILERS:
        for discarded in 'libfreeze::FreezeGuard("/")', 'libfreeze::FreezeGuard::adopt("/")':
            source = f"#include <libfreeze/freeze.hpp>\nvoid f() {{ {discarded}; }}\n"
            with pytest.raises(AssertionError, match="nodiscard|unused"):
                installed.compiles(
                    source, "c++", compiler, "-std=c++17", "-Werror", "-fsyntax-only"
                )


def test_only_the_interface_is_exported(installed: Installed) -> None:
    text = installed.succeeds("nm", "-D", "--defined-only", installed.library)
    symbols = [line.split(maxsplit=1)[1].partition("@")[0] for line in text.splitlines()]
    assert "T _ZN9libfreeze11FreezeGuard4thawEv" in symbols
    interface = re.compile(r"A LIBFREEZE_0|T _ZNK?9libfreeze.*|T libfreeze_.*")
    internal = re.compile(r"4Impl|10Superblock|6System")
    wrong = [name for name in symbols if not interface.fullmatch(name) or internal.search(name)]
    assert not wrong


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


def test_the_guardian_is_installed(installed: Installed) -> None:
    assert run("test", "-x", installed.guardian).status == 0
    path = "/" + str(installed.guardian.relative_to(installed.root))
    assert path.encode() in installed.library.read_bytes()
