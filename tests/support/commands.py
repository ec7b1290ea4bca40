# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs programs that may block for ever on a frozen filesystem, and gives them up then."""

import os
import pathlib
import subprocess
import tempfile
import time
import typing

TICK = 0.05


class Failed(Exception):
    """What the kernel did wrong."""


class Broken(Exception):
    """Why a test cannot be made here: never a pass, not even on a stock kernel."""


def patience():
    """After so many seconds a program counts as blocked."""
    return 45 if os.environ.get("LIBFREEZE_FLAVOUR", "").startswith("debug") else 15


def wait_until(condition, seconds=None):
    """Whether the condition came true in time."""
    end = time.monotonic() + (seconds or patience())
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(TICK)
    return True


class Result(typing.NamedTuple):
    status: typing.Optional[int]  # None: blocked, and given up
    text: str

    def __str__(self):
        how = "blocked" if self.status is None else f"exit status {self.status}"
        return f"{how}: {self.text.strip()}" if self.text.strip() else how


class Program:
    """A program that runs, and whatever it says."""

    def __init__(self, *words, env=None, stdin=subprocess.DEVNULL):
        self.words = [str(word) for word in words]
        self.output = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(
                self.words, stdin=stdin, stdout=self.output,
                stderr=subprocess.STDOUT, env=dict(os.environ, LC_ALL="C", **(env or {})))
        except OSError as error:
            raise Broken(f"{self.words[0]}: {error.strerror}") from error

    def __str__(self):
        return " ".join(self.words)

    def running(self):
        return self.process.poll() is None

    def finish(self, seconds=None):
        """Its result; one that does not end in time is killed, but not waited for."""
        wait_until(lambda: not self.running(), seconds)
        if self.running():
            self.process.kill()
        return Result(self.process.poll(), self.text())

    def text(self):
        """What it has said so far; without moving the place where it writes."""
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def state(self):
        """As in /proc/PID/stat."""
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return None
        return text.rpartition(")")[2].split()[0]

    def where(self):
        """The kernel's function that it sleeps in."""
        try:
            return pathlib.Path(f"/proc/{self.process.pid}/wchan").read_text()
        except OSError:
            return "0"

    def blocks(self):
        """Waits until it sleeps uninterruptibly, for half a second; False if it ends instead."""
        in_a_row = 0
        end = time.monotonic() + patience()
        while self.running() and in_a_row < 10 and time.monotonic() < end:
            in_a_row = in_a_row + 1 if self.state() == "D" else 0
            time.sleep(TICK)
        return self.running() and in_a_row == 10


def run(*words, env=None, seconds=None):
    return Program(*words, env=env).finish(seconds)


def must(*words, env=None, seconds=None):
    """A step that belongs to the test's preparations."""
    result = run(*words, env=env, seconds=seconds)
    if result.status != 0:
        raise Broken(f"{' '.join(map(str, words))}: {result}")
    return result.text


def succeeds(*words, env=None):
    """A step that the test is about."""
    result = run(*words, env=env)
    if result.status != 0:
        raise Failed(f"{' '.join(map(str, words))}: {result}")
    return result.text


def refused(reason, *words, env=None):
    """A step that must fail at once, with this in what it says."""
    result = run(*words, env=env)
    if result.status in (0, None) or reason not in result.text:
        raise Failed(f"{' '.join(map(str, words))}: {result}; should fail: {reason}")
