# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs one suite for `meson test`: python3 -m tests.runner.guard SECONDS LOG COMMAND...

meson waits for everything that holds the suite's output. Here, what a suite leaves running is
killed, and a suite that takes too long is given up. For tests/run there are LOG.began,
LOG.log with all output while the suite runs, LOG.tap with standard output, and in the end
LOG.status."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from tests.support.process import end_group, group_is_alive, start, wait_until

from .child import last_lines

PR_SET_PDEATHSIG = 1
DRAIN = 5  # seconds for the output of a suite that has ended


def stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Suite:
    """A suite that runs, and its files."""

    def __init__(self, base: str, command: Sequence[str]) -> None:
        self.base = base
        Path(f"{base}.began").touch()
        self.log = open(f"{base}.log", "wb", buffering=0)
        self.tap = open(f"{base}.tap", "wb", buffering=0)
        self.began = time.monotonic()
        self.process = start(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def take(self, data: bytes, stream: int) -> None:
        self.log.write(data)
        os.write(stream, data)
        if stream == 1:
            self.tap.write(data)

    def bail_out(self, why: str) -> int:
        self.take(f"\nBail out! {why}\n".encode(), 1)
        return 1

    def follow(self, end: float) -> bool:
        """Passes the output on until the suite has ended. False if it takes too long."""
        selector = selectors.DefaultSelector()
        assert self.process.stdout and self.process.stderr
        selector.register(self.process.stdout, selectors.EVENT_READ, 1)
        selector.register(self.process.stderr, selectors.EVENT_READ, 2)
        while selector.get_map():
            for key, _ in selector.select(0.5):
                if data := os.read(key.fd, 65536):
                    self.take(data, key.data)
                else:
                    selector.unregister(key.fileobj)
            if self.process.poll() is not None:
                end = min(end, time.monotonic() + DRAIN)
            if time.monotonic() > end:
                break
        try:
            self.process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def run(self, seconds: float) -> int:
        try:
            ended = self.follow(self.began + seconds)
        except KeyboardInterrupt:
            self.kill_later()
            raise
        finally:
            end_group(self.process, 5)
        if not ended:
            said = last_lines(Path(f"{self.base}.log"), 1) or ["nothing"]
            return self.bail_out(f"given up after {int(seconds)} s; last output: {said[0]}")
        if self.process.returncode < 0:
            return self.bail_out(f"ended by signal {-self.process.returncode}")
        return self.process.returncode

    def kill_later(self) -> None:
        """meson kills this process half a second after it has interrupted it, which can be too
        soon for a suite to end. So another process kills the suite."""
        if os.fork() != 0:
            return
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(null, number)
            if not wait_until(lambda: not group_is_alive(self.process.pid), 5):
                os.killpg(self.process.pid, signal.SIGKILL)
        finally:
            os._exit(0)

    def report(self, status: int) -> None:
        text = f"{status} {time.monotonic() - self.began:.1f}\n"
        Path(f"{self.base}.part").write_text(text)
        Path(f"{self.base}.part").rename(f"{self.base}.status")


def main(seconds: str, base: str, *command: str) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # if meson is killed
    Path(base).parent.mkdir(parents=True, exist_ok=True)
    try:
        suite = Suite(base, command)
    except OSError as error:
        suite = Suite(base, ["true"])
        suite.bail_out(f"cannot run {command[0]}: {error.strerror}")
        suite.report(1)
        return 1
    status = suite.run(float(seconds))
    suite.report(status)
    return status


if __name__ == "__main__":
    try:
        status = main(*sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    os._exit(status)  # a child that cannot be killed is not waited for
