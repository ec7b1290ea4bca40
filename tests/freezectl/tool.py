# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs freezectl, and keeps account of the options and exit statuses that were tried."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import time
from dataclasses import dataclass

import jsonschema

SHORT = {"-t": "--timeout", "-v": "--verbose", "-q": "--quiet", "-h": "--help"}


@dataclass
class Result:
    status: int  # negative: the signal that ended it
    out: bytes
    err: bytes
    report: dict | None = None  # of --json


class Stuck(Exception):
    """It had to be given up."""


class Tool:
    def __init__(self, program, schema, thaw_all):
        self.program = os.fspath(program)
        self.validator = jsonschema.Draft202012Validator(schema)
        self.validator.check_schema(schema)
        self.thaw_all = thaw_all
        self.options = set()  # (command, option)
        self.statuses = set()  # (command, status)
        self.reports = 0

    def start(self, *words, env=None, **options):
        command = [self.program, *words]
        if env:
            options["env"] = dict(os.environ, **env)
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                   "stderr": subprocess.PIPE, "start_new_session": True} | options
        return subprocess.Popen(command, **options)

    def __call__(self, *words, deadline=30, **options):
        return self.finish(self.start(*words, **options), words, deadline)

    def finish(self, process, words, deadline=30):
        try:
            out, err = process.communicate(timeout=deadline)
        except subprocess.TimeoutExpired:
            self.thaw_all()
            self.give_up(process)
            raise Stuck(f"{words} did not end in {deadline} s") from None
        result = Result(process.returncode, out or b"", err or b"")
        self.note(words, result.status)
        own = [os.fsencode(word) for word in words]
        own = own[: own.index(b"--") if words[:1] == ("run",) and b"--" in own else None]
        if b"--json" in own and result.status != 2:
            result.report = self.report(result.out)
        return result

    @staticmethod
    def give_up(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.returncode = -signal.SIGKILL  # or Popen would wait for it

    def note(self, words, status):
        words = [os.fsdecode(word) for word in words]
        command = words[0] if words and not words[0].startswith("-") else ""
        for word in words[: words.index("--") if "--" in words else None]:
            if word.startswith("-"):
                name = word.split("=")[0]
                self.options.add((command, SHORT.get(name, name)))
        self.statuses.add((command, status))

    def report(self, out):
        """The JSON on the last line, which must be as the schema says."""
        assert out.endswith(b"\n"), out
        report = json.loads(out.decode().splitlines()[-1])
        self.validator.validate(report)
        self.reports += 1
        return report

    def text(self, *words):
        return self(*words).out.decode()


class Terminal:
    """A terminal of its own, as a session that starts freezectl, or a shell that does, has it."""

    def __init__(self, *command, env=None):
        self.shown = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execvpe(command[0], command, dict(os.environ, TERM="vt100", **(env or {})))

    def type(self, keys):
        os.write(self.master, keys)

    def show(self, seconds=0.0, until=None):
        """What has been shown so far, after that time or when it has that in it."""
        end = time.monotonic() + seconds
        while until is None or until not in self.shown:
            ready = select.select([self.master], [], [], max(0, end - time.monotonic()))[0]
            if not ready:
                break
            try:
                data = os.read(self.master, 65536)
            except OSError:  # all that had it open are gone
                break
            self.shown += data
        return self.shown

    def close(self):
        with contextlib.suppress(OSError):
            os.close(self.master)

    def wait(self, seconds):
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


def fill(pipe):
    """Leaves no room in a pipe."""
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags)
