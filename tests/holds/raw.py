# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guardian's protocol with sockets alone, as guardian/PROTOCOL.md describes it."""

import array
import contextlib
import errno
import os
import socket
import struct
import threading
from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path("/run/libfreeze")
VERSION = 1
HELLO, FREEZE, EXTEND, THAW, KEEP, ADOPT, STATUS, END_ALL = range(1, 9)
RESULT, PENDING, STATE, HOLDER = range(16, 20)
ENDED = 32
FORMAT = struct.Struct("=IiQqqIIIIiIII16s32s144s")


class Message(NamedTuple):
    type: int
    error: int = 0
    id: int = 0
    timeout_ms: int = 0
    age_ms: int = 0
    version: int = 0
    flags: int = 0
    device_major: int = 0
    device_minor: int = 0
    pid: int = 0
    state: int = 0
    cause: int = 0
    holders: int = 0  # that follow
    command: bytes = b""
    comment: bytes = b""
    text: bytes = b""


def pack(message: Message) -> bytes:
    return FORMAT.pack(*message)


def unpack(data: bytes) -> Message:
    *numbers, command, comment, text = FORMAT.unpack(data)
    return Message(*numbers, *(field.split(b"\0")[0] for field in (command, comment, text)))


def address(mountpoint: str | os.PathLike[str]) -> Path:
    """The socket of the guardian of a filesystem."""
    device = os.stat(mountpoint).st_dev
    return DIRECTORY / f"{os.major(device)}:{os.minor(device)}"


class Client:
    """A connection to a running guardian."""

    def __init__(self, mountpoint: str | os.PathLike[str], seconds: float = 10) -> None:
        self.device = os.stat(mountpoint).st_dev
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(seconds)
        self.socket.connect(os.fspath(address(mountpoint)))

    def send(self, message: Message, fd: int | None = None) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd else []
        self.socket.sendmsg([pack(message)], rights)

    def receive(self) -> Message:
        data = b""
        while len(data) < FORMAT.size:
            received = self.socket.recv(FORMAT.size - len(data))
            if not received:
                raise ConnectionError("the guardian has closed the connection")
            data += received
        return unpack(data)

    def ask(self, message: Message) -> Message:
        self.send(message)
        return self.receive()

    def hello(self, version: int = VERSION) -> Message:
        hello = Message(HELLO, version=version)
        major, minor = os.major(self.device), os.minor(self.device)
        return self.ask(hello._replace(device_major=major, device_minor=minor))

    def status(self) -> tuple[Message, list[Message]]:
        """The state, and the holders."""
        self.send(Message(STATUS))
        state = self.receive()
        holders = [self.receive() for _ in range(state.holders)]
        assert self.receive().type == RESULT
        return state, holders

    def close(self) -> None:
        self.socket.close()


class Server:
    """A guardian of another version, which refuses every HELLO."""

    def __init__(self, mountpoint: str | os.PathLike[str], version: int) -> None:
        self.path = address(mountpoint)
        self.version = version
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(os.fspath(self.path))
        self.socket.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                with connection:
                    hello = unpack(connection.recv(FORMAT.size, socket.MSG_WAITALL))
                    refusal = hello._replace(
                        type=RESULT, error=errno.EPROTONOSUPPORT, version=self.version
                    )
                    connection.sendall(pack(refusal))

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.path.unlink()
