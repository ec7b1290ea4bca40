# SPDX-License-Identifier: LGPL-2.1-or-later
"""The TAP that pytest_tap writes for a pytest suite."""

import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

SUITE = """
import pytest

@pytest.fixture
def left():
    yield
    assert "found" == "wanted"

def test_passes(left):
    print("not for TAP")

@pytest.mark.parametrize("number", [1])
def test_compares(number):
    assert number == 2

def test_skips():
    pytest.skip("why")
"""


def test_a_suite_with_each_kind_of_point(tmp_path: Path) -> None:
    """A failed comparison shows its values, and nothing but TAP is on standard output."""
    (tmp_path / "test_it.py").write_text(SUITE)
    command = [sys.executable, "-B", "-m", "tests.support.pytest_tap", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    points = [line for line in lines if not line.startswith("#")]
    assert points == [
        "ok 1 - passes",
        "not ok 2 - passes: clean-up",
        "not ok 3 - compares [1]",
        "ok 4 - skips # SKIP why",
        "1..4",
    ]
    assert any(line.startswith("# assert 1 == 2") for line in lines), done.stdout
    assert any("'found' == 'wanted'" in line for line in lines), done.stdout
