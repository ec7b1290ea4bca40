# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes TAP as tests run; the plan comes last."""

import re
import sys

import tap

POINT = re.compile(r"(not ok|ok)\b\s*\d*\s*-?\s*(.*)")


class Writer:
    def __init__(self):
        self.count = self.failed = 0

    def point(self, good, name, why=""):
        """One test's result; `why` is shown where it failed."""
        self.count += 1
        self.failed += not good
        self._print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
        if not good and why:
            self.note(why)
        return good

    def skip(self, name, reason):
        self.count += 1
        self._print(f"ok {self.count} - {name} # SKIP {reason}")

    def note(self, text):
        for line in str(text).splitlines():
            self._print(f"# {line}")

    def fold(self, prefix):
        return Fold(self, prefix)

    def finish(self):
        """Print the plan; the exit status for the process."""
        self._print(f"1..{self.count}")
        return 1 if self.failed or not self.count else 0

    @staticmethod
    def _print(line):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


class Fold:
    """Takes the lines of another TAP stream into this one, its names prefixed.
    A stream that breaks off, or lies about its number of tests, is a failure."""

    def __init__(self, writer, prefix):
        self.writer, self.prefix = writer, prefix
        self.reader = tap.Reader()
        self.reported = 0

    def line(self, text):
        self.reader.feed(text)
        match = POINT.match(text)
        if match:
            self.writer.count += 1
            self.writer.failed += match[1] == "not ok"
            self.writer._print(f"{match[1]} {self.writer.count} - {self.prefix}: {match[2]}")
        elif text.startswith("#"):
            self.writer._print(text)
        self._breaches(match)

    def finish(self, status):
        self.reader.finish(status)
        self._breaches(None)

    def _breaches(self, match):
        """Points of our own for what the reader objects to, beside failed points."""
        failures = self.reader.failures[self.reported:]
        self.reported += len(failures)
        for failure in failures:
            if not (match and match[1] == "not ok" and failure is failures[-1]):
                self.writer.point(False, f"{self.prefix}: {failure.name}")
