# SPDX-License-Identifier: LGPL-2.1-or-later
"""The filesystem under test, on a logical volume. One that cannot be used any more is left
where it is, and the next test gets another."""

import hashlib
import os
import pathlib
import tempfile

from commands import Failed, Program, must, patience, run, succeeds

SIZE = "320M"  # mkfs.xfs wants 300
FITHAW = 0xC0045878

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-N", "4096", "-J", "size=8",
             "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
    "f2fs": ["mkfs.f2fs", "-q", "-f"],
}
# A snapshot of a frozen filesystem needs no recovery: none is made.
READ_ONLY = {"ext4": "ro,noload", "xfs": "ro,norecovery,nouuid", "f2fs": "ro,norecovery"}
CHECK = {
    "ext4": ["e2fsck", "-fn"],
    "xfs": ["xfs_repair", "-n"],
    "btrfs": ["btrfs", "check", "--readonly"],
    "f2fs": ["fsck.f2fs", "--dry-run"],
}


class Volume:
    """A mounted filesystem on a logical volume of its own."""

    def __init__(self, group, fs):
        self.group, self.fs, self.env = group, fs, group.env
        self.name = group.add(SIZE)
        self.lv = f"{group.name}/{self.name}"
        self.dm = f"{group.name}-{self.name}"
        self.device = f"/dev/mapper/{self.dm}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}."))
        self.file = self.dir / "file"
        must(*MAKE[fs], self.device, seconds=6 * patience())
        must("mount", "-t", fs, self.device, self.dir)
        self.file.write_bytes(os.urandom(1 << 20))
        must("sync", "-f", self.dir)

    # Is it frozen? -------------------------------------------------------------

    def writer(self):
        return Program("sh", "-c", 'echo late >"$0"', self.file)

    def frozen(self):
        """Starts a writer, which must block because of a freeze, and gives it back."""
        writer = self.writer()
        if not writer.blocks():
            raise Failed(f"not frozen: a write came to {writer.finish(1)}")
        if "percpu" not in writer.where() and writer.where() != "0":
            raise Failed(f"a write blocks, but not because of a freeze: {writer.where()}")
        return writer

    def still_frozen(self, writer):
        """The writer that has blocked never gets through."""
        if not writer.blocks():
            raise Failed("thawed: the write that has to wait got through")

    def let_go(self, writer):
        """The writer that has blocked gets through now."""
        result = writer.finish()
        if result.status != 0:
            raise Failed(f"still frozen? The waiting write: {result}")

    # Its content ---------------------------------------------------------------

    def digest(self):
        """Of the file, of which part is not on the disk yet unless the filesystem is frozen."""
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def dirty(self):
        self.file.write_bytes(os.urandom(4 << 20))

    def digest_on(self, device):
        """The file's, on a snapshot of the filesystem."""
        place = pathlib.Path(tempfile.mkdtemp(prefix="snapshot."))
        if self.fs == "btrfs":
            # Two btrfs with the same id cannot be mounted at once.
            result = run("btrfs", "restore", device, place)
        else:
            result = run("mount", "-t", self.fs, "-o", READ_ONLY[self.fs], device, place)
        if result.status != 0:
            raise Failed(f"{device} cannot be read without recovery: {result}")
        try:
            return hashlib.sha256((place / "file").read_bytes()).hexdigest()
        except OSError as error:
            raise Failed(f"the file in the snapshot: {error.strerror}") from error
        finally:
            run("umount", "-q", place)

    def check(self, device):
        """Have the filesystem's own checker look at a snapshot. XFS leaves a record in its log
        at each freeze, without which xfs_repair finds the free blocks miscounted: a mount plays
        it back."""
        if self.fs == "xfs":
            place = tempfile.mkdtemp(prefix="replayed.")
            succeeds("mount", "-t", self.fs, "-o", "nouuid", device, place)
            succeeds("umount", place)
        result = run(*CHECK[self.fs], device, seconds=6 * patience())
        if result.status != 0:
            raise Failed(f"{' '.join(CHECK[self.fs])}: {result}")

    # Its device ----------------------------------------------------------------

    def suspend(self):
        return run("dmsetup", "suspend", self.dm)

    def resume(self):
        return run("dmsetup", "resume", self.dm)

    def suspended(self):
        return "SUSPENDED" in run("dmsetup", "info", self.dm).text

    # Afterwards ----------------------------------------------------------------

    def settle(self):
        """What was left behind, undone; None when it cannot be used any more."""
        left = []
        if self.suspended():
            left.append("the device was left suspended")
            if self.resume().status != 0:
                return None
        if Program("python3", "-Bc", THAW_ALL, self.dir).finish().status:
            left.append("the filesystem was left frozen")
        return left if self.writer().finish().status == 0 else None

    def abandon(self):
        """Gives the space back, unless a superblock that stays frozen keeps it."""
        if run("umount", self.dir).status == 0:
            run("lvremove", "--yes", self.lv, env=self.env)
        else:
            run("umount", "-l", self.dir)


# In a process of its own, which may block. Exit status 1: there was something to thaw.
THAW_ALL = f"""
import fcntl, os, sys
here = os.open(sys.argv[1], os.O_RDONLY)
thawed = 0
try:
    while True:
        fcntl.ioctl(here, {FITHAW})
        thawed = 1
except OSError:
    sys.exit(thawed)
"""
