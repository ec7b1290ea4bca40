# SPDX-License-Identifier: LGPL-2.1-or-later
"""Filesystems on devices in files on other filesystems, from the bottom to the top."""

import contextlib
import pathlib
import tempfile
import time

from commands import must, patience, run
from lvm import Group

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-N", "256", "-J", "size=4",
             "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K", "-m", "raid1", "-d", "single"],
}
MIB = 1 << 20


class Stack:
    """Taken down from the top to the bottom when it is left."""

    def __init__(self):
        self.undo = contextlib.ExitStack()
        self.mountpoints = []  # the lowest first
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo.close()

    # Devices ---------------------------------------------------------------------

    def loop(self, directory, mebibytes):
        """A loop device over a new file there."""
        image = pathlib.Path(directory, self._name("image"))
        with open(image, "wb") as file:
            file.truncate(mebibytes * MIB)
        device = must("losetup", "--find", "--show", image).strip()
        self._afterwards("losetup", "--detach", device)
        return device

    def linear(self, device, mebibytes, start=0):
        """Device-mapper over a part of a device."""
        name = self._name("linear")
        must("dmsetup", "create", name, "--table",
             f"0 {mebibytes * 2048} linear {device} {start * 2048}")
        self._afterwards("dmsetup", "remove", "--retry", name)
        return f"/dev/mapper/{name}"

    def group(self, device):
        group = Group(self._name("group"), device)
        self.undo.callback(group.remove)
        return group

    def volume(self, device, mebibytes):
        """A logical volume on a physical volume."""
        group = self.group(device)
        return f"/dev/mapper/{group.name}-{group.add(f'{mebibytes}M')}"

    def mirror(self, *devices):
        """RAID 1 of md. Without a superblock sysfs is all that it takes."""
        pathlib.Path("/sys/module/md_mod/parameters/new_array").write_text("md7")
        array = pathlib.Path("/sys/block/md7/md")
        self.undo.callback(stop_array, array)
        sectors = min(int(pathlib.Path("/sys/block", pathlib.Path(device).name, "size").read_text())
                      for device in devices)
        for name, value in (("metadata_version", "none"), ("level", "raid1"),
                            ("raid_disks", len(devices)), ("component_size", sectors // 2),
                            ("resync_start", "none")):
            (array / name).write_text(str(value))
        for slot, device in enumerate(devices):
            name = pathlib.Path(device).name
            (array / "new_dev").write_text(pathlib.Path("/sys/block", name, "dev").read_text())
            (array / f"dev-{name}" / "slot").write_text(str(slot))
        (array / "array_state").write_text("active")
        return "/dev/md7"

    # Mounts ----------------------------------------------------------------------

    def filesystem(self, kind, *devices):
        """A new one of these devices: where it is mounted."""
        must(*MAKE[kind], *devices, seconds=6 * patience())
        return self.mount(kind, *devices)

    def mount(self, kind, *devices):
        options = ",".join(f"device={device}" for device in devices) if kind == "btrfs" else "rw"
        return self._mount(kind, "mount", "-t", kind, "-o", options, devices[0])

    def overlay(self, lower, upper):
        for directory in lower / "lower", upper / "upper", upper / "work":
            directory.mkdir()
        return self._mount("overlay", "mount", "-t", "overlay", "-o",
                           f"lowerdir={lower}/lower,upperdir={upper}/upper,workdir={upper}/work",
                           "overlay")

    def bind(self, source):
        return self._mount("bind", "mount", "--bind", source)

    def _mount(self, name, *words):
        target = pathlib.Path(tempfile.mkdtemp(prefix=f"{self._name(name)}."))
        must(*words, target)
        self._afterwards("umount", target)
        self.mountpoints.append(target)
        return target

    def _name(self, what):
        self.count += 1
        return f"{what}{self.count}"

    def _afterwards(self, *words):
        self.undo.callback(run, *words)


def stop_array(array):
    """Busy for a moment after the unmount."""
    for _ in range(40):
        with contextlib.suppress(OSError):
            (array / "array_state").write_text("clear")
            return
        time.sleep(0.05)
