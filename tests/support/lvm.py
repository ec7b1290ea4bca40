# SPDX-License-Identifier: LGPL-2.1-or-later
"""LVM in the virtual machine."""

import pathlib
import tempfile

from tests.support.process import must, run

# There is no udev in the guest, and /etc cannot be written to. thin_check is in a package of its
# own, and there is nothing to check in a new pool.
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
    """A device, as a volume group."""

    def __init__(self, name, device):
        self.name = name
        self.config = tempfile.mkdtemp(prefix="lvm.")
        pathlib.Path(self.config, "lvm.conf").write_text(LVM_CONF % device)
        self.env = {"LVM_SYSTEM_DIR": self.config, "LVM_SUPPRESS_FD_WARNINGS": "1"}
        self.volumes = 0
        must("vgcreate", "--yes", "--quiet", name, device, env=self.env)

    def add(self, size):
        """The name of a new logical volume."""
        return self._add("--size", size)

    def add_thin(self, size):
        """The same, in the thin pool."""
        return self._add("--thinpool", "pool", "--virtualsize", size)

    def add_pool(self, size):
        must("lvcreate", "--yes", "--type", "thin-pool", "--poolmetadatasize", "4M", "--size", size,
             "--name", "pool", self.name, env=self.env)

    def remove(self):
        run("vgremove", "--yes", "--quiet", self.name, env=self.env)

    def _add(self, *options):
        self.volumes += 1
        name = f"data{self.volumes}"
        must("lvcreate", "--yes", "--wipesignatures", "n", *options, "--name", name, self.name,
             env=self.env)
        return name
