# SPDX-License-Identifier: LGPL-2.1-or-later
"""Filesystems made for a test, on loop devices or on devices that the test provides."""

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.support.paths import GUARDIAN
from tests.support.process import (
    Failed,
    Program,
    Result,
    SetupFailed,
    block_timeout,
    in_child,
    must,
    run,
)

FIFREEZE = 0xC0045877
FITHAW = 0xC0045878
FIFREEZE_TIMEOUT = 0x40085877
FIFREEZE_RESET_TIMEOUT = 0x40085878
FIFREEZE_FD = 0x40381510

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000

MIB = 1 << 20
# The smallest size that mkfs accepts, or a little more.
SIZES = {"ext4": 64 * MIB, "xfs": 512 * MIB, "btrfs": 512 * MIB, "f2fs": 128 * MIB}
MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
    "f2fs": ["mkfs.f2fs", "-q", "-f"],
}


def request(path: bytes | str | os.PathLike[str], code: int, argument: int | bytes = 0) -> int:
    """Makes an ioctl on a directory. Returns the errno, 0 if it succeeded."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, code, argument)
        return 0
    except OSError as error:
        return error.errno or 0
    finally:
        os.close(fd)


def has_timeouts() -> bool:
    """Whether the kernel has the timeout patch."""
    below_zero = (-1).to_bytes(8, "little", signed=True)
    return request("/", FIFREEZE_RESET_TIMEOUT, below_zero) == errno.ERANGE


def has_descriptors() -> bool:
    """Whether the kernel has freeze descriptors: it refuses unknown flags."""
    error = request("/", FIFREEZE_FD, b"\xff" * 4 + bytes(52))
    return error in (errno.EINVAL, errno.EOPNOTSUPP)


def why_no_loop_devices() -> str:
    """Why this machine cannot run tests on loop devices; empty if it can."""
    if os.geteuid() != 0:
        return "needs root, for mounts and freezes"
    if not Path("/dev/loop-control").exists():
        return "needs loop devices: there is no /dev/loop-control"
    return ""


def own_mount_namespace() -> str:
    """Moves this process into a new mount namespace, so that no mount is left behind.

    Returns why that is not possible; empty if it was."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        return f"needs a mount namespace: unshare: {os.strerror(ctypes.get_errno())}"
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0:
        return ""
    if ctypes.get_errno() == errno.EINVAL:
        return "the root directory is not a mountpoint (a chroot?), so mounts cannot be private"
    return f"cannot make mounts private: {os.strerror(ctypes.get_errno())}"


def thaw_all(path: bytes | str | os.PathLike[str]) -> bool:
    """Whether it was frozen. On a patched kernel there may be several holds."""

    def thaw() -> int:
        with contextlib.suppress(OSError):
            return request(path, FITHAW)
        return errno.ENOENT

    was_frozen = False
    for _ in range(20):
        if in_child(thaw, 10) != 0:
            break
        was_frozen = True
    return was_frozen


def start_writer(directory: Path) -> Program:
    """A program that writes a file there."""
    return Program("sh", "-c", 'echo late >"$0"', directory / "file")


def blocked_by_freeze(writer: Program) -> None:
    if not writer.blocks():
        raise Failed(f"not frozen: {writer}: {writer.finish(1)}")
    if "percpu" not in writer.where() and writer.where() != "0":
        raise Failed(f"{writer}: blocks, but not because of a freeze: {writer.where()}")


def mounted_below(directory: Path) -> list[bytes]:
    """The mountpoints below a directory, the oldest first."""
    mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    found = (
        re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), mount.split()[4])
        for mount in mounts
    )
    return [path for path in found if path.startswith(os.fsencode(directory) + b"/")]


def thaw_below(directory: Path) -> list[str]:
    """Thaws what is mounted below a directory and returns what was frozen.

    The oldest first: a filesystem in an image file cannot be thawed before the one that has it."""
    return [os.fsdecode(path) for path in mounted_below(directory) if thaw_all(path)]


def unmount_below(directory: Path) -> None:
    """Thaws and unmounts what is mounted below a directory."""
    thaw_below(directory)
    for path in reversed(mounted_below(directory)):
        run("umount", "-l", path, seconds=20)


def library_environment(work: Path, guardian: str | Path = GUARDIAN) -> dict[str, str]:
    """Makes programs use this guardian, and reach it in a directory of the suite.

    In /run/libfreeze a guardian that the host offers would replace the one under test. The library
    accepts only a program that root owns, which the build directory of another user has not."""
    directory = work / "run"
    directory.mkdir(mode=0o700, exist_ok=True)
    if os.stat(guardian).st_uid != 0:
        guardian = shutil.copy(guardian, work)
    return {"LIBFREEZE_GUARDIAN": str(guardian), "LIBFREEZE_RUNTIME_DIR": str(directory)}


def why_no_filesystem(kind: str) -> str:
    """Why this machine cannot make and mount filesystems of this type; empty if it can."""
    if not shutil.which(MAKE[kind][0]):
        return f"there is no {MAKE[kind][0]}"
    if shutil.which("modprobe"):
        run("modprobe", "-q", kind)
    known = Path("/proc/filesystems").read_text().split()
    return "" if kind in known else f"this kernel has no {kind}"


class Volume:
    """A new filesystem, mounted below `work`.

    Without a device it is on a loop device over a new image in `work`."""

    def __init__(
        self,
        work: Path,
        kind: str,
        name: bytes = b"volume",
        *,
        device: str | None = None,
        size: int | None = None,
    ) -> None:
        self.kind = kind
        number = len(list(work.glob("*.mnt")))
        self.holder = work / f"{kind}-{number}.mnt"
        self.holder.mkdir()
        self.image: Path | None = None
        if device is None:
            self.image = work / f"{kind}-{number}.img"
            device = make_loop(self.image, size or SIZES[kind])
        self.device = device
        try:
            must(*MAKE[kind], self.device, seconds=6 * block_timeout())
            self.mount(name)
        except SetupFailed:
            self.detach()
            raise

    def mount(self, name: bytes) -> bytes:
        """Mounts it at a directory of that name. It may be mounted already."""
        self.mountpoint = os.path.join(os.fsencode(self.holder), name)
        os.makedirs(self.mountpoint, exist_ok=True)
        must("mount", "-t", self.kind, self.device, self.mountpoint)
        return self.mountpoint

    @property
    def path(self) -> Path:
        return Path(os.fsdecode(self.mountpoint))

    def unmount(self) -> None:
        must("umount", self.mountpoint)

    def freeze(self) -> None:
        error = in_child(lambda: request(self.mountpoint, FIFREEZE), 10)
        if error != 0:
            raise SetupFailed(f"cannot freeze: {error}")

    def thaw(self) -> bool:
        """Whether it was frozen."""
        return thaw_all(self.mountpoint)

    # Is it frozen? -------------------------------------------------------------

    def write(self, size: int = 1) -> int:
        with open(os.path.join(self.mountpoint, b"written"), "wb") as file:
            file.write(b"x" * size)
        return 0

    def is_frozen(self) -> bool:
        """Whether a writer has to wait. The freeze stays."""
        return in_child(self.write, 20, blocked=0.3) is None

    def writer(self) -> Program:
        return start_writer(self.path)

    def frozen(self) -> Program:
        """Starts a writer, which must block because of a freeze, and returns it."""
        writer = self.writer()
        blocked_by_freeze(writer)
        return writer

    @staticmethod
    def still_frozen(writer: Program) -> None:
        """A writer that has blocked has not continued."""
        if not writer.blocks():
            raise Failed("thawed: the write that has to wait has continued")

    @staticmethod
    def thawed(writer: Program) -> None:
        """A writer that has blocked continues now."""
        result = writer.finish()
        if result.status != 0:
            raise Failed(f"still frozen? The waiting write: {result}")

    # Afterwards ----------------------------------------------------------------

    def detach(self) -> None:
        if self.image:
            run("losetup", "-d", self.device, seconds=20)

    def destroy(self) -> None:
        """Thaws, unmounts and detaches. Mounts that remain end with the namespace."""
        self.thaw()
        run("umount", "-l", self.mountpoint, seconds=20)
        self.detach()


def make_loop(image: Path, size: int) -> str:
    """A loop device over a new image."""
    with open(image, "xb") as file:
        file.truncate(size)
    return must("losetup", "--find", "--show", image).strip()


class DeviceMapper:
    """A device-mapper device, through dmsetup(8)."""

    def __init__(self, name: str, table: str | None = None) -> None:
        self.name = name
        self.device = f"/dev/mapper/{name}"
        if table is not None:
            must("dmsetup", "create", name, "--table", table)

    def suspend(self) -> Result:
        return run("dmsetup", "suspend", self.name)

    def resume(self) -> Result:
        return run("dmsetup", "resume", self.name)

    def suspended(self) -> bool:
        return "SUSPENDED" in run("dmsetup", "info", self.name).text

    def remove(self) -> None:
        run("dmsetup", "remove", "--retry", self.name)


def has_device_mapper() -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(["dmsetup", "targets"], capture_output=True).returncode == 0
    return False
