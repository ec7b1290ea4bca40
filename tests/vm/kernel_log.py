# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads the guest's kernel log: what must not be there, and what was expected."""

import re
from collections.abc import Sequence
from pathlib import Path

# Each begins a report that something went wrong.
BAD = re.compile(
    "|".join(
        [
            r"\bWARNING: ",
            r"\bBUG: ",
            r"\bBUG at ",
            r"\bkernel BUG\b",
            r"\bOops\b",
            r"\bINFO: task .* blocked",
            r"\bINFO: .* detected stall",
            r"\bINFO: trying to register",
            r"\bKASAN: ",
            r"\bUBSAN: ",
            r"\bKCSAN: ",
            r"possible circular locking",
            r"possible recursive locking",
            r"possible irq lock inversion",
            r"inconsistent lock state",
            r"suspicious RCU usage",
            r"Invalid wait context",
            r"bad unlock balance",
            r"lock held when returning",
            r"DEBUG_LOCKS_WARN_ON",
            r"BUG: MAX_LOCK",
            r"sleeping function called",
            r"scheduling while atomic",
            r"\bODEBUG: ",
            r"DEBUG_OBJECTS",
            r"list_(?:add|del) corruption",
            r"\bkmemleak: .*(?:unreferenced object|new suspected memory leaks)",
            r"Memory cgroup out of memory",
            r"Out of memory: Killed",
            r"general protection fault",
            r"unable to handle",
            r"stack segment",
            r"double fault",
            r"refcount_t: ",
            r"workqueue lockup",
            r"Kernel panic",
            r"\brcu_.*self-detected stall",
        ]
    )
)
# Parts of a report: bad by themselves, but covered by an expected line before.
PART = re.compile(r"cut here|Call Trace:|---\[ end trace")
COVERED_LINES = 120
# Reports of a damaged filesystem or a failing device. Some tests cause them; elsewhere they are
# unexpected.
DAMAGE = [
    r"EXT4-fs error",
    r"JBD2: ",
    r"Aborting journal",
    r"XFS .*(?:[Cc]orrupt|[Ii]nternal error|[Ss]hut(?:ting)? ?down)",
    r"BTRFS:? (?:error|critical)",
    r"F2FS-fs .*(?:[Ii]nconsistent|[Cc]orrupt)",
    r"\bI/O error",
    r"\bcritical .* error",
]
TRACE_LINES = 8  # so far into a trace, who called for it has been named
PANIC = re.compile(r"Kernel panic - not syncing|\bOops\b|triple fault")


class KernelLog:
    """The console's text, judged against what the caller expects or allows."""

    def __init__(self, path: Path) -> None:
        with open(path, encoding="utf-8", errors="replace") as file:
            self.lines = [line.rstrip("\r\n") for line in file]

    def panicked(self) -> bool:
        return any(PANIC.search(line) for line in self.lines)

    def unexpected(self, expected: Sequence[str], forbidden: Sequence[str] = ()) -> list[str]:
        """The lines, bad by themselves or forbidden, that no pattern of `expected` accounts for."""
        patterns = [re.compile(text) for text in expected]
        bad = [BAD, *(re.compile(text) for text in forbidden)]
        found: list[str] = []
        covered = 0
        for number, line in enumerate(self.lines):
            # A bare trace is accounted for by a function in it, too.
            trace = self.lines[number : number + TRACE_LINES] if PART.search(line) else [line]
            if any(pattern.search(said) for pattern in patterns for said in trace):
                covered = number + COVERED_LINES
            elif any(pattern.search(line) for pattern in bad) or (
                number > covered and PART.search(line)
            ):
                if not (PART.search(line) and number <= covered):
                    found.append(line)
        return found

    def around(self, line: str, count: int) -> list[str]:
        """So many lines, of which that one is the sixth: what led to it, and what it is about."""
        at = self.lines.index(line)
        return self.lines[max(0, at - 5) :][:count]

    def missing(self, expected: Sequence[str]) -> list[str]:
        """The patterns that no line matches."""
        return [text for text in expected if not any(re.search(text, line) for line in self.lines)]

    def last_words(self, count: int) -> list[str]:
        """The last lines, or all since the kernel listed the tasks that are blocked."""
        listed = [number for number, line in enumerate(self.lines) if "Show Blocked State" in line]
        return self.lines[min([-count, *(number - len(self.lines) for number in listed[-1:])]) :]
