# SPDX-License-Identifier: LGPL-2.1-or-later
"""LVM in the virtual machine."""

import tempfile
from pathlib import Path

from tests.support.process import must, run

# There is no udev in the guest, and /etc is read-only. thin_check is in another package, and a new
# pool has nothing to check.
LVM_CONF = """
activation { udev_sync = 0 udev_rules = 0 verify_udev_operations = 1 monitoring = 0 }
devices {
    use_devicesfile = 0
    obtain_device_list_from_udev = 0
    external_device_info_source = "none"
    filter = [ "a|^%s$|", "r|.*|" ]
}
global { event_activation = 0 use_lvmpolld = 0 thin_check_executable = "" }
"""


class Group:
    """A volume group on one device."""

    def __init__(self, name: str, device: str) -> None:
        self.name = name
        config = Path(tempfile.mkdtemp(prefix="lvm."))
        (config / "lvm.conf").write_text(LVM_CONF % device)
        self.env = {"LVM_SYSTEM_DIR": str(config), "LVM_SUPPRESS_FD_WARNINGS": "1"}
        self.volumes = 0
        must("vgcreate", "--yes", "--quiet", name, device, env=self.env)

    def add(self, size: str) -> str:
        """The name of a new logical volume."""
        return self._add("--size", size)

    def add_pool(self, size: str) -> None:
        """The thin pool."""
        options = ["--type", "thin-pool", "--poolmetadatasize", "4M", "--size", size]
        must("lvcreate", "--yes", *options, "--name", "pool", self.name, env=self.env)

    def add_thin(self, size: str) -> str:
        """The name of a new logical volume in the thin pool."""
        return self._add("--thinpool", "pool", "--virtualsize", size)

    def device(self, volume: str) -> str:
        return f"/dev/mapper/{self.name}-{volume.replace('-', '--')}"

    def remove(self) -> None:
        run("vgremove", "--yes", "--quiet", self.name, env=self.env)

    def _add(self, *options: str) -> str:
        self.volumes += 1
        name = f"data{self.volumes}"
        command = ["lvcreate", "--yes", "--wipesignatures", "n", *options, "--name", name]
        must(*command, self.name, env=self.env)
        return name
