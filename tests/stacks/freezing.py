# SPDX-License-Identifier: LGPL-2.1-or-later
"""The programs of these tests: one that freezes a group, one that keeps a freeze from completing,
and writers."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support.paths import BUILD
from tests.support.process import Failed, Program, SetupFailed, Word, block_timeout, wait_until
from tests.support.volumes import Volume, blocked_by_freeze, start_writer

FREEZER = BUILD / "tests/stacks/freezer"
STUCK_WRITER = BUILD / "tests/stacks/stuck-writer"


class Waiting:
    """A program that prints a line when it has done its part, and ends when its input ends."""

    def __init__(self, *words: Word) -> None:
        self.program = Program(*words, stdin=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_input()
        self.program.finish()

    def has_printed(self, last_line: str) -> bool:
        """Waits for the line; False if the program ended without it or took too long."""
        wait_until(lambda: last_line in self.program.text() or not self.program.running())
        return last_line in self.program.text()

    def end_input(self) -> None:
        assert self.program.process.stdin
        self.program.process.stdin.close()


class Freezer(Waiting):
    """Freezes a group with a guard of the library."""

    def __init__(
        self, paths: Iterable[Path], seconds: int | None = None, policy: str = "fail"
    ) -> None:
        """`seconds`: the time limit; 0 is no limit."""
        limit = block_timeout() if seconds is None else seconds
        super().__init__(FREEZER, int(1000 * limit), policy, *paths)

    def lines(self, word: str) -> list[Path]:
        """The mountpoints that it has frozen or skipped, in order."""
        lines = [line.partition(" ") for line in self.program.text().splitlines()]
        return [Path(path) for first, _, path in lines if first == word]

    def freezes(self) -> list[Path]:
        if not self.has_printed("ready\n"):
            raise Failed(f"not frozen: {self.program.finish(1)}")
        return self.lines("frozen")

    def thaws(self) -> None:
        self.end_input()
        result = self.program.finish()
        if result.status != 0:
            raise Failed(f"not thawed: {result}")

    def is_refused(self, filesystem: Path, reason: str) -> None:
        """It must fail because of this filesystem, and name it."""
        result = self.program.finish()
        if result.status != 1 or f"'{filesystem}'" not in result.text or reason not in result.text:
            raise Failed(f"{result}; should name {filesystem}: {reason}")


class Stuck(Waiting):
    """A writer in the middle of a write: no freeze completes until it continues."""

    def __init__(self, filesystem: Path) -> None:
        super().__init__(STUCK_WRITER, filesystem / "stuck")
        if not self.has_printed("stuck\n"):
            raise SetupFailed(f"stuck-writer: {self.program.finish(1)}")


def are_frozen(filesystems: Iterable[Path]) -> list[Program]:
    """Starts writers, which must block, and returns them."""
    writers = [start_writer(filesystem) for filesystem in filesystems]
    for writer in writers:
        blocked_by_freeze(writer)
    return writers


def becomes_frozen(filesystem: Path) -> list[Program]:
    """Starts writers until one blocks, and returns them."""
    writers: list[Program] = []

    def blocks() -> bool:
        writers.append(start_writer(filesystem))
        return writers[-1].blocks()

    if not wait_until(blocks):
        raise Failed(f"not frozen: {filesystem}")
    return writers


def are_thawed(writers: Iterable[Program]) -> None:
    for writer in writers:
        Volume.thawed(writer)


def are_writable(*filesystems: Path) -> None:
    are_thawed([start_writer(filesystem) for filesystem in filesystems])
