# SPDX-License-Identifier: LGPL-2.1-or-later
"""ccache-gcc with precompiled headers compiles what gcc alone compiles."""

import subprocess
from pathlib import Path

import pytest

from tests.vm import headers, image
from tests.vm.common import VM

INCLUDED = " ".join(f"-include ./include/linux/{name}.h" for name in headers.FIRST)
OPTIONS = f"-I./include {INCLUDED} -Os -Wall -Werror=implicit-function-declaration"
KERNEL_H = """
#ifdef CHANGED
static inline const char *which(void) { return "changed"; }
#else
static inline const char *which(void) { return "as it is"; }
#endif
#ifndef pr_fmt
#define pr_fmt(text) text
#endif
#define MESSAGE pr_fmt("message of " KBUILD_MODNAME)
"""
USE = "#include <linux/kernel.h>\nconst char *used(void) { return which(); }\n"

Done = subprocess.CompletedProcess[str]


def names_of(name: str) -> list[str]:
    """What Kbuild defines for an object."""
    text = [f'-DKBUILD_{macro}="{name}"' for macro in ("MODFILE", "BASENAME", "MODNAME")]
    return [*text, f"-D__KBUILD_MODNAME=kmod_{name}"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree with compiled headers."""
    monkeypatch.setenv("CCACHE_DIR", str(tmp_path / "ccache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "include/linux").mkdir(parents=True)
    for name in (*headers.FIRST, *headers.COMMON):
        Path("include/linux", f"{name}.h").write_text(f"#pragma once\n/* {name} */\n")
    Path("include/linux/kernel.h").write_text(f"#pragma once\n{KERNEL_H}")
    headers.EXAMPLE.parent.mkdir(parents=True)
    command = f"ccache-gcc -Wp,-MMD,x.d {OPTIONS} -DKBUILD_MODNAME='\"empty\"'"
    headers.EXAMPLE.write_text(f"savedcmd_empty.o := {command} -c -o empty.o empty.c ; objtool\n")
    headers.precompile(tmp_path, image.make_environment())
    assert Path(headers.COMPILED).exists()
    return tmp_path


def build(text: str, options: str = "") -> Done:
    """Compiles text as a part of the kernel."""
    Path("part.c").write_text(text)
    words = ["-Wp,-MMD,part.d", *OPTIONS.split(), *options.split(), *names_of("part")]
    env = image.make_environment()
    command = [str(VM / "ccache-gcc"), *words, "-c", "-o", "part.o", "part.c"]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def strings() -> bytes:
    return Path("part.o").read_bytes()


def test_the_compiled_headers_are_used_and_all_are_dependencies(tree: Path) -> None:
    done = build(USE)
    assert (done.returncode, done.stderr) == (0, "")
    depends = Path("part.d").read_text()
    for name in (*headers.FIRST, *headers.COMMON):
        assert f"include/linux/{name}.h" in depends
    assert build("const char *used(void) { return which(); }\n").returncode == 0
    headers.remove(tree)
    assert build("const char *used(void) { return which(); }\n").returncode == 1


def test_a_source_that_defines_something_first_is_compiled_without_them(tree: Path) -> None:
    assert build(f"#define CHANGED\n{USE}").returncode == 0
    assert b"changed" in strings()
    assert build(USE, options="-DCHANGED").returncode == 0
    assert b"changed" in strings()


@pytest.mark.parametrize("option", ["-fno-builtin", "-O1", "-include other.h"])
def test_a_source_with_its_own_options_is_compiled_without_them(tree: Path, option: str) -> None:
    Path("other.h").write_text("#define CHANGED\n")
    without_include = "const char *used(void) { return which(); }\n"
    assert build(without_include, options=option).returncode == 1
    assert build(USE, options=option).returncode == 0
    assert (b"changed" in strings()) == ("other.h" in option)


def test_a_macro_that_the_headers_look_for_counts_later_too(tree: Path) -> None:
    source = f"#include <linux/sched.h>\n#define CHANGED\n{USE}"
    assert build(source).returncode == 0
    assert b"changed" in strings()


def test_names_and_formats_of_the_object_count(tree: Path) -> None:
    message = "#include <linux/kernel.h>\nconst char *used(void) { return MESSAGE; }\n"
    assert build(message).returncode == 0
    assert b"message of part" in strings()
    done = build(f'#define pr_fmt(text) "before " text\n{message}')
    assert (done.returncode, done.stderr) == (0, "")
    assert b"before message of part" in strings()


def test_warnings_and_errors_are_those_of_gcc(tree: Path) -> None:
    done = build(f"{USE}static int unused;\n")
    assert done.returncode == 0
    assert done.stderr.count("-Wunused-variable") == 1
    assert build("broken\n").returncode == 1


def test_ccache_notices_a_change_of_a_header(tree: Path) -> None:
    def compile_again() -> bytes:
        headers.remove(tree)
        headers.precompile(tree, image.make_environment())
        assert build(USE).returncode == 0
        return strings()

    assert b"as it is" in compile_again()
    header = Path("include/linux/kernel.h")
    header.write_text(header.read_text().replace("as it is", "edited"))
    assert b"edited" in compile_again()
