# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes TAP as tests run; the plan comes last."""

import os
import re
import subprocess
import sys
import threading

import tap

POINT = re.compile(r"(not ok|ok)\b\s*\d*\s*-?\s*(.*)")


class Writer:
    def __init__(self):
        self.count = self.failed = 0
        self.lock = threading.RLock()

    def point(self, good, name, why=""):
        """One test's result; `why` is shown where it failed."""
        with self.lock:
            self.count += 1
            self.failed += not good
            self._print(f"{'ok' if good else 'not ok'} {self.count} - {name}")
            if not good and why:
                self.note(why)
        return good

    def skip(self, name, why):
        with self.lock:
            self.count += 1
            self._print(f"ok {self.count} - {name} # SKIP {why}")

    def note(self, text):
        with self.lock:
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


def stream(command, on_line, on_error=None, **environment):
    """The exit status of a command, whose lines are handed on as they come: those of stdout, and
    in another thread those of stderr, which without on_error go where ours go."""
    def hand_on(lines, where):
        for line in lines:
            where(line.rstrip("\n"))

    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=on_error and subprocess.PIPE, text=True, errors="replace",
                          env=dict(os.environ, **environment)) as process:
        if on_error:
            errors = threading.Thread(target=hand_on, args=(process.stderr, on_error))
            errors.start()
        hand_on(process.stdout, on_line)
        if on_error:
            errors.join()
    return process.returncode


class Fold:
    """Takes the lines of another TAP stream into this one, its names prefixed.
    A stream that breaks off, or lies about its number of tests, is a failure.
    Several can be fed at once: a point is written together with what belongs
    to it, when the next one comes."""

    def __init__(self, writer, prefix):
        self.writer, self.prefix = writer, prefix
        self.reader = tap.Reader()
        self.reported = 0
        self.held = None
        self.strays = []  # the last lines that are no TAP, as of a program that crashes

    def line(self, text):
        self.reader.feed(text)
        match = POINT.match(text)
        if match:
            self._release()
            self.held = (match[1] == "ok", match[2], [])
        elif self.held and text.startswith("#"):
            self.held[2].append(text)
        elif text.startswith("#"):
            self.writer.note(text.removeprefix("#").removeprefix(" "))
        else:
            self.strays = [*self.strays[-19:], text]
        self._breaches(match and match[1] == "not ok")

    def finish(self, status):
        self._release()
        self.reader.finish(status)
        self._breaches(False)

    def _release(self):
        if self.held:
            good, name, lines = self.held
            with self.writer.lock:
                self.writer.point(good, f"{self.prefix}: {name}")
                for line in lines:
                    self.writer.note(line.removeprefix("#").removeprefix(" "))
            self.held = None

    def _breaches(self, failed_point):
        """Points of our own for what the reader objects to, beside failed points."""
        failures = self.reader.failures[self.reported:]
        self.reported += len(failures)
        for failure in failures[:len(failures) - bool(failed_point)]:
            self.writer.point(False, f"{self.prefix}: {failure.name}", "\n".join(self.strays))
