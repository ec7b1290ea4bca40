# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-ga, driven over a socket as a hypervisor does over its virtio port."""

import json
import os
import pathlib
import socket
import tempfile

from commands import Broken, Failed, Program, patience, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
FETCHED = pathlib.Path(os.environ.get("LIBFREEZE_BUILD") or ROOT / "build",
                       "tests/programs/qemu-ga")  # by fetch-qemu-ga
PROGRAM = FETCHED if FETCHED.exists() else "qemu-ga"


class GuestAgent:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="qemu-ga."))
        self.path = self.dir / "socket"
        self.program = Program(PROGRAM, "-m", "unix-listen", "-p", self.path, "-t", self.dir,
                               "-f", self.dir / "pid")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(patience())
        if not wait_until(self.connected):
            raise Broken(f"qemu-ga does not start: {self.program.finish(1)}")
        self.answers = self.socket.makefile("r", encoding="utf-8")

    def connected(self):
        """The socket is there before anybody listens to it."""
        try:
            self.socket.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def call(self, command, **arguments):
        request = {"execute": command, "arguments": arguments}
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self.answers.readline())
        except TimeoutError as late:
            raise Failed(f"qemu-ga: {command}: blocked") from late
        except (OSError, ValueError) as error:
            raise Broken(f"qemu-ga: {command}: {error}") from error
        if "return" not in answer:
            raise Failed(f"qemu-ga: {command}: {answer}")
        return answer["return"]

    def freeze(self, directory):
        """How many filesystems it has frozen."""
        return self.call("guest-fsfreeze-freeze-list", mountpoints=[str(directory)])

    def freeze_all(self):
        """The same, of everything that is mounted from a block device or is btrfs."""
        return self.call("guest-fsfreeze-freeze")

    def thaw(self):
        """How many it has thawed. It calls FITHAW on each until that fails."""
        return self.call("guest-fsfreeze-thaw")

    def status(self):
        return self.call("guest-fsfreeze-status")

    def stop(self):
        self.socket.close()
        self.program.process.kill()
