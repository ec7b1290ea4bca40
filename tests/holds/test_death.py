# SPDX-License-Identifier: LGPL-2.1-or-later
"""The holder is killed or stopped. The filesystem is writable again soon, or at the deadline."""

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.holds.conftest import CONTAINER, Disk, NewWorker, busy, freeze_with_guardian
from tests.holds.worker import Worker, guardians
from tests.holds.writers import SOON
from tests.support.process import Failed, wait_until
from tests.support.volumes import has_descriptors

Rounds = Callable[[int, int], int]
TIMEOUT = 60_000
CONTRACT = 0.1  # seconds until it is writable
BOUND = 1.0  # multiplied by the load
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


def writable_after(disk: Disk, killed: float) -> float:
    """Seconds from the kill until writers no longer have to wait.

    A freeze that is in progress may still complete and be undone, so this waits for the guardian
    to exit first."""
    if not wait_until(lambda: not guardians(), SOON):
        raise Failed(f"a guardian is left; frozen: {disk.writers_wait}")
    if disk.writers_wait:
        raise Failed("frozen, and no guardian is left")
    return max(0.0, disk.heartbeat.stalled_until() - killed)


class Latencies:
    """How long it took, over all rounds."""

    def __init__(self) -> None:
        self.all: list[float] = []

    def __str__(self) -> str:
        late = sum(latency > CONTRACT for latency in self.all)
        most, median = max(self.all), sorted(self.all)[len(self.all) // 2]
        return (
            f"{len(self.all)} kills: writable after {1000 * median:.1f} ms (median), "
            f"{1000 * most:.1f} ms (most); {late} times more than {1000 * CONTRACT:.0f} ms"
        )

    def check(self, record_property: Callable[[str, object], None]) -> None:
        record_property("latency", str(self))
        print(self)
        assert max(self.all) < BOUND * busy(), str(self)


def life(disk: Disk, program: Worker) -> float:
    """How long a freeze, an extension and a thaw take."""
    times = program.must("cycle", paths=[disk.name], rounds=5, timeout_ms=TIMEOUT)["times"]
    return float(sorted(times)[2])


def test_sigkill_at_every_point(
    disk: Disk, worker: NewWorker, rounds: Rounds, record_property: Callable[[str, object], None]
) -> None:
    """Before, while and after it freezes, extends and thaws."""
    count = rounds(100, 1000)
    latencies = Latencies()
    length = life(disk, worker())
    for number in range(count):
        program = Worker()
        program.must("ping")
        if number % 4 == 3:  # long after the freeze
            program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
        else:
            program.start("cycle", paths=[disk.name], rounds=100_000, timeout_ms=TIMEOUT)
            time.sleep(3 * length * number / count)
        killed = program.kill()
        latencies.all.append(writable_after(disk, killed))
        program.end()
    latencies.check(record_property)


def test_sigkill_of_the_guardian_while_it_freezes(disk: Disk, rounds: Rounds) -> None:
    """Its FIFREEZE may still succeed when it is dead. Its client thaws then."""
    count = rounds(20, 200)
    for number in range(count):
        program = Worker()
        program.must("ping")
        program.start("freeze", paths=[disk.name], timeout_ms=TIMEOUT, flush_budget_ms=0)
        assert wait_until(guardians, SOON)
        time.sleep(0.04 * number / count)
        for pid in guardians():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if program.answer(SOON).result == 0:  # another guardian has frozen it, or it was too late
            assert program.ask("thaw").result in (0, -errno.ESTALE)
        assert disk.heartbeat.thawed_within(SOON), f"round {number}: left frozen"
        program.end()


@pytest.mark.parametrize("step", ["freeze", "keep", "adopt"])
def test_sigkill_with_a_kept_hold(step: str, disk: Disk, worker: NewWorker) -> None:
    """A kept hold stays; an adopted one ends with the program that adopted it."""
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = program.must("describe")["id"]
    if step != "freeze":
        program.must("keep")
    if step == "adopt":
        program.must("adopt_id", id=name, timeout_ms=TIMEOUT)
    program.kill()
    if step == "keep":
        assert not disk.heartbeat.thawed_within(0.3)
        assert worker().ask("thaw_id", id=name).result == 0
    assert disk.heartbeat.thawed_within(SOON)


def test_sigkill_of_a_containers_init(
    disk: Disk,
    host_socket: Path,
    rounds: Rounds,
    record_property: Callable[[str, object], None],
) -> None:
    count = rounds(20, 200)
    latencies = Latencies()
    for number in range(count):
        program = Worker(CONTAINER)
        program.must("ping")
        if number % 2:
            program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
        else:
            program.start("cycle", paths=[disk.name], rounds=100_000, timeout_ms=TIMEOUT)
            time.sleep(0.03 * number / count)
        killed = program.kill()
        latencies.all.append(writable_after(disk, killed))
        program.end()
    latencies.check(record_property)


def test_container_without_the_hosts_socket(disk: Disk, worker: NewWorker) -> None:
    """Where the kernel has descriptors, only a kept hold needs the socket."""
    program = worker(*CONTAINER)
    answer = program.ask("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    if has_descriptors():
        assert answer.result == 0, answer
        answer = program.ask("keep")
        assert disk.writers_wait
        program.must("thaw")
    assert answer.result == -errno.ENOTRECOVERABLE, answer
    # The remedies.
    assert "guardian" in answer.message and "unprotected" in answer.message, answer.message
    assert not disk.writers_wait
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT, allow_unprotected=1)
    assert disk.writers_wait
    assert program.ask("thaw").result == 0


def test_container_with_a_running_guardian(disk: Disk, worker: NewWorker) -> None:
    """The guardian of another program is on the host, so it serves."""
    outside, inside = worker(), worker(*CONTAINER)
    freeze_with_guardian(outside, disk, TIMEOUT)
    inside.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    assert outside.ask("thaw").result == 0
    assert disk.writers_wait
    inside.kill()
    assert disk.heartbeat.thawed_within(SOON)


# The deadline holds whatever happens to the program ---------------------------------------


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new control group (version 2)."""
    parent = next((path for path in CGROUPS if (path / "cgroup.procs").exists()), None)
    if parent is None:
        unavailable("needs a mounted cgroup2")
    group = parent / f"libfreeze-test-{os.getpid()}"
    group.mkdir()
    yield group
    with contextlib.suppress(OSError):
        (group / "cgroup.freeze").write_text("0")
        (group / "cgroup.kill").write_text("1")
    assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 5)
    group.rmdir()


def enter(group: Path) -> list[str]:
    """Runs a program in a control group."""
    return ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]


def check_deadline(disk: Disk, since: float, seconds: float) -> None:
    assert disk.writers_wait
    assert disk.heartbeat.thawed_within(seconds + SOON)
    took = disk.heartbeat.stalled_until() - since
    assert seconds - 0.1 <= took <= seconds + BOUND * busy(), f"thawed after {took:.3f} s"


def test_deadline_after_sigstop(disk: Disk, worker: NewWorker) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=700)
    since = time.monotonic()
    os.kill(program.pid, signal.SIGSTOP)
    check_deadline(disk, since, 0.7)


def test_deadline_in_a_frozen_cgroup(
    disk: Disk, host_socket: Path, cgroup: Path, worker: NewWorker
) -> None:
    program = worker(*enter(cgroup))
    program.must("freeze", paths=[disk.name], timeout_ms=700)
    since = time.monotonic()
    (cgroup / "cgroup.freeze").write_text("1")
    check_deadline(disk, since, 0.7)


def test_deadline_in_a_frozen_cgroup_of_version_1(
    disk: Disk, host_socket: Path, worker: NewWorker
) -> None:
    freezer = Path("/sys/fs/cgroup/freezer")
    if not (freezer / "cgroup.procs").exists():
        pytest.skip("there is no freezer of cgroup version 1")
    group = freezer / f"libfreeze-test-{os.getpid()}"
    group.mkdir()
    try:
        program = worker(*enter(group))
        program.must("freeze", paths=[disk.name], timeout_ms=700)
        since = time.monotonic()
        (group / "freezer.state").write_text("FROZEN")
        check_deadline(disk, since, 0.7)
    finally:
        (group / "freezer.state").write_text("THAWED")
        program.end()
        wait_until(lambda: not (group / "cgroup.procs").read_text(), 5)
        group.rmdir()


def test_cgroup_kill(disk: Disk, host_socket: Path, cgroup: Path, worker: NewWorker) -> None:
    """Ends the program's hold, and a kept one at its deadline."""
    program = worker(*enter(cgroup))
    program.must("freeze", paths=[disk.name], timeout_ms=1000, guard="kept")
    since = time.monotonic()
    program.must("keep", guard="kept")
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    (cgroup / "cgroup.kill").write_text("1")
    assert wait_until(lambda: program.process.poll() is not None, 5)
    check_deadline(disk, since, 1.0)


def test_guardian_is_not_in_the_programs_cgroup(
    disk: Disk, host_socket: Path, cgroup: Path, worker: NewWorker
) -> None:
    program = worker(*enter(cgroup))
    freeze_with_guardian(program, disk, TIMEOUT)
    inside = {int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()}
    assert program.pid in inside
    assert guardians() and not inside & {*guardians()}
    program.must("thaw")


def test_nobody_of_the_program_is_needed(disk: Disk, worker: NewWorker) -> None:
    """Neither its session nor its process group: a hangup or ^C reaches no guardian."""
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = program.must("keep")["id"]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.process.pid, signal.SIGKILL)
    assert not disk.heartbeat.thawed_within(0.3)
    assert worker().ask("thaw_id", id=name).result == 0


def test_guardian_has_nothing_open_on_the_filesystem_afterwards(
    work: Path, disk: Disk, worker: NewWorker
) -> None:
    """After thaw() the filesystem can be unmounted at once."""
    program = worker()
    image = Disk(work, "ext4", b"unmounted")
    try:
        for _ in range(10):
            program.must("freeze", paths=[image.name], timeout_ms=TIMEOUT)
            program.must("thaw")
            image.unmount()
            image.mount(b"unmounted")
    finally:
        image.destroy()
