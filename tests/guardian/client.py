# SPDX-License-Identifier: LGPL-2.1-or-later
"""A client of libfreeze/guardian/PROTOCOL.md with sockets and struct alone: it needs no C."""

import array
import errno
import os
import random
import select
import socket
import struct
import time
from dataclasses import astuple, dataclass
from pathlib import Path

LAYOUT = struct.Struct("=IiQqqIIIIiIII16s32s144s")
VERSION = 1

HELLO, FREEZE, EXTEND, THAW, KEEP, ADOPT, STATUS, END_ALL = range(1, 9)
RESULT, PENDING, STATE, HOLDER = range(16, 20)
ENDED = 32

UNFROZEN, FREEZING, FROZEN = range(3)
KEPT, GONE, NOT_FROZEN_YET, PRIVATE = 1, 2, 4, 8
DEADLINE, ADMINISTRATOR, UNKNOWN_THAW = 1, 2, 3

ANSWER_TIME = 15.0  # seconds to wait for anything


class HungUp(Exception):
    """The guardian has closed the connection."""


@dataclass
class Message:
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
    count: int = 0
    command: bytes = b""
    comment: bytes = b""
    text: bytes = b""

    def pack(self) -> bytes:
        return LAYOUT.pack(*astuple(self))

    @classmethod
    def unpack(cls, data: bytes) -> "Message":
        fields = LAYOUT.unpack(data)
        strings = (field.split(b"\0", 1)[0] for field in fields[-3:])
        return cls(*fields[:-3], *strings)


def new_id() -> int:
    return random.getrandbits(63) + 1


class Connection:
    """Requests return the RESULT. ENDED is remembered."""

    def __init__(self, channel: socket.socket) -> None:
        self.socket = channel
        self.socket.settimeout(ANSWER_TIME)
        self.ended: Message | None = None
        self.took = 0.0  # seconds until the last RESULT or PENDING

    def close(self) -> None:
        self.socket.close()

    def send(self, message: Message, passed: int | None = None) -> None:
        rights = array.array("i", [] if passed is None else [passed])
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self.socket.sendmsg([message.pack()], control)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what the guardian had to say may still be there to read

    def receive(self) -> Message:
        data = b""
        while len(data) < LAYOUT.size:
            try:
                part = self.socket.recv(LAYOUT.size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise HungUp
            data += part
        message = Message.unpack(data)
        if message.type == ENDED:
            self.ended = message
        return message

    def receive_answer(self, *types: int) -> Message:
        while (message := self.receive()).type not in types:
            pass
        return message

    def ask(self, message: Message) -> Message:
        start = time.monotonic()
        self.send(message)
        answer = self.receive_answer(RESULT)
        self.took = time.monotonic() - start
        return answer

    def is_ready(self, seconds: float = 0) -> bool:
        return bool(select.select([self.socket], [], [], seconds)[0])

    def hello(self, device: int, filesystem: int | None = None, **fields: int) -> Message:
        message = Message(
            HELLO, device_major=os.major(device), device_minor=os.minor(device), version=VERSION
        )
        for name, value in fields.items():
            setattr(message, name, value)
        self.send(message, filesystem)
        return self.receive_answer(RESULT)

    def begin_freeze(self, timeout_ms: int = 0, identity: int = 0, comment: bytes = b"") -> int:
        """Returns the id. The guardian has answered PENDING."""
        start = time.monotonic()
        identity = identity or new_id()
        self.send(Message(FREEZE, id=identity, timeout_ms=timeout_ms, comment=comment))
        message = self.receive_answer(PENDING, RESULT)
        self.took = time.monotonic() - start
        if message.type == RESULT:
            raise OSError(message.error, f"FREEZE: {os.strerror(message.error)}")
        return identity

    def finish_freeze(self) -> int:
        return self.receive_answer(RESULT).error

    def extend(self, timeout_ms: int, identity: int = 0) -> int:
        return self.ask(Message(EXTEND, timeout_ms=timeout_ms, id=identity)).error

    def thaw(self, identity: int = 0) -> int:
        return self.ask(Message(THAW, id=identity)).error

    def keep(self) -> int:
        return self.ask(Message(KEEP)).error

    def adopt(self, identity: int = 0, timeout_ms: int = 0, comment: bytes = b"") -> Message:
        return self.ask(Message(ADOPT, id=identity, timeout_ms=timeout_ms, comment=comment))

    def list(self, request: int = STATUS) -> tuple[Message, list[Message], Message]:
        """STATE, the HOLDERs, RESULT."""
        start = time.monotonic()
        self.send(Message(request))
        state = self.receive_answer(STATE, RESULT)
        if state.type == RESULT:
            return Message(STATE), [], state
        holders = [self.receive_answer(HOLDER) for _ in range(state.count)]
        result = self.receive_answer(RESULT)
        self.took = time.monotonic() - start
        return state, holders, result


class Filesystem:
    """Where its guardian is, and how to start one."""

    def __init__(self, path: Path, directory: Path, guardian: Path) -> None:
        self.path = path
        self.device = os.stat(path).st_dev
        self.directory = directory
        self.guardian = guardian

    @property
    def name(self) -> str:
        return f"{os.major(self.device)}:{os.minor(self.device)}"

    @property
    def socket(self) -> Path:
        return self.directory / self.name

    @property
    def lock(self) -> Path:
        return self.directory / f"{self.name}.lock"

    def execute_guardian(self) -> Connection:
        """Starts one. It has not got the filesystem's descriptor yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            child = os.posix_spawn(
                self.guardian,
                ["libfreeze-guardian"],
                {"LIBFREEZE_RUNTIME_DIR": str(self.directory)},
                file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
            )
        os.waitpid(child, 0)
        return Connection(ours)

    def connect_to(self, path: Path) -> Connection | None:
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(str(path))
            return Connection(channel)
        except OSError as error:
            channel.close()
            if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
                return None
            raise

    def start(self) -> tuple[Connection, Message]:
        """Through the host's socket if there is one."""
        host = self.connect_to(self.directory / "guardian.socket")
        connection = host or self.execute_guardian()
        filesystem = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return connection, connection.hello(self.device, filesystem)
        finally:
            os.close(filesystem)

    def find(self) -> Connection:
        """A connection to the guardian that runs."""
        connection = self.connect_to(self.socket)
        assert connection, f"no guardian listens on {self.socket}"
        answer = connection.hello(self.device)
        assert answer.error == 0, answer
        return connection

    def reach(self) -> Connection:
        """A connection to a guardian that runs, or to a new one."""
        end = time.monotonic() + ANSWER_TIME
        while time.monotonic() < end:
            connection = self.connect_to(self.socket)
            try:
                if connection:
                    answer = connection.hello(self.device)
                else:
                    connection, answer = self.start()
                if answer.error == 0:
                    return connection
                assert answer.error == errno.EAGAIN, answer
            except HungUp:
                pass
            if connection:
                connection.close()
            time.sleep(0.003)
        raise AssertionError("cannot reach a guardian")

    def freeze(self, timeout_ms: int = 0, identity: int = 0, comment: bytes = b"") -> Connection:
        """A connection with a hold."""
        while True:
            connection = self.reach()
            try:
                connection.begin_freeze(timeout_ms, identity, comment)
            except HungUp:
                continue
            except OSError as error:
                if error.errno != errno.EAGAIN:
                    raise
                continue
            if error_number := connection.finish_freeze():
                raise OSError(error_number, os.strerror(error_number))
            return connection
