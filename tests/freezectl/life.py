# SPDX-License-Identifier: LGPL-2.1-or-later
"""A `freezectl` that is met at a given point of its life, however fast or slow the machine is: it
or its guardian stops there (slow_kernel.c) until it is let go on."""

import time
from pathlib import Path

# In the order in which they come.
START = ("exec", "freezectl", "libfreeze-guardian")
FREEZING = ("syncfs", "synced", "freeze", "frozen")
COMMAND = ("command",)
THAWING = ("thaw", "thawed")
POINTS = (*START, *FREEZING, *COMMAND, *THAWING)

FAR = 30  # seconds; a machine that takes longer is given up


def until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Life:
    """Of `freezectl run`; the command of it leaves its number, and ends by itself only where the
    point is in the thaw that follows."""

    def __init__(self, bench, point):
        self.point = point
        self.gate = bench.work / "gate"
        self.pid_file = bench.work / "pid"
        for file in (self.gate, self.pid_file):
            file.unlink(missing_ok=True)
        stops = point not in ("exec", "command")
        self.environment = bench.slow(step=point if stops else "", gate=self.gate)

    def words(self, *paths):
        rest = "" if self.point in THAWING else "; exec sleep 60"
        return ("run", *paths, "--", "sh", "-c", f"echo $$ >{self.pid_file}{rest}")

    def command(self):
        """The process that it is; none if it has not begun."""
        text = self.pid_file.read_text().strip() if self.pid_file.exists() else ""
        return int(text) if text else None

    def has_begun(self):
        return self.point in (*COMMAND, *THAWING)

    def wait(self, pid):
        """Until the freezectl with that number is at the point."""
        there = {"exec": lambda: Path(f"/proc/{pid}/comm").read_text() == "freezectl\n",
                 "command": lambda: self.command() is not None}
        if not until(there.get(self.point, self.gate.exists), FAR):
            raise AssertionError(f"never came to {self.point!r}")

    def go_on(self):
        self.gate.write_text("go on")
