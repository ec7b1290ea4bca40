# SPDX-License-Identifier: LGPL-2.1-or-later
"""TAP, the Test Anything Protocol: a strict reader, a writer, and a stream inside another.

A stream that breaks the protocol has lost or invented tests, so the reader reports each breach as
another failure: no plan or two, a plan that does not match, a number out of turn, a skip
without a reason, a bail-out."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

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
    """Call feed() with each line, then finish() with the suite's exit status."""

    passed: int = 0
    failures: list[Point] = field(default_factory=list)
    skips: list[Point] = field(default_factory=list)  # the reason is the only diagnostic
    planned: int | None = None
    points: int = 0
    results: list[tuple[str, str]] = field(default_factory=list)  # name; passed, failed, skipped
    _last: Point | None = None

    def feed(self, line: str) -> None:
        line = line.rstrip()
        if match := PLAN.match(line):
            self._plan(int(match[1]), match[2])
        elif match := POINT.match(line):
            self._point(match[1] is not None, match[2], match[3])
        elif line.startswith("Bail out!"):
            self.breach(f"bailed out: {line.removeprefix('Bail out!').strip() or 'no reason'}")
        elif self._last and line.startswith(("#", "  ")):
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

    def breach(self, what: str, diagnostics: Sequence[str] = ()) -> None:
        self._last = Point(what, list(diagnostics))
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
            self.breach(f"test number {number}, expected {self.points}")
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


class Writer:
    """Writes TAP as tests run; the plan comes last."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self.out = out or sys.stdout
        self.count = self.failed = 0
        self.lock = threading.RLock()

    def point(self, good: object, name: str, why: object = "") -> bool:
        """The result of one test. `why` is shown if it failed."""
        with self.lock:
            self.count += 1
            self.failed += not good
            self._print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
            if not good and why:
                self.note(why)
        return bool(good)

    def skip(self, name: str, why: object) -> None:
        with self.lock:
            self.count += 1
            self._print(f"ok {self.count} - {name} # SKIP {' '.join(str(why).split())}")

    def note(self, text: object) -> None:
        with self.lock:
            for line in str(text).splitlines():
                self._print(f"# {line}")

    def bail_out(self, why: object) -> None:
        self.failed += 1
        self._print(f"Bail out! {' '.join(str(why).split())}")

    def fold(self, prefix: str) -> "Fold":
        return Fold(self, prefix)

    def finish(self) -> int:
        """Prints the plan. Returns the exit status for the process."""
        self._print(f"1..{self.count}")
        return 1 if self.failed or not self.count else 0

    def _print(self, line: str) -> None:
        self.out.write(line + "\n")
        self.out.flush()


class Fold:
    """Writes another TAP stream into this one, with a prefix to the names.

    A stream that breaks off, or whose plan does not match, is a failure. Several can be fed at
    once: a point is written together with its diagnostics when the next one arrives."""

    def __init__(self, writer: Writer, prefix: str) -> None:
        self.writer, self.prefix = writer, prefix
        self.reader = Reader()
        self.reported = 0
        self.held: tuple[bool, str, list[str]] | None = None
        self.strays: list[str] = []  # the last lines that are not TAP, as from a crash

    def line(self, text: str) -> None:
        self.reader.feed(text)
        match, plan = POINT.match(text), PLAN.match(text)
        if plan and plan[2]:
            self.writer.skip(f"{self.prefix}: all of it", plan[2])
        elif match:
            self._release()
            self.held = (match[1] is None, match[3], [])
        elif self.held and text.startswith("#"):
            self.held[2].append(text)
        elif text.startswith("#"):
            self.writer.note(text.removeprefix("#").removeprefix(" "))
        else:
            self.strays = [*self.strays[-19:], text]
        self._report(is_point=bool(match and match[1]))

    def finish(self, status: int | None) -> None:
        self._release()
        self.reader.finish(status)
        self._report(is_point=False)

    def _release(self) -> None:
        if self.held:
            good, name, lines = self.held
            with self.writer.lock:
                self.writer.point(good, f"{self.prefix}: {name}")
                for line in lines:
                    self.writer.note(line.removeprefix("#").removeprefix(" "))
            self.held = None

    def _report(self, is_point: bool) -> None:
        """Writes a point for each breach that the reader has reported."""
        failures = self.reader.failures[self.reported :]
        self.reported += len(failures)
        for failure in failures[: len(failures) - is_point]:
            why = "\n".join([*failure.diagnostics, *self.strays])
            self.writer.point(False, f"{self.prefix}: {failure.name}", why)


def stream(
    command: Sequence[str | os.PathLike[str]],
    on_line: Callable[[str], object],
    on_error: Callable[[str], object] | None = None,
    **environment: str,
) -> int:
    """Runs a command and returns its exit status.

    on_line gets the lines of standard output as they arrive. on_error gets those of standard
    error, in another thread; without it, they go to our own standard error."""

    def pass_on(lines: IO[str], where: Callable[[str], object]) -> None:
        for line in lines:
            where(line.rstrip("\n"))

    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if on_error else None,
        text=True,
        errors="replace",
        env=dict(os.environ, **environment),
    ) as process:
        errors = None
        if on_error and process.stderr:
            errors = threading.Thread(target=pass_on, args=(process.stderr, on_error))
            errors.start()
        assert process.stdout
        pass_on(process.stdout, on_line)
        if errors:
            errors.join()
    return process.returncode
