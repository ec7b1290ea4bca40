# SPDX-License-Identifier: LGPL-2.1-or-later
"""The outcome of each suite, judged strictly: by its TAP and its exit status."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.support import tap

from .screen import Screen, clock
from .table import LOGS, Suite

# A test that says nothing about this filesystem or kernel.
EXPECTED_SKIPS = re.compile(
    r"only for .*|only with --full|device-mapper does not freeze btrfs on 6\.1 and 6\.12"
)


@dataclass
class Outcome:
    name: str
    reader: tap.Reader = field(default_factory=tap.Reader)
    seconds: float = 0.0

    def line(self) -> str:
        return (
            f"{self.name}  {self.reader.passed} passed, {len(self.reader.failures)} failed, "
            f"{len(self.reader.skips)} skipped  {clock(self.seconds)}"
        )


def failed(name: str, what: str, diagnostics: Sequence[str] = ()) -> Outcome:
    outcome = Outcome(name)
    outcome.reader.breach(what, diagnostics)
    return outcome


def judge(suite: Suite) -> Outcome:
    """The outcome of a suite that has ended, from the files that runner/guard.py has written."""
    status, seconds = suite.file(".status").read_text().split()
    outcome = Outcome(suite.title, seconds=float(seconds))
    for line in suite.file(".tap").read_text(errors="replace").splitlines():
        outcome.reader.feed(line)
    outcome.reader.finish(int(status))
    return outcome


def kernel_table(suites: Sequence[Suite], outcomes: Sequence[Outcome]) -> list[str]:
    """A line per kernel and a column per flavour."""
    by_name = {outcome.name: outcome.reader for outcome in outcomes}
    cells: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for suite in suites:
        if len(suite.images) == 1 and suite.title in by_name:
            reader = by_name[suite.title]
            counts = {"passed": reader.passed, "FAILED": len(reader.failures)}
            cells[suite.images[0]].update(counts, skipped=len(reader.skips))
    rows = [["kernel", *dict.fromkeys(flavour for _, flavour in cells)]]
    for kernel in dict.fromkeys(kernel for kernel, _ in cells):
        row = [kernel]
        for flavour in rows[0][1:]:
            counts = cells.get((kernel, flavour), Counter())
            row.append(", ".join(f"{n} {what}" for what, n in counts.items() if n) or "-")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return lines if len(lines) > 1 else []


def skips(outcome: Outcome) -> Iterator[str]:
    """A line per skipped test, or per reason that several share; without the expected ones."""
    names: dict[str, list[str]] = defaultdict(list)
    for skip in outcome.reader.skips:
        if not EXPECTED_SKIPS.fullmatch(skip.diagnostics[0]):
            names[skip.diagnostics[0]].append(skip.name)
    for reason, skipped in names.items():
        what = [f"{len(skipped)} tests"] if len(skipped) > 3 else skipped
        yield from (f"skipped: {outcome.name}: {name}: {reason}" for name in what)


def expected_skips(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """A line per reason."""
    reasons = (skip.diagnostics[0] for outcome in outcomes for skip in outcome.reader.skips)
    expected = Counter(reason for reason in reasons if EXPECTED_SKIPS.fullmatch(reason))
    for reason, count in expected.most_common():
        yield f"skipped as expected: {count} tests: {reason}"


def summary(suites: Sequence[Suite], outcomes: Sequence[Outcome], screen: Screen) -> None:
    width = max((len(outcome.name) for outcome in outcomes), default=5)
    screen.say()
    screen.say(f"{'suite':{width}}  passed  failed  skipped   time")
    for outcome in outcomes:
        reader = outcome.reader
        screen.say(
            f"{outcome.name:{width}}  {reader.passed:6}  {len(reader.failures):6}  "
            f"{len(reader.skips):7}  {clock(outcome.seconds):>5}"
        )
    for line in kernel_table(suites, outcomes):
        screen.say(line)
    for outcome in outcomes:
        for line in skips(outcome):
            screen.say(line)
    for line in expected_skips(outcomes):
        screen.say(line)
    for outcome in outcomes:
        for failure in outcome.reader.failures:
            screen.say(f"FAILED: {outcome.name}: {failure.name}")
            for line in failure.diagnostics:
                screen.say(f"    {line}")
    ran = {suite.title for suite in suites}
    if any(outcome.reader.failures for outcome in outcomes if outcome.name in ran):
        screen.say(f"The complete output of each suite is in {LOGS}")


def close(outcomes: Sequence[Outcome]) -> int:
    """Prints the last line, and returns the exit status that agrees with it."""
    passed = sum(outcome.reader.passed for outcome in outcomes)
    failures = sum(len(outcome.reader.failures) for outcome in outcomes)
    skipped = sum(len(outcome.reader.skips) for outcome in outcomes)
    print(f"{passed} passed, {failures} failed, {skipped} skipped", flush=True)
    return 0 if failures == 0 and passed > 0 else 1
