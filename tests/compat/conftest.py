# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures, and the judgement of what has to fail on an unpatched kernel."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.compat.guest_agent import GuestAgent
from tests.compat.volume import LogicalVolume
from tests.support.lvm import Group
from tests.support.volumes import SIZES

KERNEL = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
PASSED = pytest.StashKey[bool]()
Sysctl = Callable[[str, int], None]

# What an unpatched kernel must fail at ---------------------------------------------

MARKERS = [
    "fails_on_stock: an unpatched kernel must fail at this",
    "fails_on_stock_6_1: the same for 6.1, where the device of a frozen filesystem cannot be "
    "suspended if the suspend freezes it",
]


def must_fail(item: pytest.Function) -> bool:
    if not item.config.getoption("stock"):
        return False
    if item.get_closest_marker("fails_on_stock_6_1"):
        return KERNEL < (6, 12) and item.callspec.params["fs"] != "btrfs"
    return item.get_closest_marker("fails_on_stock") is not None


def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> pytest.TestReport:
    """Only a failure of the subject is what the kernel must fail at: a test that could not be made
    has failed."""
    report = pytest.TestReport.from_item_and_call(item, call)
    if call.when == "call":
        item.stash[PASSED] = report.passed
        if must_fail(item):
            report.nodeid += " (fails on stock, as it must)"
            if report.passed:
                report.outcome = "failed"
                report.longrepr = "an unpatched kernel passed"
            elif call.excinfo and call.excinfo.errisinstance(AssertionError):
                report.outcome = "passed"
    return report


# Fixtures --------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("fs", metafunc.config.getoption("fs") or list(SIZES), scope="session")


@pytest.fixture
def dm_freezes(fs: str) -> None:
    if fs == "btrfs" and KERNEL < (6, 13):
        pytest.skip("device-mapper does not freeze btrfs on 6.1 and 6.12")


@pytest.fixture(scope="session")
def group(disk: str, own_mounts: None) -> Group:
    return Group("freeze", disk)


@pytest.fixture(scope="session")
def volumes() -> dict[str, LogicalVolume]:
    """The one that the last test left in a good state, by the filesystem's type."""
    return {}


@pytest.fixture
def volume(
    volumes: dict[str, LogicalVolume],
    group: Group,
    work: Path,
    fs: str,
    request: pytest.FixtureRequest,
) -> Iterator[LogicalVolume]:
    """After a failure, the next test gets a new one."""
    volume = volumes.pop(fs, None)
    if volume is None:
        while volumes:
            volumes.popitem()[1].destroy()
        volume = LogicalVolume(group, work, fs)
    yield volume
    left = volume.settle()
    if left == [] and request.node.stash.get(PASSED, False):
        volumes[fs] = volume
        return
    volume.destroy()
    if request.node.stash.get(PASSED, False):
        pytest.fail("; ".join(left or ["the filesystem cannot be used any more"]))


@pytest.fixture
def agent() -> Iterator[GuestAgent]:
    with GuestAgent() as agent:
        yield agent


@pytest.fixture
def sysctl() -> Iterator[Sysctl]:
    """Sets a value below fs. An unpatched kernel does not have it, and behaves as with 0."""
    before: dict[Path, str] = {}

    def set_value(name: str, value: int) -> None:
        path = Path("/proc/sys/fs", name)
        if path.exists():
            before.setdefault(path, path.read_text())
            path.write_text(str(value))

    yield set_value
    for path, text in before.items():
        path.write_text(text)
