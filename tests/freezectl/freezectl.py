# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs freezectl, and records which options and exit statuses were tried."""

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

from tests.support.paths import BUILD, ROOT
from tests.support.process import is_alive, wait_until
from tests.support.volumes import Volume, has_descriptors

PROGRAM = BUILD / "tools/freezectl/freezectl"
SLOW_KERNEL = BUILD / "tests/freezectl/slow-kernel.so"
SOURCE = ROOT / "tools/freezectl"
COMMANDS = ("run", "freeze", "thaw", "extend", "status", "probe")
SHORT = {
    "-t": "--timeout",
    "-v": "--verbose",
    "-q": "--quiet",
    "-h": "--help",
    "-J": "--json",
    "-a": "--all",
    "-T": "--types",
    "-x": "--exclude",
    "-o": "--output",
    "-n": "--noheadings",
}
FROZEN = 3  # exit status of `status`
LONG_TIMEOUT = 30  # seconds; a machine that takes longer is too slow for the test

Word = str | bytes | os.PathLike[str]
Report = dict[str, Any]  # what schema.json describes
Environment = Mapping[str, str]


@dataclass
class Result:
    words: tuple[Word, ...]
    status: int  # negative: the signal that ended it
    out: bytes
    err: bytes

    def expect(self, status: int, *texts: str, out: bytes | None = b"") -> "Result":
        """Checks the exit status, that standard error contains the texts, and standard output."""
        error = self.err.decode(errors="replace")
        assert self.status == status, f"status {self.status}, not {status}: {error}"
        for text in texts:
            assert text.encode() in self.err, f"{text!r} is not in {error!r}"
        assert out is None or self.out == out, f"printed {self.out!r}"
        return self

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def report(self) -> Report:
        """The JSON on the last line."""
        assert self.out.endswith(b"\n"), self.out
        report: Report = json.loads(self.text.splitlines()[-1])
        return report

    @property
    def filesystem(self) -> Report:
        """The first filesystem in the report."""
        first: Report = self.report["filesystems"][0]
        return first

    @property
    def id(self) -> str:
        """The id that freeze prints."""
        assert re.fullmatch("[0-9a-f]{16}\n", self.text), self.text
        return self.text.strip()


@dataclass
class Freezectl:
    """Runs freezectl in a new session. Each JSON report must match the schema."""

    options: set[tuple[str, str]] = field(default_factory=set)  # command, option
    statuses: set[tuple[str, int]] = field(default_factory=set)  # command, exit status
    reports: int = 0

    def __post_init__(self) -> None:
        schema = json.loads((SOURCE / "schema.json").read_text())
        self.validator = jsonschema.Draft202012Validator(schema)
        self.validator.check_schema(schema)

    def start(
        self,
        *words: Word,
        env: Environment | None = None,
        under: Sequence[str] = (),
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        defaults: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "start_new_session": True,
        }
        environment = {**os.environ, **(env or {})}
        return subprocess.Popen([*under, PROGRAM, *words], env=environment, **(defaults | options))

    def __call__(self, *words: Word, deadline: float = LONG_TIMEOUT, **options: Any) -> Result:
        return self.finish(self.start(*words, **options), words, deadline)

    def finish(
        self,
        process: subprocess.Popen[bytes],
        words: tuple[Word, ...],
        deadline: float = LONG_TIMEOUT,
    ) -> Result:
        try:
            out, err = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.returncode = -signal.SIGKILL  # otherwise Popen would wait for it
            raise AssertionError(f"{words} did not end in {deadline} s") from None
        result = Result(words, process.returncode, out or b"", err or b"")
        self.record(words, result.status)
        own = [os.fsencode(word) for word in words]
        own = own[: own.index(b"--") if words[:1] == ("run",) and b"--" in own else None]
        if {b"--json", b"-J"} & {*own} and result.status != 2:
            self.check_report(result.report)
        return result

    def check_report(self, report: Report) -> None:
        self.validator.validate(report)
        self.reports += 1

    def freeze(self, *words: Word, **options: Any) -> str:
        """Freezes, and returns the id of the hold."""
        return self("freeze", *words, **options).expect(0, out=None).id

    def record(self, words: tuple[Word, ...], status: int) -> None:
        names = [os.fsdecode(word) for word in words]
        command = names[0] if names and not names[0].startswith("-") else ""
        for word in names[: names.index("--") if "--" in names else None]:
            if word.startswith("-"):
                name = word.split("=")[0]
                self.options.add((command, SHORT.get(name, name)))
        self.statuses.add((command, status))

    def options_in_help(self, command: str) -> set[str]:
        text = self(*([command] if command else []), "--help").text
        return set(re.findall(r"^  (?:-\w,)?(--[a-z-]+)", text, re.MULTILINE))


class Volumes:
    """The filesystems under test, and their guardians."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.all: list[Volume] = []

    @cached_property
    def ext4(self) -> Volume:
        return self.add("ext4")

    @cached_property
    def xfs(self) -> Volume:
        return self.add("xfs")

    def add(self, kind: str) -> Volume:
        volume = Volume(self.work, kind)
        self.all.append(volume)
        return volume

    def thaw_all(self) -> list[str]:
        """Thaws each in the order of creation. Returns the devices that were frozen."""
        return [volume.device for volume in self.all if volume.thaw()]

    def guardians(self) -> list[int]:
        """The guardians of this test, also a wrapper that is about to start one."""
        mark = f"LIBFREEZE_RUNTIME_DIR={self.work}/".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if any(b"guardian" in word for word in words[:2]) and mark in environment:
                found.append(int(entry.name))
        return found

    def end_guardians(self) -> None:
        """A guardian whose thaw fails would try forever."""
        for pid in self.guardians():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def assert_no_guardian(self) -> None:
        assert wait_until(lambda: not self.guardians(), LONG_TIMEOUT), "a guardian is left"

    def destroy(self) -> None:
        self.end_guardians()
        self.thaw_all()
        for volume in reversed(self.all):
            volume.destroy()


@dataclass
class SlowKernel:
    """Makes the kernel slow, or lets a thaw fail: see slow_kernel.c."""

    work: Path

    def __call__(
        self, ms: int = 0, thaw_error: int = 0, step: str = "", gate: Path | None = None
    ) -> Environment:
        """The environment for freezectl. The guardian starts with an empty environment, so a
        wrapper sets the variables again."""
        environment = {"LD_PRELOAD": os.fspath(SLOW_KERNEL), "SLOW_KERNEL_MS": str(ms)}
        if thaw_error:
            environment["SLOW_KERNEL_THAW"] = str(thaw_error)
        if gate:
            environment |= {"SLOW_KERNEL_STEP": step, "SLOW_KERNEL_GATE": os.fspath(gate)}
        settings = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        wrapper = self.work / f"guardian-{ms}-{thaw_error}-{step}"
        if not wrapper.exists():
            guardian = shlex.quote(os.environ["LIBFREEZE_GUARDIAN"])
            wrapper.write_text(f'#!/bin/sh\n{settings} exec {guardian} "$@"\n')
            wrapper.chmod(0o755)
        return {**environment, "LIBFREEZE_GUARDIAN": os.fspath(wrapper)}


# The points at which a run can be stopped, in the order of execution.
# Where the kernel keeps the holds, there is no guardian.
START = ("exec", "freezectl", *([] if has_descriptors() else ["libfreeze-guardian"]))
FREEZING = ("syncfs", "synced", "freeze", "frozen")
COMMAND = ("command",)
THAWING = ("thaw", "thawed")
POINTS = (*START, *FREEZING, *COMMAND, *THAWING)


class StoppedRun:
    """A freezectl that stops at a given point, itself or its guardian, until it is released.

    Its command writes its PID to a file. It ends by itself only if the point comes after it."""

    def __init__(self, slow_kernel: SlowKernel, point: str) -> None:
        self.point = point
        self.gate = slow_kernel.work / "gate"
        self.pid_file = slow_kernel.work / "pid"
        for file in (self.gate, self.pid_file):
            file.unlink(missing_ok=True)
        step = "" if point in ("exec", "command") else point
        self.environment = slow_kernel(step=step, gate=self.gate if step else None)

    def words(self, *paths: Word) -> tuple[Word, ...]:
        rest = "" if self.point in THAWING else "; exec sleep 60"
        return ("run", "-t", "0", *paths, "--", "sh", "-c", f"echo $$ >{self.pid_file}{rest}")

    def command(self) -> int | None:
        """The PID of the command; None if it has not started."""
        text = self.pid_file.read_text().strip() if self.pid_file.exists() else ""
        return int(text) if text else None

    def check_command(self, lives: bool) -> None:
        """The command has started if the point is that late, and lives on or not."""
        pid = self.command()
        started = self.point in (*COMMAND, *THAWING)
        assert (pid is not None) == started, f"at {self.point!r}: the command is {pid}"
        assert pid is None or is_alive(pid) == lives, f"at {self.point!r}: is {pid} alive?"

    def wait(self, pid: int) -> None:
        """Waits until this freezectl is at the point."""
        reached = {
            "exec": lambda: Path(f"/proc/{pid}/comm").read_text() == "freezectl\n",
            "command": lambda: self.command() is not None,
        }
        if not wait_until(reached.get(self.point, self.gate.exists), LONG_TIMEOUT):
            raise AssertionError(f"never reached {self.point!r}")

    def release(self) -> None:
        self.gate.write_text("go on")


def has_ended(pid: int, seconds: float) -> bool:
    """Whether the process ends in this time."""
    return wait_until(lambda: not is_alive(pid), seconds)


class Terminal:
    """A command that leads a session on a new terminal."""

    def __init__(self, *command: str, env: Environment | None = None) -> None:
        self.shown = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, {**os.environ, "TERM": "vt100", **(env or {})})

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def show(self, seconds: float, until: bytes | None = None) -> bytes:
        """What has been shown so far, after that time or as soon as it contains `until`."""
        end = time.monotonic() + seconds
        while until is None or until not in self.shown:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            if not ready:
                break
            try:
                self.shown += os.read(self.master, 65536)
            except OSError:  # all processes that had it open are gone
                break
        return self.shown

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.master)

    def wait(self, seconds: float) -> int | None:
        """The exit status; negative for a signal; None if it has not ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                self.show(0.01)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        return None
