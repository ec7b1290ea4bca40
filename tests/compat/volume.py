# SPDX-License-Identifier: LGPL-2.1-or-later
"""The filesystem under test, on a logical volume."""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Self

from tests.support.lvm import Group
from tests.support.process import Failed, block_timeout, must, run, succeeds
from tests.support.volumes import MIB, DeviceMapper, Volume

SIZE = "320M"  # mkfs.xfs needs 300
# A snapshot of a frozen filesystem needs no recovery, so these options prevent it.
READ_ONLY = {"ext4": "ro,noload", "xfs": "ro,norecovery,nouuid", "f2fs": "ro,norecovery"}
CHECK = {
    "ext4": ["e2fsck", "-fn"],
    "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check", "--readonly"],
    "f2fs": ["fsck.f2fs", "--dry-run"],
}


class LogicalVolume(Volume):
    """A new filesystem on a new logical volume."""

    def __init__(self, group: Group, work: Path, kind: str) -> None:
        self.group = group
        self.name = group.add(SIZE)
        self.mapper = DeviceMapper(f"{group.name}-{self.name}")
        super().__init__(work, kind, device=self.mapper.device)
        self.file = self.path / "file"  # the writers write to it, too
        self.dirty()
        must("sync", "-f", self.path)

    # Its content ---------------------------------------------------------------

    def dirty(self) -> None:
        self.file.write_bytes(os.urandom(4 * MIB))

    def digest(self) -> str:
        """The file's. Part of it is not on the disk yet, unless the filesystem is frozen."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def digest_on(self, device: str) -> str:
        """The file's, on a snapshot of the filesystem."""
        place = Path(tempfile.mkdtemp(prefix="snapshot."))
        if self.kind == "btrfs":
            # Two btrfs with the same id cannot be mounted at once.
            result = run("btrfs", "restore", device, place)
        else:
            result = run("mount", "-t", self.kind, "-o", READ_ONLY[self.kind], device, place)
        if result.status != 0:
            raise Failed(f"{device} cannot be read without recovery: {result}")
        try:
            return hashlib.sha256((place / "file").read_bytes()).hexdigest()
        except OSError as error:
            raise Failed(f"the file in the snapshot: {error.strerror}") from error
        finally:
            run("umount", "-q", place)

    def check(self, device: str) -> None:
        """Runs the filesystem's own checker on a snapshot.

        XFS leaves a record in its log at each freeze, and without it xfs_repair finds the free
        blocks miscounted: a mount replays it."""
        if self.kind == "xfs":
            place = tempfile.mkdtemp(prefix="replayed.")
            succeeds("mount", "-t", self.kind, "-o", "nouuid", device, place)
            succeeds("umount", place)
        result = run(*CHECK[self.kind], device, seconds=6 * block_timeout())
        if result.status != 0:
            raise Failed(f"{' '.join(CHECK[self.kind])}: {result}")

    # Its device ----------------------------------------------------------------

    def suspend(self) -> None:
        succeeds("dmsetup", "suspend", self.mapper.name)

    def resume(self) -> None:
        succeeds("dmsetup", "resume", self.mapper.name)

    def suspend_still_freezes(self) -> None:
        self.suspend()
        writer = self.frozen()
        self.resume()
        self.thawed(writer)

    # Afterwards ----------------------------------------------------------------

    def settle(self) -> list[str] | None:
        """Repairs what a test left behind, and says what it was; None if the filesystem cannot be
        used any more."""
        left = []
        if self.mapper.suspended():
            left.append("the device was left suspended")
            if self.mapper.resume().status != 0:
                return None
        if self.thaw():
            left.append("the filesystem was left frozen")
        return left if self.writer().finish().status == 0 else None

    def detach(self) -> None:
        """The space is lost if a superblock that stays frozen has the volume open."""
        run("lvremove", "--yes", f"{self.group.name}/{self.name}", env=self.group.env)


class Snapshot:
    """A snapshot of the volume, by lvcreate(8) and lvremove(8).

    The first one is not created yet. The last one is removed at the end, whatever happens."""

    def __init__(self, volume: LogicalVolume) -> None:
        self.volume, self.group = volume, volume.group
        self.name = f"{self.group.name}/backup"
        self.device = self.group.device("backup")
        self.exists = False

    def create(self) -> None:
        options = ["--snapshot", "--size", "64M", "--name", "backup"]
        origin = f"{self.group.name}/{self.volume.name}"
        self.exists = True
        succeeds("lvcreate", *options, origin, env=self.group.env)

    def remove(self) -> None:
        succeeds("lvremove", "--yes", self.name, env=self.group.env)
        self.exists = False

    def has(self, digest: str) -> None:
        """It has the file as it was frozen, and is consistent."""
        assert self.volume.digest_on(self.device) == digest
        self.volume.check(self.device)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.exists:
            run("lvremove", "--yes", self.name, env=self.group.env)
