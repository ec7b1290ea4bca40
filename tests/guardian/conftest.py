# SPDX-License-Identifier: LGPL-2.1-or-later
"""A filesystem and an empty runtime directory for each test."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.guardian.client import END_ALL, Filesystem, HungUp
from tests.support import volumes
from tests.support.paths import BUILD
from tests.support.process import is_alive, wait_until


def guardians(directory: Path) -> list[int]:
    """The pids of the guardians that use this directory."""
    wanted = b"LIBFREEZE_RUNTIME_DIR=" + os.fsencode(directory)
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                wanted in (path / "environ").read_bytes().split(b"\0")
                and (path / "comm").read_text().startswith("libfreeze-guard")
                and is_alive(int(path.name))
            ):
                found.append(int(path.name))
    return found


@pytest.fixture(scope="session")
def guardian(request: pytest.FixtureRequest) -> Path:
    chosen = request.config.getoption("--guardian")
    return Path(chosen) if chosen else BUILD / "libfreeze/guardian/libfreeze-guardian"


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def volume(request: pytest.FixtureRequest, work: Path) -> Iterator[volumes.Volume]:
    kinds = request.config.getoption("--fs")
    if kinds and request.param not in kinds:
        pytest.skip("another filesystem was asked for")
    if why := volumes.why_no_filesystem(request.param):
        unavailable(why)
    volume = volumes.Volume(work, request.param)
    yield volume
    volume.destroy()


@pytest.fixture
def fs(volume: volumes.Volume, guardian: Path) -> Iterator[Filesystem]:
    """After the test, nothing may be frozen, and no guardian may be left."""
    with tempfile.TemporaryDirectory(prefix="libfreeze-run.", dir="/run") as name:
        filesystem = Filesystem(volume.path, Path(name), guardian)
        yield filesystem
        with contextlib.suppress(AssertionError, HungUp):
            filesystem.find().list(END_ALL)
        gone = wait_until(lambda: not guardians(filesystem.directory))
        for pid in guardians(filesystem.directory):
            os.kill(pid, signal.SIGKILL)
        was_frozen = volume.thaw()
        assert gone, "a guardian was left behind"
        assert not was_frozen, "left frozen"
