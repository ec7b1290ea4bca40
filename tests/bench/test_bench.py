# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long a freeze blocks writers, compared with other ways to freeze, in the same run.

--full takes the sizes and rounds of the claim in README.md and requires what it claims. Without it
the sizes are smaller, and so is the required advantage: the time of the other ways grows with the
amount of dirty data, the guard's (some 50 ms) with what else the machine does. Without its flush, a
guard is no better than the others, and some twenty times worse than on a clean filesystem.

The disk is an image that is written once beforehand, with direct I/O where its filesystem allows
that: otherwise what is written to the loop device is dirty in memory a second time, which no disk
does, and its blocks are allocated during the measurement. The disk is throttled to the speed of a
SATA disk or a cloud volume, since the memory behind an image on a virtual machine can take some
GB/s. Where it cannot be throttled (that needs the block controller of cgroup v1) and is faster, the
comparison with the other ways is skipped: what is left of their time is the kernel's part in any
freeze."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import volumes
from tests.support.paths import BUILD
from tests.support.process import SetupFailed, must, run

MB_PER_SECOND = 500
THROTTLE = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")
PARTS = 8
CANNOT_MEASURE = 77


class Sizes(NamedTuple):
    disk: int  # MiB; ext4 begins to write back when less than twice the dirty data is free
    stall: int  # MiB that are dirty
    group: int  # MiB that are dirty on each filesystem
    rounds: int
    stall_share: float  # the guard's time is at most this share of fsfreeze's
    group_share: float  # or of that of one FIFREEZE after the other
    clean_times: float  # and at most so many times that on a clean filesystem

    @property
    def seconds(self) -> int:
        """The limit for a program, which takes a tenth of it."""
        return self.rounds * self.disk // 20


SHORT = Sizes(1280, 512, 50, 5, 1 / 4, 1 / 3, 3)
FULL = Sizes(2560, 1024, 100, 7, 1 / 20, 1 / 10, 1.5)


def set_throttle(device: str, bytes_per_second: int) -> bool:
    number = Path("/sys/block", Path(device).name, "dev").read_text().strip()
    try:
        THROTTLE.write_text(f"{number} {bytes_per_second}")
    except OSError:
        return False
    return True


class Disk:
    """An image, with a loop device over all of it and one over each of its parts."""

    def __init__(self, directory: Path, size: int, env: dict[str, str]) -> None:
        self.directory = directory
        self.env = env
        self.devices: list[str] = []
        self.is_throttled = True
        self.direct = "with"
        self.image = directory / "disk"
        zeros = ["dd", "if=/dev/zero", f"of={self.image}", "bs=1M", f"count={size}"]
        if run(*zeros, "oflag=direct", seconds=300).status != 0:
            must(*zeros, "conv=fsync", seconds=300)
        self.whole = self.attach(0, size)
        part = size // PARTS
        self.parts = [self.attach(number * part, part) for number in range(PARTS)]

    def attach(self, start: int, size: int) -> str:
        place = ["--offset", f"{start}M", "--sizelimit", f"{size}M"]
        device = must("losetup", "--find", "--show", *place, self.image).strip()
        self.devices.append(device)
        if run("losetup", "--direct-io=on", device).status != 0:
            self.direct = "without"
        self.is_throttled &= set_throttle(device, MB_PER_SECOND * 1_000_000)
        return device

    def mount_new(self, kind: str, device: str) -> Path:
        must("wipefs", "--all", "--quiet", device)
        # Otherwise a small ext4 gets smaller blocks than any that is in use.
        block_size = ["-b", "4096"] if kind == "ext4" else []
        must(f"mkfs.{kind}", "-q", *block_size, device, seconds=120)
        mountpoint = Path(tempfile.mkdtemp(prefix=f"{kind}.", dir=self.directory))
        must("mount", "-t", kind, device, mountpoint)
        return mountpoint

    def detach(self) -> None:
        volumes.unmount_below(self.directory)
        for device in self.devices:
            set_throttle(device, 0)  # the next user of the loop device must not find it slow
            run("losetup", "-d", device)


class Measured:
    """The table that a program of bench/ prints."""

    def __init__(self, disk: Disk, sizes: Sizes, name: str, *words: str | int | Path) -> None:
        self.disk = disk
        with tempfile.NamedTemporaryFile("r") as table:
            to_table = ["sh", "-c", 'exec "$0" "$@" >"$TABLE"']
            env = {**disk.env, "TABLE": table.name}
            program = BUILD / "bench" / name
            result = run(*to_table, program, *words, env=env, seconds=sizes.seconds)
            self.table = table.read()
        left_frozen = volumes.thaw_below(disk.directory)
        if result.status == CANNOT_MEASURE:
            pytest.skip(result.text.splitlines()[-1])
        assert result.status == 0, str(result)
        assert not left_frozen, f"left frozen: {left_frozen}"
        _heading, *rows = [line.split() for line in self.table.splitlines()]
        self.medians = {row[0]: float(row[1]) for row in rows}

    def at_most(self, ours: str, theirs: str, times: float) -> str:
        """Checks the medians, and describes them."""
        share = self.medians[ours] / self.medians[theirs]
        text = (
            f"{self.medians[ours]} ms : {self.medians[theirs]} ms = {share:.4f},"
            f" at most {times:.4f} required\n{self.table}"
        )
        assert share <= times, text
        return text

    def at_most_of_other(self, ours: str, other: str, times: float, mebibytes: int) -> str:
        """Skips if the disk is too fast to tell the two apart."""
        if not self.disk.is_throttled and self.medians[other] < mebibytes:
            pytest.skip(
                "this disk writes more than 1 GB/s, and nothing can throttle it:"
                f" there is no {THROTTLE}"
            )
        return self.at_most(ours, other, times)


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return FULL if request.config.getoption("--full") else SHORT


@pytest.fixture(scope="session")
def disk(work: Path, sizes: Sizes) -> Iterator[Disk]:
    if not BUILD.joinpath("bench/stall").exists():
        raise SetupFailed(f"{BUILD}/bench is not built: run meson compile, or set LIBFREEZE_BUILD")
    needed = sizes.disk + 256
    if shutil.disk_usage(BUILD).free < needed << 20:
        pytest.skip(f"needs {needed} MiB of free space in {BUILD}")
    # /tmp may be in memory.
    with tempfile.TemporaryDirectory(dir=BUILD, ignore_cleanup_errors=True) as name:
        disk = Disk(Path(name), sizes.disk, volumes.library_environment(work))
        try:
            yield disk
        finally:
            disk.detach()


@pytest.fixture(scope="module", params=["ext4", "xfs"])
def stall(request: pytest.FixtureRequest, disk: Disk, sizes: Sizes) -> Iterator[Measured]:
    """A writer's worst stall around a freeze of one filesystem."""
    if why := volumes.why_no_filesystem(request.param):
        pytest.skip(why)
    mountpoint = disk.mount_new(request.param, disk.whole)
    try:
        yield Measured(disk, sizes, "stall", mountpoint, sizes.stall, sizes.rounds)
    finally:
        volumes.unmount_below(disk.directory)


@pytest.fixture(scope="module")
def group(disk: Disk, sizes: Sizes) -> Measured:
    """How long writers are blocked around a freeze of eight filesystems."""
    mountpoints = [disk.mount_new("ext4", device) for device in disk.parts]
    return Measured(disk, sizes, "group", sizes.group, sizes.rounds, *mountpoints)


Note = Callable[[str, object], None]


def test_worst_stall_compared_with_fsfreeze(
    stall: Measured, sizes: Sizes, record_property: Note
) -> None:
    note = stall.at_most_of_other("guard", "fsfreeze", sizes.stall_share, sizes.stall)
    how_fast = f", {MB_PER_SECOND} MB/s" if stall.disk.is_throttled else ""
    record_property("medians", f"{note}{stall.disk.direct} direct I/O{how_fast}")


def test_worst_stall_compared_with_a_clean_filesystem(
    stall: Measured, sizes: Sizes, record_property: Note
) -> None:
    record_property("medians", stall.at_most("guard", "guard-clean", sizes.clean_times))


def test_group_compared_with_one_after_the_other(
    group: Measured, sizes: Sizes, record_property: Note
) -> None:
    share = group.at_most_of_other("guard", "sequential", sizes.group_share, PARTS * sizes.group)
    record_property("medians", share)


def test_group_statistics_match_what_writers_see(
    group: Measured, sizes: Sizes, record_property: Note
) -> None:
    record_property("medians", group.at_most("guard", "guard-own", sizes.clean_times))
