# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the programs of this directory in other languages."""

from pathlib import Path

from tests.holds.libfreeze import LIBRARY
from tests.support.paths import ROOT
from tests.support.process import must

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic-errors", f"-I{ROOT}/include"]
LINK: list[str | Path] = [LIBRARY, f"-Wl,-rpath,{LIBRARY.parent}"]


def build(compiler: str, standard: str, source: str, target: Path) -> Path:
    must(compiler, f"-std={standard}", *STRICT, "-o", target, HERE / source, *LINK)
    target.chmod(0o755)
    return target


def build_c(work: Path, standard: str = "c99") -> Path:
    return build("cc", standard, "hold.c", work / f"hold-{standard}")


def build_cpp(work: Path, standard: str = "c++17", compiler: str = "c++") -> Path:
    target = work / f"conditions-{compiler}-{standard}"
    return build(compiler, standard, "conditions.cpp", target)
