# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-ga, driven over a socket as a hypervisor does over its virtio port."""

import json
import socket
import tempfile
from pathlib import Path
from typing import Self

from tests.compat.fetch_qemu_ga import FETCHED
from tests.support.process import Failed, Program, SetupFailed, block_timeout, wait_until


class GuestAgent:
    def __init__(self) -> None:
        place = Path(tempfile.mkdtemp(prefix="qemu-ga."))
        self.path = place / "socket"
        program: Path | str = FETCHED if FETCHED.exists() else "qemu-ga"
        self.program = Program(
            program, "-m", "unix-listen", "-p", self.path, "-t", place, "-f", place / "pid"
        )
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(block_timeout())
        if not wait_until(self._connected):
            raise SetupFailed(f"qemu-ga does not start: {self.program.finish(1)}")
        self.answers = self.socket.makefile("r", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.program.process.kill()

    def _connected(self) -> bool:
        """The socket exists before the agent listens to it."""
        try:
            self.socket.connect(str(self.path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def call(self, command: str, **arguments: object) -> object:
        request = {"execute": command, "arguments": arguments}
        try:
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(self.answers.readline())
        except TimeoutError as late:
            raise Failed(f"qemu-ga: {command}: blocked") from late
        except (OSError, ValueError) as error:
            raise SetupFailed(f"qemu-ga: {command}: {error}") from error
        if "return" not in answer:
            raise Failed(f"qemu-ga: {command}: {answer}")
        return answer["return"]

    def freeze(self, mountpoint: Path) -> object:
        """How many filesystems it has frozen."""
        return self.call("guest-fsfreeze-freeze-list", mountpoints=[str(mountpoint)])

    def freeze_all(self) -> object:
        """The same for everything that is mounted from a block device or is btrfs."""
        return self.call("guest-fsfreeze-freeze")

    def thaw(self) -> object:
        """How many it has thawed. It calls FITHAW on each until that fails."""
        return self.call("guest-fsfreeze-thaw")

    def status(self) -> object:
        return self.call("guest-fsfreeze-status")
