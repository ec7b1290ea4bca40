# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures and options for all suites."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import volumes

pytest.register_assert_rewrite("tests.support")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fs", action="append", default=[], metavar="TYPE", help="on this filesystem only"
    )
    parser.addoption("--stock", action="store_true", help="the kernel has no patches")
    parser.addoption("--disk", metavar="DEVICE", help="a disk to destroy; in the VM only")
    parser.addoption("--guardian", metavar="FILE", help="run this guardian")
    parser.addoption("--library", metavar="FILE", help="load this library")
    parser.addoption(
        "--case", action="append", default=[], metavar="NAME", help="only the cases so called"
    )
    parser.addoption("--full", action="store_true", help="the long form of the suite")


def unavailable(why: str) -> NoReturn:
    """Skips the test. In the virtual machine it fails, since everything is available there."""
    if os.environ.get("LIBFREEZE_VM") == "1":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def own_mounts() -> None:
    """Mounts are private to the test, and end with it."""
    if why := volumes.why_no_loop_devices() or volumes.own_mount_namespace():
        unavailable(why)
    # A user's PATH may lack these, and mkfs is there.
    os.environ["PATH"] += ":/usr/local/sbin:/usr/sbin:/sbin"


@pytest.fixture(scope="session")
def work(own_mounts: None) -> Iterator[Path]:
    """A directory that anybody can read, for images and mountpoints."""
    with tempfile.TemporaryDirectory(prefix="libfreeze-test.", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)
        volumes.unmount_below(Path(name))


@pytest.fixture(scope="session")
def disk(request: pytest.FixtureRequest) -> str:
    """A disk of the virtual machine, which the suite destroys."""
    if os.environ.get("LIBFREEZE_VM") != "1":
        pytest.skip("runs in the virtual machine only: it destroys a disk")
    disk: str | None = request.config.getoption("disk")
    if disk is None:
        pytest.fail("which disk? The option --disk DEVICE is missing")
    return disk
