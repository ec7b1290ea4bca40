# SPDX-License-Identifier: LGPL-2.1-or-later
"""Filesystems on devices in files on other filesystems, built from the bottom up."""

import contextlib
import itertools
import time
from pathlib import Path

from tests.support.lvm import Group
from tests.support.process import block_timeout, must, run
from tests.support.volumes import MAKE, MIB, DeviceMapper, make_loop

NUMBERS = itertools.count(1)


def new_name(what: str) -> str:
    return f"{what}{next(NUMBERS)}"


class Stack(contextlib.ExitStack):
    """Leaving it removes its mounts and devices from the top down."""

    def __init__(self, work: Path) -> None:
        super().__init__()
        self.work = work
        self.mountpoints: list[Path] = []  # the lowest first

    # Devices ---------------------------------------------------------------------

    def loop(self, directory: Path, mebibytes: int) -> str:
        """A loop device over a new file in the directory."""
        image = directory / new_name("image")
        self.callback(run, "rm", "-f", image)
        device = make_loop(image, mebibytes * MIB)
        self.callback(run, "losetup", "--detach", device)
        return device

    def linear(self, device: str, mebibytes: int, start: int = 0) -> str:
        """A device-mapper device over a part of a device."""
        table = f"0 {mebibytes * 2048} linear {device} {start * 2048}"
        mapper = DeviceMapper(new_name("linear"), table)
        self.callback(mapper.remove)
        return mapper.device

    def group(self, device: str) -> Group:
        group = Group(new_name("group"), device)
        self.callback(group.remove)
        return group

    def mirror(self, *devices: str) -> str:
        """RAID 1 of md. Without metadata on the devices, it needs nothing but sysfs."""
        Path("/sys/module/md_mod/parameters/new_array").write_text("md7")
        array = Path("/sys/block/md7/md")
        self.callback(stop_array, array)
        halves = [Path("/sys/block", Path(device).name) for device in devices]
        sectors = min(int((half / "size").read_text()) for half in halves)
        for name, value in (
            ("metadata_version", "none"),
            ("level", "raid1"),
            ("raid_disks", len(halves)),
            ("component_size", sectors // 2),
            ("resync_start", "none"),
        ):
            (array / name).write_text(str(value))
        for slot, half in enumerate(halves):
            (array / "new_dev").write_text((half / "dev").read_text())
            (array / f"dev-{half.name}" / "slot").write_text(str(slot))
        (array / "array_state").write_text("active")
        return "/dev/md7"

    # Mounts ----------------------------------------------------------------------

    def filesystem(self, kind: str, *devices: str) -> Path:
        """The mountpoint of a new filesystem on these devices."""
        must(*MAKE[kind], *devices, seconds=6 * block_timeout())
        return self.mount(kind, *devices)

    def mount(self, kind: str, *devices: str) -> Path:
        options = ",".join(f"device={device}" for device in devices) if kind == "btrfs" else "rw"
        return self._mount(kind, "-t", kind, "-o", options, devices[0])

    def overlay(self, lower: Path, upper: Path) -> Path:
        for directory in lower / "lower", upper / "upper", upper / "work":
            directory.mkdir()
        options = f"lowerdir={lower}/lower,upperdir={upper}/upper,workdir={upper}/work"
        return self._mount("overlay", "-t", "overlay", "-o", options, "overlay")

    def bind(self, source: Path) -> Path:
        return self._mount("bind", "--bind", str(source))

    def _mount(self, name: str, *words: str) -> Path:
        target = self.work / new_name(name)
        target.mkdir()
        must("mount", *words, target)
        self.callback(run, "umount", target)
        self.mountpoints.append(target)
        return target


def stop_array(array: Path) -> None:
    """It is busy for a moment after the unmount."""
    for _ in range(40):
        with contextlib.suppress(OSError):
            (array / "array_state").write_text("clear")
            return
        time.sleep(0.05)
