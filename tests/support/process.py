# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs programs that may block forever on a frozen filesystem, and gives up on them.

A task that waits for a frozen filesystem is in D state and cannot be killed, so no function here
waits for a child without a limit."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

POLL = 0.02  # seconds between two looks at a child


class Failed(AssertionError):
    """The subject of the test did something wrong."""


class SetupFailed(Exception):
    """The test cannot be made here. Never a pass, not even where a failure is expected."""


class Stat(NamedTuple):
    """Fields of /proc/PID/stat."""

    state: str
    parent: int
    group: int
    threads: int


def stat(pid: int) -> Stat | None:
    """None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Stat(fields[0], int(fields[1]), int(fields[2]), int(fields[17]))


def is_alive(pid: int) -> bool:
    """False for a zombie."""
    found = stat(pid)
    return found is not None and found.state != "Z"


def group_is_alive(group: int) -> bool:
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    stats = (stat(pid) for pid in pids)
    return any(found and found.group == group and found.state != "Z" for found in stats)


def block_timeout() -> float:
    """A program that runs for this many seconds counts as blocked."""
    return 45 if os.environ.get("LIBFREEZE_FLAVOUR", "").startswith("debug") else 15


def wait_until(condition: Callable[[], object], seconds: float | None = None) -> bool:
    """Whether the condition became true in time (default: block_timeout())."""
    end = time.monotonic() + (block_timeout() if seconds is None else seconds)
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(POLL)
    return True


class Result(NamedTuple):
    status: int | None  # None: it blocked and was given up; negative: the signal that ended it
    text: str

    def __str__(self) -> str:
        how = "blocked" if self.status is None else f"exit status {self.status}"
        return f"{how}: {self.text.strip()}" if self.text.strip() else how


Word = str | bytes | os.PathLike[str] | int


class Program:
    """A program in the background, and everything it prints."""

    def __init__(
        self,
        *words: Word,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
    ) -> None:
        self.words = [str(word) if isinstance(word, int) else word for word in words]
        self.output = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(
                self.words,
                stdin=stdin,
                stdout=self.output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, LC_ALL="C", **(env or {})),
            )
        except OSError as error:
            raise SetupFailed(f"{os.fsdecode(self.words[0])}: {error.strerror}") from error

    def __str__(self) -> str:
        return " ".join(map(os.fsdecode, self.words))

    def running(self) -> bool:
        return self.process.poll() is None

    def finish(self, seconds: float | None = None) -> Result:
        """Its result. A program that does not end in time is killed but not waited for."""
        if not wait_until(lambda: not self.running(), seconds):
            self.process.kill()
            return Result(None, self.text())
        return Result(self.process.returncode, self.text())

    def text(self) -> str:
        """What it has printed so far."""
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def state(self) -> str | None:
        """As in /proc/PID/stat; None when it has ended."""
        found = stat(self.process.pid) if self.running() else None
        return found.state if found else None

    def where(self) -> str:
        """The kernel function in which it sleeps, or "0" if the kernel does not say."""
        try:
            return Path(f"/proc/{self.process.pid}/wchan").read_text()
        except OSError:
            return "0"

    def blocks(self) -> bool:
        """Waits until it has slept uninterruptibly for half a second; False if it ends instead."""
        since: float | None = None
        end = time.monotonic() + block_timeout()
        while self.running() and time.monotonic() < end:
            if self.state() != "D":
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > 0.5:
                return True
            time.sleep(POLL)
        return False


def run(*words: Word, env: Mapping[str, str] | None = None, seconds: float | None = None) -> Result:
    return Program(*words, env=env).finish(seconds)


def must(*words: Word, env: Mapping[str, str] | None = None, seconds: float | None = None) -> str:
    """The output of a step that prepares the test."""
    program = Program(*words, env=env)
    result = program.finish(seconds)
    if result.status != 0:
        raise SetupFailed(f"{program}: {result}")
    return result.text


def succeeds(*words: Word, env: Mapping[str, str] | None = None) -> str:
    """The output of a step that the test is about."""
    program = Program(*words, env=env)
    result = program.finish()
    if result.status != 0:
        raise Failed(f"{program}: {result}")
    return result.text


def refused(reason: str, *words: Word, env: Mapping[str, str] | None = None) -> None:
    """A step that must fail at once and give this reason."""
    program = Program(*words, env=env)
    result = program.finish()
    if result.status in (0, None) or reason not in result.text:
        raise Failed(f"{program}: {result}; expected it to fail with: {reason}")


def in_child(work: Callable[[], int], deadline: float, blocked: float | None = None) -> int | None:
    """What `work` returns (0 to 254), run in a child.

    None if it has not returned by the deadline, or has been in D state for `blocked` seconds. The
    child is then killed and left behind."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            status = work()
        finally:
            os._exit(status)
    until = running = time.monotonic()
    until += deadline
    while (now := time.monotonic()) < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            if code == 255 or code < 0:
                raise RuntimeError(f"a child of the test failed: {code}")
            return code
        found = stat(pid)
        if found is None or found.state != "D":
            running = now
        if blocked is not None and now - running > blocked:
            break
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return None


def start(command: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
    """Like Popen, but a signal cannot interrupt it when the child runs and is not yet known.

    A signal that arrives meanwhile ends the child and raises here."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        process = subprocess.Popen(command, preexec_fn=restore, **options)
    except BaseException:
        restore()
        raise
    try:
        restore()
    except BaseException:
        if options.get("start_new_session"):
            end_group(process, 5)
        else:
            process.terminate()
            wait_until(lambda: process.poll() is not None, 5)
        raise
    return process


def end_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ends the process group that a child leads. Tasks in D state survive and are left behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        if wait_until(lambda: not group_is_alive(process.pid), seconds):
            process.poll()
            return
