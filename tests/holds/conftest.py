# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: filesystems, programs that hold them, and the host's socket."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.holds.libfreeze import LIBRARY
from tests.holds.raw import DIRECTORY
from tests.holds.worker import Worker, guardians
from tests.holds.writers import SOON, Heartbeat, StuckWriter
from tests.support.paths import BUILD, GUARDIAN
from tests.support.process import Program, must, wait_until
from tests.support.volumes import Volume, has_descriptors

FREEZECTL = BUILD / "tools/freezectl/freezectl"
# The namespaces of a container. The program that is run becomes its init.
CONTAINER = ["unshare", "--pid", "--fork", "--mount", "--cgroup", "--mount-proc"]


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How often to repeat: the first number, or with --full the second."""
    full = bool(request.config.getoption("full"))

    def choose(quick: int, thorough: int) -> int:
        return int(os.environ.get("LIBFREEZE_ROUNDS") or (thorough if full else quick))

    return choose


@pytest.fixture(scope="session")
def run_directory(own_mounts: None) -> Iterator[Path]:
    """An empty /run/libfreeze, so that no guardian of this machine is involved."""
    for file in (LIBRARY, GUARDIAN):
        if not file.exists():
            pytest.fail(f"{file} is not built: run meson compile, or set LIBFREEZE_BUILD")
    os.environ["LIBFREEZE_GUARDIAN"] = os.fspath(GUARDIAN)
    os.environ.pop("LIBFREEZE_RUNTIME_DIR", None)
    existed = DIRECTORY.exists()
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    must("mount", "-t", "tmpfs", "-o", "mode=0700", "libfreeze-test", DIRECTORY)
    yield DIRECTORY
    must("umount", "-l", DIRECTORY)
    if not existed:
        with contextlib.suppress(OSError):
            DIRECTORY.rmdir()


class Disk(Volume):
    """A filesystem with a program that shows whether it is frozen."""

    heartbeat: Heartbeat

    def start(self) -> "Disk":
        self.path.chmod(0o755)
        self.heartbeat = Heartbeat(self.path)
        return self

    @property
    def name(self) -> str:
        return os.fspath(self.path)

    @property
    def writers_wait(self) -> bool:
        return self.heartbeat.frozen()

    def end(self) -> None:
        self.thaw()
        self.heartbeat.end()
        self.destroy()


@pytest.fixture(scope="session")
def session_disks(work: Path, run_directory: Path) -> Iterator[list[Disk]]:
    disks = [Disk(work, "ext4").start(), Disk(work, "ext4").start()]
    yield disks
    for disk in disks:
        disk.end()


def end_guardians() -> None:
    for pid in guardians():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not guardians(), 5)


def check_nothing_is_left(disks: list[Disk]) -> None:
    """After the programs have ended. The tests thaw what they keep."""
    wait_until(lambda: not guardians(), SOON)
    left = guardians()
    end_guardians()
    frozen = [disk.name for disk in disks if disk.thaw()]
    assert not frozen, f"left frozen: {frozen}"
    assert not left, f"left running: guardians {left}"


@pytest.fixture
def disks(session_disks: list[Disk]) -> Iterator[list[Disk]]:
    """Two filesystems. A test leaves neither of them frozen."""
    yield session_disks
    check_nothing_is_left(session_disks)


@pytest.fixture
def disk(disks: list[Disk]) -> Disk:
    return disks[0]


@pytest.fixture
def stack(work: Path, disk: Disk) -> Iterator[tuple[Disk, Disk]]:
    """A filesystem, and one in an image file on it."""
    upper = Disk.__new__(Disk)
    image = disk.path / "image"
    holder = work / "upper.mnt"
    holder.mkdir()
    with open(image, "xb") as file:
        file.truncate(16 << 20)
    upper.kind, upper.holder, upper.image = "ext4", holder, image
    upper.device = must("losetup", "--find", "--show", image).strip()
    must("mkfs.ext4", "-q", upper.device)
    upper.mount(b"volume")
    upper.start()
    yield disk, upper
    # The lower one first: the thaw of the upper one writes to it.
    end_guardians_after_programs()
    frozen = [one.name for one in (disk, upper) if one.thaw()]
    upper.end()
    image.unlink()
    for directory in (upper.path, holder):
        directory.rmdir()
    assert not frozen, f"left frozen: {frozen}"


def end_guardians_after_programs() -> None:
    wait_until(lambda: not guardians(), 2)
    end_guardians()


NewWorker = Callable[..., Worker]


@pytest.fixture
def worker(request: pytest.FixtureRequest, disks: list[Disk]) -> Iterator[NewWorker]:
    """Starts programs that use the library. They end before the filesystems are checked."""
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack")
    started: list[Worker] = []

    def start(*under: str | os.PathLike[str], **options: Any) -> Worker:
        started.append(Worker(under, **options))
        started[-1].must("ping")
        return started[-1]

    yield start
    for one in started:
        one.end()


@pytest.fixture
def host_socket(run_directory: Path) -> Iterator[Path]:
    """The socket that starts guardians on the host, as the systemd unit does."""
    path = run_directory / "guardian.socket"
    process = subprocess.Popen(
        ["systemd-socket-activate", "--accept", "-l", path, GUARDIAN],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait_until(path.exists, 5), "systemd-socket-activate does not listen"
    yield path
    process.terminate()
    process.wait(5)
    path.unlink()


@pytest.fixture
def stuck_writer() -> Iterator[Callable[[Path], StuckWriter]]:
    writers: list[StuckWriter] = []

    def start(directory: Path) -> StuckWriter:
        writers.append(StuckWriter(directory))
        return writers[-1]

    yield start
    for writer in writers:
        writer.end()


def freeze_with_guardian(program: Worker, disk: Disk, timeout_ms: int) -> None:
    """A freeze that a guardian keeps: where the kernel has descriptors, that of an adopted hold."""
    program.must("freeze", paths=[disk.name], timeout_ms=timeout_ms)
    if has_descriptors():
        name = program.must("keep")["id"]
        program.must("adopt_id", id=name, timeout_ms=timeout_ms)


def busy() -> float:
    """How many programs compete for a processor. Bounds for times are multiplied by this."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def fsfreeze(option: str, path: str) -> tuple[int | None, str]:
    """The exit status of fsfreeze(8), None if it blocks, and what it printed."""
    return Program("fsfreeze", option, path).finish(5)
