# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that hold filesystems, seen from the test. program.py is what they run."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.holds.raw import DIRECTORY
from tests.support.paths import ROOT
from tests.support.process import Failed, block_timeout, is_alive, wait_until

PROGRAM = ["-B", "-m", "tests.holds.program"]


@dataclass
class Answer:
    result: int  # 0, a negative errno, or what the request says
    message: str  # of the library, if it failed
    seconds: float  # that the request took in the program
    more: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.more[name]

    def __str__(self) -> str:
        name = os.strerror(-self.result) if self.result < 0 else str(self.result)
        return f"{name}: {self.message}" if self.message else name


class Blocked(Failed):
    """The program has not answered in time."""


class Worker:
    """A program that uses the library as the test tells it.

    `under` is a command that runs it, such as unshare(1)."""

    def __init__(
        self,
        under: Sequence[str | os.PathLike[str]] = (),
        env: dict[str, str] | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        executable: str | os.PathLike[str] = sys.executable,
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [*under, executable, *PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.channel = ours
        self.buffer = b""
        self.pending = 0

    # Requests ------------------------------------------------------------------------

    def start(self, request: str, **arguments: Any) -> None:
        """Makes a request. answer() has its result."""
        line = json.dumps({"request": request, **arguments}, default=os.fsdecode)
        self.channel.sendall(line.encode() + b"\n")
        self.pending += 1

    def answered(self, seconds: float) -> bool:
        """Whether the answer arrives in this time."""
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = max(0, end - time.monotonic())
            if not select.select([self.channel], [], [], left)[0]:
                return False
            received = self.channel.recv(1 << 16)
            if not received:
                raise Failed("the program has ended without an answer")
            self.buffer += received
        return True

    def answer(self, seconds: float | None = None) -> Answer:
        seconds = block_timeout() if seconds is None else seconds
        if not self.answered(seconds):
            raise Blocked(f"no answer in {seconds} s; it sleeps in {self.where()}")
        line, _, self.buffer = self.buffer.partition(b"\n")
        self.pending -= 1
        more = json.loads(line)
        return Answer(more.pop("result"), more.pop("message"), more.pop("seconds"), more)

    def ask(self, request: str, *, within: float | None = None, **arguments: Any) -> Answer:
        self.start(request, **arguments)
        return self.answer(within)

    def must(self, request: str, *, within: float | None = None, **arguments: Any) -> Answer:
        """A request that must succeed."""
        answer = self.ask(request, within=within, **arguments)
        if answer.result < 0:
            raise Failed(f"{request} {arguments}: {answer}")
        return answer

    # The process ---------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process ID of the program, not of the command that runs it."""
        pid = self.process.pid
        while read(f"/proc/{pid}/cmdline").split("\0")[1:4] != PROGRAM:
            pid = int(read(f"/proc/{pid}/task/{pid}/children").split()[0])
        return pid

    def where(self) -> str:
        with contextlib.suppress(IndexError):
            return read(f"/proc/{self.pid}/wchan")
        return "?"

    def kill(self) -> float:
        """Kills the program, and returns when."""
        pid = self.pid
        now = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        return now

    def end(self) -> None:
        """Gives it up if it blocks."""
        with contextlib.suppress(OSError, IndexError):
            os.kill(self.pid, signal.SIGCONT)
            self.kill()
        if self.process.poll() is None:
            self.process.kill()
        wait_until(lambda: self.process.poll() is not None, 2)
        self.process.returncode = self.process.returncode or -signal.SIGKILL
        self.channel.close()


def read(path: str) -> str:
    """Empty if the process has ended."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def guardians() -> list[int]:
    """The guardians of these tests, whose /run/libfreeze is their own."""
    ours = os.stat(DIRECTORY).st_dev
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if not (entry / "comm").read_text().startswith("libfreeze-guard"):
                continue
            directory = f"/proc/{entry.name}/root{DIRECTORY}"
            if is_alive(int(entry.name)) and os.stat(directory).st_dev == ours:
                found.append(int(entry.name))
    return found


def where_threads_sleep(pid: int) -> list[str]:
    """The kernel functions in which the threads of a process wait."""
    return [read(f"{task}/wchan") for task in Path(f"/proc/{pid}/task").glob("*")]
