# SPDX-License-Identifier: LGPL-2.1-or-later
"""A strict reader of TAP, the Test Anything Protocol.

A stream that breaks the protocol has lost or invented tests, so each breach is
reported as a failure of its own: no plan or two, a plan that does not match, a
number out of turn, a skip without a reason, a bail-out.
"""

import re
from dataclasses import dataclass, field

POINT = re.compile(r"(not )?ok\b(?: +(\d+)\b)?(?: *- *| +)?(.*)")
PLAN = re.compile(r"1\.\.(\d+)(?:\s*#\s*skip\S*\s*(.*))?\s*$", re.IGNORECASE)
SKIP = re.compile(r"(?<!\\)#\s*skip\S*\s*(.*)$", re.IGNORECASE)
MAX_DIAGNOSTICS = 40


@dataclass
class Point:
    name: str
    diagnostics: list[str] = field(default_factory=list)


@dataclass
class Reader:
    """Feed it lines, then call finish() with the suite's exit status."""

    passed: int = 0
    failures: list[Point] = field(default_factory=list)
    skips: list[Point] = field(default_factory=list)  # name, reason as the only diagnostic
    planned: int | None = None
    points: int = 0
    results: list[tuple[str, str]] = field(default_factory=list)  # name, passed|failed|skipped
    _last: Point | None = None

    def feed(self, line: str) -> None:
        line = line.rstrip()
        if match := PLAN.match(line):
            self._plan(int(match[1]), match[2])
        elif match := POINT.match(line):
            self._point(match[1] is not None, match[2], match[3])
        elif line.startswith("Bail out!"):
            self.breach(f"bailed out: {line.removeprefix('Bail out!').strip() or 'no reason'}")
        elif self._last and (line.startswith("#") or line.startswith("  ")):
            self._last.diagnostics.append(line.removeprefix("#").strip())
            del self._last.diagnostics[MAX_DIAGNOSTICS:]

    def finish(self, exit_status: int | None) -> None:
        """exit_status: None when the suite was given up, negative for a signal."""
        if self.planned is None:
            self.breach(f"no plan (1..N) after {self.points} points")
        elif self.planned != self.points:
            self.breach(f"planned {self.planned} points, saw {self.points}")
        elif self.points == 0 and not self.skips and not self.failures:
            self.breach("ran no test")
        if exit_status and not self.failures:
            how = f"signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"
            self.breach(f"ended with {how}, although no test failed")

    def breach(self, what: str) -> None:
        self._last = Point(what)
        self.failures.append(self._last)

    def _plan(self, count: int, skip_reason: str | None) -> None:
        if self.planned is not None:
            self.breach("a second plan")
        self.planned = count
        if skip_reason is not None and count == 0:
            self._skip("all of it", skip_reason)

    def _point(self, failed: bool, number: str | None, text: str) -> None:
        self.points += 1
        if number is not None and int(number) != self.points:
            self.breach(f"test number {number} where {self.points} was due")
            self.points = int(number)
        skip = SKIP.search(text)
        name = (text[: skip.start()] if skip else text).strip() or f"test {self.points}"
        result = "failed" if failed else "skipped" if skip else "passed"
        self.results.append((name, result))
        if failed:
            self.breach(name)
        elif skip:
            self._skip(name, skip[1])
        else:
            self.passed += 1
            self._last = Point(name)

    def _skip(self, name: str, reason: str) -> None:
        if not reason.strip():
            self.breach(f"{name}: skipped without a reason")
            return
        self._last = None
        self.skips.append(Point(name, [reason.strip()]))
