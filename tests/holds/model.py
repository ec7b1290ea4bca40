# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must be true of the holds of one filesystem, whatever programs do with them."""

import errno
from dataclasses import dataclass, field

OK = {0}
STALE = {-errno.ESTALE}
UNKNOWN = {-errno.ESRCH, -errno.ENOENT}
EXPIRY = 0.06  # seconds; a deadline is handled within 50 ms


@dataclass
class Hold:
    """The deadline lies between two moments, since the test cannot know exactly when it was set."""

    earliest: float | None = None
    latest: float | None = None
    owner: int | None = None  # the program that has it; None: kept
    ended: bool = False
    asked: bool = False  # somebody was told that it has ended

    def set_deadline(self, timeout_ms: int, before: float, after: float) -> None:
        self.earliest = before + timeout_ms / 1000 if timeout_ms else None
        self.latest = after + timeout_ms / 1000 if timeout_ms else None

    def over(self, now: float) -> bool:
        return self.ended or (self.latest is not None and now > self.latest)

    def uncertain(self, begin: float, end: float) -> bool:
        """Whether the deadline may be handled between these moments."""
        if self.ended or self.earliest is None or self.latest is None:
            return False
        return self.earliest < end and begin < self.latest + EXPIRY


@dataclass
class Model:
    holds: dict[str, Hold] = field(default_factory=dict)

    def of(self, program: int) -> tuple[str, Hold] | None:
        """The hold of a program, also one that has ended."""
        for name, hold in self.holds.items():
            if hold.owner == program:
                return name, hold
        return None

    def live(self) -> list[str]:
        return [name for name, hold in self.holds.items() if not hold.ended]

    def kept(self) -> list[str]:
        return [name for name, hold in self.holds.items() if hold.owner is None and not hold.ended]

    def frozen(self) -> bool:
        return bool(self.live())

    def advance(self, now: float) -> None:
        """Ends what is past its deadline."""
        for hold in self.holds.values():
            hold.ended = hold.over(now)

    def next_deadline(self) -> tuple[float, float] | None:
        """The earliest and latest moment of the next one."""
        deadlines = [
            (hold.earliest, hold.latest)
            for hold in self.holds.values()
            if not hold.ended and hold.earliest is not None and hold.latest is not None
        ]
        return min(deadlines, default=None)

    def uncertain(self, begin: float, end: float) -> bool:
        return any(hold.uncertain(begin, end) for hold in self.holds.values())

    # What the requests must return ------------------------------------------------------

    def own_request(self, program: int) -> set[int]:
        """extend, thaw and keep."""
        found = self.of(program)
        assert found
        return STALE if found[1].ended else OK

    def request_by_id(self, name: str) -> set[int]:
        """The end of a kept hold is remembered until somebody asks."""
        hold = self.holds.get(name)
        if hold and not hold.ended:
            return OK
        if hold and hold.owner is None and not hold.asked:
            return STALE
        return STALE | UNKNOWN

    def adopt(self) -> set[int]:
        ended = any(hold.ended and hold.owner is None for hold in self.holds.values())
        if self.kept():
            return OK | STALE if ended else OK
        return STALE | UNKNOWN

    # What they do -----------------------------------------------------------------------

    def drop(self, program: int) -> None:
        """The program thaws, frees its guard, or dies."""
        if found := self.of(program):
            del self.holds[found[0]]

    def end(self, name: str) -> None:
        """Another program ends it."""
        self.holds[name].ended = True

    def forget_if_kept(self, name: str) -> None:
        """Somebody has asked."""
        if (hold := self.holds.get(name)) and hold.owner is None:
            hold.asked = True
