# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two programs with timeouts hold the same filesystem."""

import json
from pathlib import Path

import pytest

from tests.holds.conftest import FREEZECTL, Disk, NewWorker, fsfreeze
from tests.holds.worker import Worker
from tests.holds.writers import SOON
from tests.support.process import run
from tests.support.volumes import has_timeouts

TIMEOUTS = {"first": 30_000, "second": 60_000}
WAYS = ("thaw", "free", "SIGKILL", "deadline")


def hold_twice(disk: Disk, worker: NewWorker, timeouts: dict[str, int]) -> dict[str, Worker]:
    programs = {}
    for name, timeout_ms in timeouts.items():
        programs[name] = worker()
        programs[name].must("freeze", paths=[disk.name], timeout_ms=timeout_ms, comment=name)
    return programs


def finish(program: Worker, way: str, disk: Disk) -> None:
    if way == "SIGKILL":
        program.kill()
    elif way == "deadline":
        assert program.ask("extend", timeout_ms=100).result == 0
        assert program.ask("poll", milliseconds=5000).result == 1
    else:
        assert program.ask(way).result == 0


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")], ids=" ".join)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("last", WAYS)
def test_any_order(
    order: tuple[str, str], way: str, last: str, disk: Disk, worker: NewWorker
) -> None:
    programs = hold_twice(disk, worker, TIMEOUTS)
    for program in programs.values():
        assert program.ask("poll", milliseconds=0).result == 0
    finish(programs[order[0]], way, disk)
    assert disk.writers_wait
    # The other one does not notice.
    assert programs[order[1]].ask("poll", milliseconds=20).result == 0
    assert programs[order[1]].ask("extend", timeout_ms=60_000).result == 0
    finish(programs[order[1]], last, disk)
    assert disk.heartbeat.thawed_within(SOON)


def test_deadlines_are_each_ones_own(disk: Disk, worker: NewWorker) -> None:
    programs = hold_twice(disk, worker, {"long": 60_000, "short": 300})
    assert programs["short"].ask("poll", milliseconds=5000).result == 1
    assert disk.writers_wait
    assert programs["long"].ask("thaw").result == 0
    assert not disk.writers_wait
    assert programs["short"].ask("thaw").result < 0


def test_fsfreeze_is_refused_or_nests(disk: Disk, worker: NewWorker) -> None:
    """It nests on a kernel with the patches."""
    programs = hold_twice(disk, worker, TIMEOUTS)
    status, text = fsfreeze("-f", disk.name)
    if has_timeouts():
        assert status == 0, text
        assert fsfreeze("-u", disk.name)[0] == 0
    else:
        assert status not in (0, None)
        assert "busy" in text
    for program in programs.values():
        assert program.ask("thaw").result == 0
    assert not disk.writers_wait


def test_status_names_both(disk: Disk, worker: NewWorker) -> None:
    programs = hold_twice(disk, worker, TIMEOUTS)
    report = programs["first"].must("inspect", paths=[disk.name])["report"]
    assert len(report) == 1 and report[0]["state"] == 2
    holds = {hold["comment"]: hold for hold in report[0]["holds"]}
    assert holds.keys() == TIMEOUTS.keys()
    for name, timeout_ms in TIMEOUTS.items():
        assert holds[name]["pid"] == programs[name].pid
        assert timeout_ms - 10_000 < holds[name]["left_ms"] <= timeout_ms
        assert holds[name]["command"].startswith("python")
        assert holds[name]["flags"] == 0


def values_in(report: object, key: str) -> list[object]:
    """All values with this key, at any depth."""
    if isinstance(report, dict):
        here = [report[key]] if key in report else []
        return here + [found for value in report.values() for found in values_in(value, key)]
    if isinstance(report, list):
        return [found for value in report for found in values_in(value, key)]
    return []


def test_freezectl_status_names_both(disk: Disk, worker: NewWorker) -> None:
    programs = hold_twice(disk, worker, TIMEOUTS)
    result = run(FREEZECTL, "status", "-J", disk.path)
    report = json.loads(result.text)
    pids = values_in(report, "pid")
    assert {program.pid for program in programs.values()} == set(pids)
    left = values_in(report, "left_seconds")
    assert len(left) == 2 and all(left), report
    assert set(values_in(report, "comment")) == TIMEOUTS.keys()


def test_sigkill_ends_only_its_own(disk: Disk, worker: NewWorker) -> None:
    programs = hold_twice(disk, worker, TIMEOUTS)
    programs["first"].kill()
    assert not disk.heartbeat.thawed_within(0.3)
    report = programs["second"].must("inspect", paths=[disk.name])["report"]
    assert [hold["comment"] for hold in report[0]["holds"]] == ["second"]
    programs["second"].kill()
    assert disk.heartbeat.thawed_within(SOON)


def test_two_filesystems(disks: list[Disk], worker: NewWorker) -> None:
    """Sets that overlap."""
    both, one = worker(), worker()
    both.must("freeze", paths=[disk.name for disk in disks], timeout_ms=30_000)
    one.must("freeze", paths=[disks[1].name], timeout_ms=30_000)
    assert both.ask("thaw").result == 0
    assert not disks[0].writers_wait and disks[1].writers_wait
    assert one.ask("thaw").result == 0
    assert not disks[1].writers_wait


def test_library_leaves_no_file(disk: Disk, worker: NewWorker, run_directory: Path) -> None:
    """A guardian that has exited leaves no socket behind that would be taken for a live one."""
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=30_000)
    program.must("thaw")
    program.must("freeze", paths=[disk.name], timeout_ms=30_000)
    program.must("thaw")
