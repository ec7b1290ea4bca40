# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does each act of examples/demo in the virtual machine end as it must?

On the patched kernel on ext4 and XFS; with --stock on the stock kernel, on ext4 or with --full on
both. --fs TYPE restricts it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BACKUP = "backup under load"
ACTS = [
    BACKUP,
    "freezers and dm overlap",
    "freezer stuck on itself",
    "freezer killed",
    "user's stuck writer",
]
FILESYSTEMS = ["ext4", "xfs"]
DEADLINE = 3600  # seconds, with a kernel to build


class Demo:
    def __init__(self, config: pytest.Config) -> None:
        self.stock = bool(config.getoption("--stock"))
        chosen = config.getoption("--fs")
        if self.stock and not chosen and not config.getoption("--full"):
            chosen = ["ext4"]
        self.filesystems = chosen or FILESYSTEMS
        self.done: subprocess.CompletedProcess[str] | None = None

    def run(self) -> subprocess.CompletedProcess[str]:
        """Runs it once, for all tests."""
        if self.done is None:
            command: list[str | Path] = [ROOT / "examples/demo"]
            command += ["--stock"] if self.stock else []
            if len(self.filesystems) == 1:
                command += ["--fs", *self.filesystems]
            self.done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=DEADLINE)
            print(self.done.stdout, file=sys.__stderr__, flush=True)
        return self.done


@pytest.fixture(scope="module")
def demo(request: pytest.FixtureRequest) -> Demo:
    return Demo(request.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = "demo --stock" if metafunc.config.getoption("--stock") else "demo"
    if "act" in metafunc.fixturenames:
        points = [(kind, act) for kind in FILESYSTEMS for act in ACTS]
        ids = [f"{name}: {kind}: {act}" for kind, act in points]
        metafunc.parametrize(("kind", "act"), points, ids=ids)
    else:
        metafunc.parametrize("name", [name])


def test(demo: Demo, kind: str, act: str) -> None:
    """By the table at the end: on a stock kernel, all but the first must fail."""
    if kind not in demo.filesystems:
        pytest.skip("only with --full" if demo.stock else "not asked for by --fs")
    word = "fails" if demo.stock and act != BACKUP else "ok"
    output = demo.run().stdout
    table = output[output.rfind("\nOn the ") :]
    assert re.search(rf"^  {kind} +{act} +{word} ", table, re.M), output[-5000:]


def test_act_on_the_own_kernel(demo: Demo, name: str) -> None:
    output = demo.run().stdout
    if left_out := re.search(r"^ +left out: (.*)", output, re.M):
        pytest.skip(left_out[1])
    own, _, _ = output.partition("[4/")
    assert re.search(rf"^  ext4 +{BACKUP} +ok ", own, re.M), own


def test_exit_status(demo: Demo, name: str) -> None:
    assert demo.run().returncode == 0
