# SPDX-License-Identifier: LGPL-2.1-or-later
"""The binary interface, compared with that of the first stable release, 0.2.0.

The dump was made by
    abidw --headers-dir include/libfreeze --drop-private-types --exported-interfaces-only
with --no-corpus-path --no-comp-dir-path --short-locs --no-elf-needed."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import BUILD, ROOT
from tests.support.process import must

DUMP = Path(__file__).with_name("libfreeze-0.2.0.abi")
HEADERS = ROOT / "include/libfreeze"
LIBRARY = BUILD / "libfreeze/libfreeze.so"
INCOMPATIBLE = 8  # a bit of abidiff's exit status; 4 is any change


def abidiff(old: Path, new: Path) -> subprocess.CompletedProcess[str]:
    options = ["--headers-dir2", str(HEADERS), "--drop-private-types", "--exported-interfaces-only"]
    return subprocess.run(
        ["abidiff", *options, str(old), str(new)], capture_output=True, text=True, timeout=300
    )


def test_nothing_of_the_interface_has_changed_or_gone() -> None:
    done = abidiff(DUMP, LIBRARY.resolve())
    assert not done.returncode & (INCOMPATIBLE | 1 | 2), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("libfreeze_guard_keep", "libfreeze_guard_kept"),  # a function is gone
        ("size-in-bits='768'", "size-in-bits='832'"),  # a struct has grown
    ],
)
def test_the_comparison_sees_a_change(before: str, after: str, tmp_path: Path) -> None:
    text = DUMP.read_text()
    assert before in text
    changed = tmp_path / "changed.abi"
    changed.write_text(text.replace(before, after))
    assert abidiff(changed, LIBRARY.resolve()).returncode & 4


def test_every_symbol_has_the_version_of_its_release() -> None:
    lines = must("nm", "-D", "--defined-only", "--with-symbol-versions", LIBRARY).splitlines()
    names = [line.split()[-1] for line in lines]
    functions = [name for name in names if not name.startswith("LIBFREEZE_")]
    assert functions
    assert not [
        name for name in functions if not re.fullmatch(r"libfreeze_\w+@@LIBFREEZE_0\.2", name)
    ]
