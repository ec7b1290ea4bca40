# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who freezes, who writes, and who keeps a freeze from getting through."""

import os
import pathlib
import subprocess
import time

from commands import Broken, Failed, Program, patience, run, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LIBFREEZE_BUILD") or ROOT / "build")
FREEZER = BUILD / "tests/stacks/freezer"
STUCK_WRITER = BUILD / "tests/stacks/stuck-writer"


class Waiting:
    """A program that says when it is where it shall be, and goes on when its input ends."""

    def __init__(self, *words):
        self.program = Program(*words, stdin=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_on()
        self.program.finish()

    def there(self, last_line):
        """Whether it has said that in time, and has not ended."""
        wait_until(lambda: last_line in self.program.text() or not self.program.running())
        return last_line in self.program.text()

    def go_on(self):
        self.program.process.stdin.close()


class Freezer(Waiting):
    """Freezes a group, as a guard of the library does."""

    def __init__(self, paths, seconds=None, policy="fail"):
        """`seconds`: how long that may take; 0: for ever, and without a guardian."""
        milliseconds = 1000 * (patience() if seconds is None else seconds)
        super().__init__(FREEZER, milliseconds, policy, *paths)

    def lines(self, word):
        """The mountpoints of those that it has frozen or skipped, in turn."""
        lines = [line.partition(" ") for line in self.program.text().splitlines()]
        return [pathlib.Path(path) for first, _, path in lines if first == word]

    def freezes(self):
        if not self.there("ready\n"):
            raise Failed(f"not frozen: {self.program.finish(1)}")
        return self.lines("frozen")

    def thaws(self):
        self.go_on()
        result = self.program.finish()
        if result.status != 0:
            raise Failed(f"not thawed: {result}")

    def is_refused(self, filesystem, reason):
        """It fails because of that one, and names it."""
        result = self.program.finish()
        if result.status != 1 or f"'{filesystem}'" not in result.text or reason not in result.text:
            raise Failed(f"{result}; should name {filesystem}: {reason}")


class Stuck(Waiting):
    """A writer that has begun and lets no freeze get through, until it goes on."""

    def __init__(self, filesystem):
        super().__init__(STUCK_WRITER, filesystem / "stuck")
        if not self.there("stuck\n"):
            raise Broken(f"stuck-writer: {self.program.finish(1)}")


def writer(filesystem):
    return Program("sh", "-c", 'echo late >"$0"', filesystem / "written")


def is_held_back(waiting):
    """By a freeze; 0 is what a kernel says that does not tell where."""
    return waiting.state() == "D" and (waiting.where() == "0" or "percpu" in waiting.where())


def are_frozen(filesystems):
    """Gives back writers that have to wait."""
    writers = [writer(filesystem) for filesystem in filesystems]
    for _ in range(2):
        if not wait_until(lambda: all(map(is_held_back, writers))):
            free = [str(waiting) for waiting in writers if not is_held_back(waiting)]
            raise Failed(f"not frozen: {', '.join(free)}")
        time.sleep(0.2)
    return writers


def becomes_frozen(filesystem):
    """The same with one that is about to be."""
    writers = []

    def has_to_wait():
        writers.append(writer(filesystem))
        return writers[-1].blocks()

    if not wait_until(has_to_wait):
        raise Failed(f"not frozen: {filesystem}")
    return writers


def are_let_go(writers):
    for waiting in writers:
        result = waiting.finish()
        if result.status != 0:
            raise Failed(f"{waiting}: still frozen? {result}")


def are_writable(*filesystems):
    are_let_go([writer(filesystem) for filesystem in filesystems])


def thaw(filesystem):
    """Whether any of its freezes was left."""
    thawed = False
    while run("fsfreeze", "-u", filesystem).status == 0:
        thawed = True
    return thawed
