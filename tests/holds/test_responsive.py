# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guardian answers while its FIFREEZE blocks, and programs learn at once of an early end."""

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.holds import raw
from tests.holds.conftest import Disk, NewWorker, fsfreeze
from tests.holds.worker import Worker, guardians
from tests.holds.writers import SOON, StuckWriter
from tests.support.process import wait_until

TIMEOUT = 60_000
CONTRACT = 0.05  # seconds
BOUND = 0.5  # for a busy machine
Record = Callable[[str, object], None]
NewWriter = Callable[[Path], StuckWriter]


def note(record: Record, what: str, seconds: float) -> None:
    record(what, f"{what}: {1000 * seconds:.1f} ms (the contract: {1000 * CONTRACT:.0f} ms)")
    print(f"{what}: {1000 * seconds:.1f} ms")


@pytest.fixture
def blocked(disk: Disk, worker: NewWorker, stuck_writer: NewWriter) -> tuple[Worker, StuckWriter]:
    """A program whose freeze waits for a stuck writer."""
    writer = stuck_writer(disk.path)
    program = worker()
    program.start(
        "freeze", paths=[disk.name], timeout_ms=TIMEOUT, flush_budget_ms=0, comment="blocked"
    )
    assert wait_until(lambda: disk.writers_wait, 5), "FIFREEZE does not block writers"
    return program, writer


def test_answers_while_fifreeze_blocks(
    disk: Disk, blocked: tuple[Worker, StuckWriter], record_property: Record
) -> None:
    program, writer = blocked
    times: dict[str, float] = {}

    def timed(what: str, request: raw.Message) -> raw.Message:
        client = raw.Client(disk.path, seconds=5)
        begin = time.monotonic()
        hello = client.hello()
        times["HELLO"] = time.monotonic() - begin
        assert hello.error == 0
        begin = time.monotonic()
        answer = client.ask(request)
        times[what] = time.monotonic() - begin
        clients.append(client)
        return answer

    clients: list[raw.Client] = []
    state = timed("STATUS", raw.Message(raw.STATUS))
    assert (state.type, state.state, state.holders) == (raw.STATE, 1, 1)
    holder = clients[0].receive()
    assert (holder.type, holder.comment, holder.flags & 4) == (raw.HOLDER, b"blocked", 4)
    second = timed("second FREEZE", raw.Message(raw.FREEZE, id=77, timeout_ms=TIMEOUT))
    assert second.type == raw.PENDING
    extended = timed("EXTEND", raw.Message(raw.EXTEND, id=holder.id, timeout_ms=TIMEOUT))
    assert extended.type == raw.RESULT
    assert not program.answered(0)
    writer.end()
    assert program.answer(5).result == 0
    assert clients[1].receive()[:2] == (raw.RESULT, 0)
    for client in clients:
        client.close()
    assert program.ask("thaw").result == 0
    for what, seconds in times.items():
        note(record_property, what, seconds)
        assert seconds < BOUND, what


def test_library_while_fifreeze_blocks(
    disk: Disk, blocked: tuple[Worker, StuckWriter], worker: NewWorker, record_property: Record
) -> None:
    """The same through the library: inspect, and a freeze that is given up."""
    program, writer = blocked
    other = worker()
    status = other.must("inspect", paths=[disk.name])
    note(record_property, "inspect", status.seconds)
    assert status.seconds < BOUND
    assert status["report"][0]["state"] == 1
    begin = time.monotonic()
    answer = other.ask(
        "freeze", paths=[disk.name], acquire_timeout_ms=300, timeout_ms=TIMEOUT, flush_budget_ms=0
    )
    assert answer.result == -errno.ETIMEDOUT, answer
    assert time.monotonic() - begin < 0.3 + BOUND
    writer.end()
    assert program.answer(5).result == 0
    assert program.ask("thaw").result == 0


def test_given_up_freeze_is_undone(disk: Disk, worker: NewWorker, stuck_writer: NewWriter) -> None:
    """Writers wait only for the stuck one, not for a thaw."""
    writer = stuck_writer(disk.path)
    program = worker()
    options = {"timeout_ms": TIMEOUT, "flush_budget_ms": 0}
    answer = program.ask("freeze", paths=[disk.name], acquire_timeout_ms=300, **options)
    assert answer.result == -errno.ETIMEDOUT, answer
    writer.end()
    assert disk.heartbeat.thawed_within(SOON)
    assert wait_until(lambda: not guardians(), 2)


def test_killed_while_fifreeze_blocks(disk: Disk, blocked: tuple[Worker, StuckWriter]) -> None:
    program, writer = blocked
    program.kill()
    time.sleep(0.1)
    writer.end()
    assert disk.heartbeat.thawed_within(SOON)


# poll() wakes at once -----------------------------------------------------------------------


def woken(program: Worker, end: Callable[[], float]) -> float:
    """Seconds from the end of a hold until poll() has returned."""
    program.start("poll", milliseconds=5000)
    assert not program.answered(0.05)
    ended = end()
    answer = program.answer(10)
    assert answer.result == 1, "poll() did not wake"
    return float(answer["woke"]) - ended


def moment(action: Callable[[], object]) -> Callable[[], float]:
    def act() -> float:
        action()
        return time.monotonic()

    return act


def check_ended(disk: Disk, program: Worker) -> None:
    # It stays readable, and every call says the same.
    assert program.ask("poll", milliseconds=0).result == 1
    assert program.ask("extend", timeout_ms=1000).result == -errno.ESTALE
    assert program.ask("poll", milliseconds=0).result == 1
    assert program.ask("thaw").result == -errno.ESTALE
    assert disk.heartbeat.thawed_within(SOON)


def test_poll_wakes_at_the_deadline(disk: Disk, worker: NewWorker, record_property: Record) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    began = time.monotonic()
    program.must("extend", timeout_ms=500)
    ended = time.monotonic()
    took = woken(program, lambda: ended + 0.5)
    note(record_property, "deadline", took)
    assert 0.5 - (ended - began) - 0.01 < took + 0.5 < 0.5 + BOUND
    check_ended(disk, program)


def test_poll_wakes_when_another_program_thaws(
    disk: Disk, worker: NewWorker, record_property: Record
) -> None:
    program, other = worker(), worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    took = woken(program, moment(lambda: other.start("thaw_others", path=disk.name)))
    note(record_property, "thaw_others", took)
    assert took < BOUND
    answer = other.answer()
    assert answer.result == 0, answer
    assert [hold["pid"] for hold in answer["report"][0]["holds"]] == [program.pid]
    check_ended(disk, program)


def test_poll_wakes_when_its_id_is_thawed(
    disk: Disk, worker: NewWorker, record_property: Record
) -> None:
    program, other, bystander = worker(), worker(), worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    bystander.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = program.must("describe")["id"]
    took = woken(program, moment(lambda: other.start("thaw_id", id=name)))
    note(record_property, "thaw_id", took)
    assert took < BOUND
    assert other.answer().result == 0
    assert bystander.ask("thaw").result == 0
    check_ended(disk, program)


def test_poll_wakes_when_the_guardian_dies(
    disk: Disk, worker: NewWorker, record_property: Record
) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    (guardian,) = guardians()
    took = woken(program, moment(lambda: os.kill(guardian, signal.SIGKILL)))
    note(record_property, "death of the guardian", took)
    assert took < BOUND
    check_ended(disk, program)


def test_poll_on_several_filesystems(disks: list[Disk], worker: NewWorker) -> None:
    """One of them ends early: that is the end of the guard's promise."""
    program, other = worker(), worker()
    program.must("freeze", paths=[disk.name for disk in disks], timeout_ms=TIMEOUT)
    took = woken(program, moment(lambda: other.start("thaw_others", path=disks[1].name)))
    assert took < BOUND
    assert other.answer().result == 0
    assert program.ask("extend", timeout_ms=1000).result == -errno.ESTALE
    assert program.ask("thaw").result == -errno.ESTALE
    assert not disks[0].writers_wait and not disks[1].writers_wait


def test_thaw_by_fsfreeze_is_noticed(disk: Disk, worker: NewWorker) -> None:
    """A stock kernel does not tell. The next call finds out, and no freeze remains."""
    for request in ("keep", "thaw"):
        program = worker()
        program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
        assert fsfreeze("-u", disk.name)[0] == 0
        assert program.ask(request).result == -errno.ESTALE, request
        assert disk.heartbeat.thawed_within(SOON)
        program.end()
