# SPDX-License-Identifier: LGPL-2.1-or-later
"""Four programs freeze, extend, keep, adopt, thaw and die at random, and agree with a model."""

import errno
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.holds.conftest import Disk
from tests.holds.model import EXPIRY, Hold, Model
from tests.holds.worker import Answer, Worker, guardians, where_threads_sleep
from tests.holds.writers import SOON
from tests.support.process import Failed, wait_until

PROGRAMS = 4
STEPS = 20
TIMEOUTS = (0, 0, 200, 500, 5000, 60_000)  # milliseconds
STEP_TIME = 0.25  # seconds; no deadline may be closer than this when a step begins


class Inconclusive(Exception):
    """A deadline passed during a step, so its result could be either. The machine is busy."""


class Run:
    """One random run. Each step is taken by one program, and then checked."""

    def __init__(self, seed: int, disk: Disk, programs: list[Worker]) -> None:
        self.random = random.Random(seed)
        self.disk = disk
        self.programs = programs
        self.model = Model()
        self.history: list[str] = []
        self.known: list[str] = []  # ids
        self.counts: Counter[str] = Counter()

    def play(self) -> None:
        for _ in range(STEPS):
            self.await_deadlines()
            begin = time.monotonic()
            self.step()
            self.check(begin)

    def await_deadlines(self) -> None:
        """A step never begins shortly before a deadline."""
        while deadline := self.model.next_deadline():
            earliest, latest = deadline
            if earliest > time.monotonic() + STEP_TIME:
                break
            time.sleep(max(0.0, latest + EXPIRY - time.monotonic()))
            self.model.advance(time.monotonic())
            self.note("a deadline has passed")

    def check(self, begin: float) -> None:
        expected = self.model.frozen()
        frozen = self.disk.writers_wait
        if self.model.uncertain(begin, time.monotonic()):
            raise Inconclusive
        self.counts["found frozen" if frozen else "found thawed"] += 1
        if frozen and not expected:
            self.await_late_thaw()
        elif frozen != expected:
            raise Failed(f"frozen: {frozen}, expected: {expected}")

    def await_late_thaw(self) -> None:
        """The thaw takes time on a busy machine, but it must be in progress."""
        since = time.monotonic()
        where = [place for pid in guardians() for place in where_threads_sleep(pid)]
        if not self.disk.heartbeat.thawed_within(SOON):
            raise Failed(f"frozen after the last hold has ended; guardians sleep in {where}")
        self.counts["thawed late"] += 1
        print(f"thawed {time.monotonic() - since:.2f} s late; guardians slept in {where}")

    def note(self, text: str) -> None:
        self.history.append(text)

    # Steps ---------------------------------------------------------------------------------

    def step(self) -> None:
        program = self.random.randrange(PROGRAMS)
        if self.model.of(program):
            names = ["extend", "extend", "keep", "keep", "thaw", "thaw", "free", "die"]
        else:
            names = ["freeze", "freeze", "freeze", "adopt", "adopt_id", "extend_id", "thaw_id"]
            names += ["thaw_others", "die"] if self.random.random() < 0.2 else []
        getattr(self, self.random.choice(names))(program)

    def request(
        self, program: int, expected: set[int], name: str, **arguments: Any
    ) -> tuple[Answer, float, float]:
        """The answer, and between which moments it was made."""
        before = time.monotonic()
        answer = self.programs[program].ask(name, **arguments)
        after = time.monotonic()
        shown = {key: value for key, value in arguments.items() if key not in ("path", "paths")}
        self.note(f"program {program}: {name} {shown}: {answer}")
        if self.model.uncertain(before, after):
            raise Inconclusive
        self.counts[f"{name} {errno.errorcode.get(-answer.result, 'ok')}"] += 1
        if answer.result not in expected:
            raise Failed(f"expected {sorted(expected)}")
        return answer, before, after

    def freeze(self, program: int) -> None:
        timeout_ms = self.random.choice(TIMEOUTS)
        _, before, after = self.request(
            program, {0}, "freeze", paths=[self.disk.name], timeout_ms=timeout_ms
        )
        hold = Hold(owner=program)
        hold.set_deadline(timeout_ms, before, after)
        name = self.programs[program].must("describe")["id"]
        if name in self.known:
            raise Failed(f"the id {name} is not unique")
        self.known.append(name)
        self.model.holds[name] = hold

    def extend(self, program: int) -> None:
        timeout_ms = self.random.choice(TIMEOUTS)
        expected = self.model.own_request(program)
        answer, before, after = self.request(program, expected, "extend", timeout_ms=timeout_ms)
        found = self.model.of(program)
        if answer.result == 0 and found:
            found[1].set_deadline(timeout_ms, before, after)

    def thaw(self, program: int) -> None:
        self.request(program, self.model.own_request(program), "thaw")
        self.model.drop(program)

    def free(self, program: int) -> None:
        self.request(program, {0}, "free")
        self.model.drop(program)

    def keep(self, program: int) -> None:
        answer, *_ = self.request(program, self.model.own_request(program), "keep")
        found = self.model.of(program)
        if answer.result == 0 and found:
            found[1].owner = None
        else:
            self.model.drop(program)

    def die(self, program: int) -> None:
        self.note(f"program {program}: SIGKILL")
        self.counts["SIGKILL"] += 1
        self.programs[program].end()
        self.programs[program] = Worker()
        self.model.drop(program)
        if not self.model.frozen():
            self.disk.heartbeat.thawed_within(SOON)

    def adopted(self, program: int, answer: Answer, timeout_ms: int, *times: float) -> None:
        if answer.result != 0:
            return
        name = self.programs[program].must("describe")["id"]
        if name not in self.model.kept():
            raise Failed(f"adopted {name}, which is not a kept hold")
        self.model.holds[name].owner = program
        self.model.holds[name].set_deadline(timeout_ms, *times)

    def adopt(self, program: int) -> None:
        timeout_ms = self.random.choice(TIMEOUTS)
        expected = self.model.adopt()
        answer, *times = self.request(
            program, expected, "adopt", path=self.disk.name, timeout_ms=timeout_ms
        )
        self.adopted(program, answer, timeout_ms, *times)
        if answer.result != 0:
            for name in list(self.model.holds):
                self.model.forget_if_kept(name)

    def kept_id(self) -> str | None:
        names = [name for name, hold in self.model.holds.items() if hold.owner is None]
        return self.random.choice(names) if names else None

    def adopt_id(self, program: int) -> None:
        name = self.kept_id()
        if name is None:
            return
        timeout_ms = self.random.choice(TIMEOUTS)
        expected = self.model.request_by_id(name)
        answer, *times = self.request(program, expected, "adopt_id", id=name, timeout_ms=timeout_ms)
        self.adopted(program, answer, timeout_ms, *times)
        if answer.result != 0:
            self.model.forget_if_kept(name)

    def extend_id(self, program: int) -> None:
        if not self.known:
            return
        name, timeout_ms = self.random.choice(self.known[-6:]), self.random.choice(TIMEOUTS)
        expected = self.model.request_by_id(name)
        answer, *times = self.request(
            program, expected, "extend_id", id=name, timeout_ms=timeout_ms
        )
        if answer.result == 0:
            self.model.holds[name].set_deadline(timeout_ms, *times)
        else:
            self.model.forget_if_kept(name)

    def thaw_id(self, program: int) -> None:
        if not self.known:
            return
        name = self.random.choice(self.known[-6:])
        expected = self.model.request_by_id(name)
        answer, *_ = self.request(program, expected, "thaw_id", id=name)
        if answer.result == 0:
            self.model.end(name)
        self.model.forget_if_kept(name)

    def thaw_others(self, program: int) -> None:
        expected = {0} if self.model.frozen() else {-errno.ESRCH}
        self.request(program, expected, "thaw_others", path=self.disk.name)
        for name in self.model.live():
            self.model.end(name)

    # Afterwards ------------------------------------------------------------------------------

    def finish(self) -> None:
        for program in range(PROGRAMS):
            if self.model.of(program):
                self.programs[program].ask("free")
        for name in self.model.kept():
            self.programs[0].ask("thaw_id", id=name)
        if not self.disk.heartbeat.thawed_within(SOON):
            raise Failed("frozen after the last hold has ended")
        if not wait_until(lambda: not guardians(), SOON):
            raise Failed("a guardian is left")


@pytest.fixture
def programs(disk: Disk) -> Iterator[list[Worker]]:
    all_of_them = [Worker() for _ in range(PROGRAMS)]
    yield all_of_them
    for program in all_of_them:
        program.end()


def test_agrees_with_the_model(
    disk: Disk,
    programs: list[Worker],
    rounds: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    """LIBFREEZE_SEED repeats the runs from this seed on."""
    first = int(os.environ.get("LIBFREEZE_SEED") or random.SystemRandom().randrange(1 << 31))
    count = rounds(50, 1000)
    record_property("seed", f"{count} runs, LIBFREEZE_SEED={first}")
    print(f"LIBFREEZE_SEED={first}")
    inconclusive, counts = 0, Counter[str]()
    for seed in range(first, first + count):
        run = Run(seed, disk, programs)
        try:
            run.play()
            run.finish()
            counts += run.counts
        except Inconclusive:
            inconclusive += 1
            for number, program in enumerate(programs):
                program.end()
                programs[number] = Worker()
            programs[0].ask("thaw_others", path=disk.name)
        except Failed as failure:
            history = "\n".join(run.history)
            raise Failed(f"LIBFREEZE_SEED={seed}: {failure}, after:\n{history}") from failure
    record_property("inconclusive", f"{inconclusive} runs were inconclusive: a busy machine")
    done = ", ".join(f"{what}: {number}" for what, number in sorted(counts.items()))
    record_property("steps", done)
    print(f"{inconclusive} of {count} runs inconclusive; {done}")
    assert inconclusive <= count // 5
