# SPDX-License-Identifier: LGPL-2.1-or-later
"""A mutant, and the judgement whether the tests have caught it."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.process import Program, Word
from tests.support.tap import Writer

HERE = Path(__file__).resolve().parent
HEADER = re.compile(r"^(Bug|Filesystem|Needs): (.*)$", re.MULTILINE)
CAUGHT_BY = re.compile(r"^Caught-by(?: \((\w+)(?: on (\w+))?\))?: (.*)$", re.MULTILINE)
POINT = re.compile(r"^(ok|not ok) \d+ - (.*)$", re.MULTILINE)
# A test that did not run says nothing about the mutant.
NOT_RUN = re.compile(r" # SKIP |\(could not be made\)$")
# The program of a Caught-by line that names none.
DEFAULT_PROGRAM = {"guardian": "host", "library": "host"}


class Where(NamedTuple):
    """The program that a test belongs to, and the filesystem that it runs on."""

    program: str
    filesystem: str


class Mutant:
    """The headers of a patch: its bug, what it needs, and the tests that must catch it."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        headers = dict(HEADER.findall(text))
        kind = path.parent.name
        self.path, self.name = path, f"{kind} mutant {path.stem}"
        self.bug: str = headers["Bug"]
        self.needs: str | None = headers.get("Needs")
        self.tests: dict[Where, list[str]] = defaultdict(list)
        for program, filesystem, test in CAUGHT_BY.findall(text):
            where = Where(
                program or DEFAULT_PROGRAM.get(kind, "abi"),
                filesystem or headers.get("Filesystem", "ext4"),
            )
            self.tests[where].append(test)


def find(kind: str, names: Sequence[str] = ()) -> list[Mutant]:
    """The mutants of a kind, or of a kernel; with names, only these."""
    paths = sorted((HERE / kind).glob("*.patch"))
    return [Mutant(path) for path in paths if not names or path.stem in names]


class Outcome(NamedTuple):
    points: list[tuple[bool, str]]  # passed, and the description
    output: str

    def missing(self, tests: Sequence[str], passed: bool) -> list[str]:
        """The tests that have not run with this result. No name is part of another."""
        words = {test: re.compile(rf"(?<![\w.]){re.escape(test)}(?![\w.])") for test in tests}
        return [
            test
            for test in tests
            if not any(good == passed and words[test].search(text) for good, text in self.points)
        ]


Run = Callable[[Where, Sequence[str]], Outcome]  # runs tests with a mutant, or without one


def run_tap(*words: Word, seconds: float, env: Mapping[str, str] | None = None) -> Outcome:
    """Runs a program that prints TAP. A test of one that hangs has not passed."""
    result = Program(*words, env=env).finish(seconds)
    points = [
        (passed == "ok", text)
        for passed, text in POINT.findall(result.text)
        if not NOT_RUN.search(text)
    ]
    blocked = f"\n(given up after {seconds} s)" if result.status is None else ""
    return Outcome(points, result.text + blocked)


def judge(tap: Writer, mutant: Mutant, run: Run) -> None:
    for where, tests in mutant.tests.items():
        outcome = run(where, tests)
        uncaught = outcome.missing(tests, passed=False)
        tap.point(
            not uncaught,
            f"{mutant.name}: {mutant.bug} Caught by {', '.join(tests)}",
            f"not failed: {', '.join(uncaught)}\n{outcome.output[-3000:]}",
        )


def judge_unmutated(tap: Writer, kind: str, mutants: Sequence[Mutant], run: Run) -> None:
    """A test that fails without a mutant catches nothing."""
    wanted: dict[Where, set[str]] = defaultdict(set)
    for mutant in mutants:
        for where, tests in mutant.tests.items():
            wanted[where].update(tests)
    for where, names in sorted(wanted.items()):
        outcome = run(where, sorted(names))
        failed = outcome.missing(sorted(names), passed=True)
        tap.point(
            not failed,
            f"{kind} mutant none: the tests of {where.program} on {where.filesystem} pass",
            f"not passed: {', '.join(failed)}\n{outcome.output[-3000:]}",
        )
