# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other languages use the library. All tests of this directory use it from Python, with ctypes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.holds.conftest import Disk, NewWorker
from tests.holds.languages import build_c, build_cpp
from tests.support.paths import ROOT
from tests.support.process import run, wait_until


@pytest.mark.parametrize("standard", ["c99", "c11", "c17"])
def test_c(standard: str, work: Path, disk: Disk) -> None:
    """A strictly conforming program freezes and thaws."""
    holder = subprocess.Popen(
        [build_c(work, standard), disk.path, "60000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert wait_until(lambda: disk.writers_wait or holder.poll() is not None, 5)
        out, _ = holder.communicate(timeout=10)
    finally:
        holder.kill()
    assert re.fullmatch(rb"frozen [0-9a-f]{16}\nthawed\n", out), out
    assert holder.returncode == 0
    assert not disk.writers_wait


def test_c_reports_an_error(work: Path) -> None:
    result = run(build_c(work), "/proc", "0")
    assert result.status == 1
    assert "/proc" in result.text


@pytest.mark.parametrize("standard", ["c++17", "c++20", "c++23"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp(compiler: str, standard: str, work: Path, run_directory: Path) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"there is no {compiler}")
    standard = standard.replace("23", "2b")  # what older compilers call it
    assert run(build_cpp(work, standard, compiler)).status == 0


def test_ctypes(disk: Disk, worker: NewWorker) -> None:
    """The version, and a freeze with a callback."""
    program = worker()
    version = re.search(r"version: '([\d.]+)'", (ROOT / "meson.build").read_text())
    assert version and program.must("version")["version"] == version[1]
    answer = program.must("freeze", paths=[disk.name], timeout_ms=60_000, progress=True)
    assert answer["phases"][0] == 0 and answer["phases"][-1] == 3
    assert answer["phases"] == sorted(answer["phases"])
    described = program.must("describe")
    assert re.fullmatch("[0-9a-f]{16}", described["id"])
    (filesystem,) = described["filesystems"]
    assert filesystem["path"] == disk.name
    assert filesystem["type"] == "ext4"
    program.must("thaw")
