# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that write to a filesystem: one that shows when it is frozen, one that gets stuck."""

import contextlib
import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from tests.holds.worker import read
from tests.support.process import Failed, SetupFailed, is_alive, stat, wait_until

NOBODY = 65534
SOON = 10.0  # seconds; how long a thaw may take on a busy machine
STALL = 0.005  # seconds; a write that takes longer has probably waited for a thaw


class Heartbeat:
    """Writes every millisecond, in a separate process, and records when."""

    RECORD = struct.Struct("dddd")  # the last write began and ended, the last stall began and ended

    def __init__(self, directory: Path) -> None:
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                self.write(directory / "heartbeat", parent)
            os._exit(1)
        if not wait_until(lambda: self.record()[1] > 0, 5):
            raise SetupFailed(f"cannot write to {directory}")

    def write(self, file: Path, parent: int) -> None:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        began = ended = stall_began = stall_ended = 0.0
        while os.getppid() == parent:
            began = time.monotonic()
            self.RECORD.pack_into(self.shared, 0, began, ended, stall_began, stall_ended)
            os.pwrite(fd, b"x", 0)
            ended = time.monotonic()
            if ended - began > STALL:
                stall_began, stall_ended = began, ended
            self.RECORD.pack_into(self.shared, 0, began, ended, stall_began, stall_ended)
            time.sleep(0.001)

    def record(self) -> tuple[float, ...]:
        return self.RECORD.unpack_from(self.shared)

    def waits_for_thaw(self) -> bool:
        found = stat(self.pid)
        return bool(found and found.state == "D" and "percpu" in read(f"/proc/{self.pid}/wchan"))

    def frozen(self) -> bool:
        """Whether a write that begins now has to wait for a thaw."""
        asked = time.monotonic()
        while time.monotonic() < asked + 10:
            began, ended, *_ = self.record()
            if ended >= began > asked:
                return False
            if self.waits_for_thaw():
                time.sleep(0.003)
                if self.waits_for_thaw() and self.record()[0] == began:
                    return True
            time.sleep(0.0005)
        where = read(f"/proc/{self.pid}/wchan")
        raise Failed(f"a writer neither writes nor waits for a thaw, but sleeps in {where}")

    def thawed_within(self, seconds: float) -> bool:
        return wait_until(lambda: not self.frozen(), seconds)

    def stalled_until(self) -> float:
        """When the last write ended that had to wait."""
        return self.record()[3]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The filesystem stays clean meanwhile."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        reap(self.pid)


class StuckWriter:
    """An unprivileged program inside a write that does not end: splice() from an empty pipe.

    No freeze can complete until it is killed."""

    def __init__(self, directory: Path) -> None:
        file = directory / "stuck"
        file.touch()
        file.chmod(0o666)
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                self.splice(file)
            os._exit(1)
        if not wait_until(lambda: "pipe" in read(f"/proc/{self.pid}/wchan"), 5):
            raise SetupFailed("splice() from an empty pipe does not wait on this kernel")

    @staticmethod
    def splice(file: Path) -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        reader, _writer = os.pipe()
        fd = os.open(file, os.O_WRONLY)
        ctypes.CDLL(None).splice(reader, None, fd, None, 100, 0)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        reap(self.pid)


def reap(pid: int) -> None:
    """Waits for a child that was killed, unless it blocks."""
    wait_until(lambda: not is_alive(pid), 2)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
