# SPDX-License-Identifier: LGPL-2.1-or-later
"""A FUSE filesystem with one file, whose server stops to answer when it is told to."""

import ctypes
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.process import SetupFailed, wait_until

LOOKUP, GETATTR, OPEN, INIT, FORGET = 1, 3, 14, 26, 2
NAME = b"log"
IN_HEADER = struct.Struct("=IIQQIIII")  # length, opcode, unique, node, uid, gid, pid, padding
OUT_HEADER = struct.Struct("=IiQ")  # length, error, unique
ENOENT, ENOSYS = 2, 38
NODE_ROOT, NODE_FILE = 1, 2


def attributes(node: int) -> bytes:
    """struct fuse_attr."""
    mode = 0o40755 if node == NODE_ROOT else 0o100644
    return struct.pack("=6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def reply(opcode: int, node: int, name: bytes) -> tuple[int, bytes]:
    """An errno and what follows the header. Nothing may be cached, so each look is a request."""
    if opcode == INIT:
        return 0, struct.pack("=IIIIHHIIHHI7I", 7, 31, 0, 0, 0, 0, 4096, 1, 1, 0, *[0] * 8)[:64]
    if opcode == LOOKUP:
        if name != NAME:
            return ENOENT, b""
        return 0, struct.pack("=QQQQII", NODE_FILE, 0, 0, 0, 0, 0) + attributes(NODE_FILE)
    if opcode == GETATTR:
        return 0, struct.pack("=QII", 0, 0, 0) + attributes(node)
    if opcode == OPEN:
        return 0, struct.pack("=QII", 0, 0, 0)
    return ENOSYS, b""


def serve(device: int, seconds_file: Path) -> None:
    """Answers until the file exists, then hangs."""
    while True:
        try:
            request = os.read(device, 1 << 17)
        except OSError:
            return
        while seconds_file.exists():
            time.sleep(0.05)
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(request)
        if opcode == FORGET:
            continue
        error, body = reply(opcode, node, request[IN_HEADER.size :].rstrip(b"\0"))
        os.write(device, OUT_HEADER.pack(OUT_HEADER.size + len(body), -error, unique) + body)


class HangingMount:
    """Mounted at a directory. hang() makes it unresponsive."""

    def __init__(self, work: Path) -> None:
        self.path = work / "fuse.mnt"
        self.path.mkdir()
        self.file = self.path / os.fsdecode(NAME)
        self.stop = work / "fuse.stop"
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40755,user_id=0,group_id=0".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"hanging", os.fsencode(self.path), b"fuse", 0, options) != 0:
            raise SetupFailed(f"cannot mount FUSE: {os.strerror(ctypes.get_errno())}")
        self.server = subprocess.Popen(
            [sys.executable, "-B", "-m", "tests.holds.fuse", str(device), self.stop],
            pass_fds=[device],
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(device)
        if not wait_until(lambda: self.responds(), 5):
            raise SetupFailed("the FUSE server does not answer")

    def responds(self) -> bool:
        return subprocess.run(["stat", self.file], capture_output=True, timeout=5).returncode == 0

    def hang(self) -> None:
        self.stop.touch()

    def end(self) -> None:
        """The end of the server makes all requests fail."""
        self.server.kill()
        self.server.wait(5)
        ctypes.CDLL(None).umount2(os.fsencode(self.path), 2)
        self.stop.unlink(missing_ok=True)
        self.path.rmdir()


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
