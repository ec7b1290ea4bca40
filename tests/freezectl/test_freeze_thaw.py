# SPDX-License-Identifier: LGPL-2.1-or-later
"""freezectl freeze, thaw and extend, and the options that choose what is frozen and how."""

import os
import time

import pytest

from tests.freezectl.freezectl import FROZEN, Freezectl, SlowKernel, Volumes, Word
from tests.support.process import must, run, wait_until
from tests.support.volumes import Volume, has_descriptors


def test_freeze_leaves_a_hold_and_thaw_ends_it(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    for volume in (ext4, xfs):
        path = volume.mountpoint
        identifier = tool.freeze(path)
        assert volume.is_frozen()
        tool("thaw", path).expect(0)
        assert not volume.is_frozen()
        assert tool.freeze(path) != identifier
        tool("thaw", path).expect(0)
        tool("thaw", path).expect(1, "not frozen")
    report = tool("freeze", "--no-flush", "--json", ext4.mountpoint).expect(0, out=None).report
    assert report["stats"]["flush_rounds"] == 0, report
    tool("thaw", "--id", report["id"]).expect(0)
    tool("thaw", "/none").expect(1, "'/none'")
    tool("freeze", "/proc").expect(1, "cannot freeze '/proc'")


def test_thaw_by_id_ends_that_hold_only(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    first, second = tool.freeze(path), tool.freeze(path)
    tool("thaw", "-v", "--id", first).expect(0, f"thawed: {first}")
    assert ext4.is_frozen()
    report = tool("thaw", "--json", "--id", second).expect(0, out=None).report
    assert report["id"] == second, report
    assert not ext4.is_frozen()
    tool("thaw", "--id", second).expect(1, "no hold")


def test_a_hold_that_has_ended_is_reported(tool: Freezectl, ext4: Volume) -> None:
    """A script's deadline must not end the freeze of another script."""
    path = ext4.mountpoint
    first = tool.freeze("-t", "1s", path)
    assert wait_until(lambda: not ext4.is_frozen(), 5), "still frozen after the deadline"
    second = tool.freeze("-t", "60s", path)
    tool("thaw", "--id", first).expect(123, "discard")
    assert ext4.is_frozen(), "the other script's freeze has ended"
    tool("thaw", "--id", second).expect(0)
    third = tool.freeze("-t", "1s", path)
    assert wait_until(lambda: not ext4.is_frozen(), 5)
    report = tool("extend", "--json", "-t", "9", "--id", third).expect(123, out=None).report
    assert report["id"] == third and report["errors"], report


def test_thaw_ends_holds_of_others_and_says_so(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    words = ("run", "--comment", "the other", path, "--", "sh", "-c", "echo; sleep 60")
    process = tool.start(*words)
    assert process.stdout
    process.stdout.readline()
    result = tool("thaw", "--json", path).expect(0, f"PID {process.pid}, the other", out=None)
    ended = result.filesystem["ended"]
    assert [hold["comment"] for hold in ended] == ["the other"] and ended[0]["ended"], ended
    tool.finish(process, words).expect(123, out=None)
    must("fsfreeze", "-f", path)
    tool("thaw", path).expect(0, "a program that does not use libfreeze")
    assert not ext4.is_frozen()


def test_thaw_accepts_the_device_of_an_unmounted_filesystem(
    tool: Freezectl, volumes: Volumes
) -> None:
    volume = volumes.add("ext4")
    tool.freeze(volume.mountpoint)
    must("umount", "-l", volume.mountpoint)  # the guardian has it open
    try:
        tool("thaw", volume.device).expect(0, "ended the freeze of freezectl")
        tool("thaw", volume.device).expect(1, "not frozen")
    finally:
        volume.mount(b"volume")


def test_freeze_is_all_or_none(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    paths = (ext4.mountpoint, xfs.mountpoint)
    tool("freeze", *paths, "/proc").expect(1, "cannot freeze '/proc'")
    assert not ext4.is_frozen() and not xfs.is_frozen()
    report = tool("freeze", "--json", *paths, paths[0]).report
    assert report["exit_status"] == 0 and len(report["filesystems"]) == 2, report
    assert ext4.is_frozen() and xfs.is_frozen()
    report = tool("thaw", "--json", "/none", *paths, paths[0]).expect(1, out=None).report
    assert len(report["filesystems"]) == 2 and len(report["errors"]) == 1, report
    assert not ext4.is_frozen() and not xfs.is_frozen()
    identifier = tool.freeze(*paths)
    tool("thaw", "--id", identifier).expect(0)
    assert not ext4.is_frozen() and not xfs.is_frozen()


def test_stacked_filesystems_are_frozen_and_thawed_in_order(
    tool: Freezectl, ext4: Volume, upper: Volume
) -> None:
    for order in ((upper, ext4), (ext4, upper)):
        paths = [volume.mountpoint for volume in order]
        report = tool("freeze", "--json", *paths).expect(0, out=None).report
        assert [fs["source"] for fs in report["filesystems"]] == [upper.device, ext4.device]
        report = tool("thaw", "--json", *paths).expect(0, out=None).report
        assert [fs["source"] for fs in report["filesystems"]] == [ext4.device, upper.device]
    for command in ("run", "freeze"):
        report = tool(command, "--dry-run", "-J", ext4.mountpoint, upper.mountpoint).report
        assert report["dry_run"] and not ext4.is_frozen(), report
        assert [fs["rank"] for fs in report["filesystems"]] == [1, 0], report
        assert report["filesystems"][0]["source"] == upper.device, report
        lines = tool(command, "--dry-run", ext4.mountpoint, upper.mountpoint).text.splitlines()
        assert lines[0].split() == ["RANK", "MOUNTPOINT", "SOURCE", "FSTYPE", "REMARK"], lines
        assert lines[1].split()[:2] == ["1", os.fspath(upper.path)], lines
        assert lines[2].split()[:2] == ["0", os.fspath(ext4.path)], lines
    tool("run", "--dry-run", "/proc").expect(125, "'/proc'")


@pytest.mark.kernel
def test_extend_moves_the_deadline(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    identifier = tool.freeze("-t", "30s", path)
    tool("extend", "-t", "90", "-v", path).expect(0, "frozen for another 1 min 30 s: '")
    left = tool("status", "--json", path).filesystem["holds"][0]["left_seconds"]
    assert 80 < left <= 90, left
    report = tool("extend", "--timeout=1h", "--json", "--id", identifier).report
    assert report["exit_status"] == 0 and report["id"] == identifier, report
    tool("extend", "-v", "-t", "0", path).expect(0, "without a deadline")
    assert tool("status", "--json", path).filesystem["holds"][0]["left_seconds"] is None
    tool("extend", "-t", "1s", path).expect(0)
    assert wait_until(lambda: not ext4.is_frozen(), 5), "never expired"
    tool("extend", "-t", "30s", path).expect(1, "there is no freeze")
    tool("extend", "-t", "30s", "--id", "0123456789abcdef").expect(1)
    assert not ext4.is_frozen()


@pytest.mark.kernel
def test_an_extended_deadline_holds(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    tool.freeze("-t", "8s", path)
    frozen = time.monotonic()
    tool("extend", "-t", "20s", path).expect(0)
    time.sleep(max(0, frozen + 9 - time.monotonic()))
    assert ext4.is_frozen(), "not extended"
    assert wait_until(lambda: not ext4.is_frozen(), 30), "never expired"


# The choice of filesystems ----------------------------------------------------------------------


def others(tool: Freezectl, *wanted: Volume) -> list[str]:
    """Options that leave out all other filesystems."""
    sources = {volume.device for volume in wanted}
    words = []
    for filesystem in tool("status", "--json").report["filesystems"]:
        if filesystem["source"] not in sources:
            words += ["-x", filesystem["mountpoint"]]
    return words


def test_all_freezes_what_is_chosen(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    """Everything else is left out: --all must not freeze the machine."""
    exclude = others(tool, ext4, xfs)
    plan = ("freeze", "--dry-run", "--json", "-a", *exclude)
    assert {fs["source"] for fs in tool(*plan).report["filesystems"]} == {ext4.device, xfs.device}
    plan = ("run", "--dry-run", "--json", "--all", "--types=xfs,btrfs", *exclude)
    assert [fs["source"] for fs in tool(*plan).report["filesystems"]] == [xfs.device]
    more = ("--exclude", ext4.mountpoint)
    tool("freeze", "-a", "-T", "ext4", *exclude, *more).expect(1, "no filesystem")
    tool("freeze", "--all", "--types", "ext4,xfs", *exclude).expect(0, out=None)
    assert ext4.is_frozen() and xfs.is_frozen()
    tool("thaw", ext4.mountpoint, xfs.mountpoint).expect(0)
    tool("run", "-a", *exclude, *more, "-T", "xfs", "--", "true").expect(0)
    tool("run", "-a", "-x", "/none", "--", "true").expect(125, "'/none'")


def test_unfreezable_filesystems_can_be_skipped(tool: Freezectl, ext4: Volume) -> None:
    words = ("--json", "--skip-unfreezable", ext4.mountpoint, "/proc")
    report = tool("run", *words, "--", "true").expect(0, out=None).report
    assert [fs["path"] for fs in report["skipped"]] == ["/proc"], report
    assert len(report["filesystems"]) == 1, report
    report = tool("freeze", *words).expect(0, out=None).report
    assert [fs["path"] for fs in report["skipped"]] == ["/proc"], report
    tool("thaw", ext4.mountpoint).expect(0)
    tool("freeze", "--skip-unfreezable", "/proc").expect(1, "'/proc'")
    result = tool("freeze", "--dry-run", "--skip-unfreezable", "/proc", ext4.mountpoint)
    result.expect(0, out=None)


def test_comment_is_shown_to_others(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    tool("freeze", "--comment=nightly backup", path).expect(0, out=None)
    assert tool("status", "--json", path).filesystem["holds"][0]["comment"] == "nightly backup"
    tool("status", "-n", "-o", "COMMENT", path).expect(FROZEN, out=b"nightly backup\n")
    tool("thaw", path).expect(0)
    words = ("run", path, "--", "sh", "-c", "echo; sleep 60")
    process = tool.start(*words)
    assert process.stdout
    process.stdout.readline()
    tool("status", "-n", "-o", "COMMENT", path).expect(FROZEN, out=b"sh\n")
    process.terminate()
    tool.finish(process, words)


def test_acquire_timeout_gives_up(
    tool: Freezectl, ext4: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    gate = slow_kernel.work / "gate"
    for words in (("run", "-t", "9"), ("freeze",)):
        gate.unlink(missing_ok=True)
        rest = ("--", "true") if words[0] == "run" else ()
        environment = slow_kernel(step="freeze", gate=gate)
        began = time.monotonic()
        result = tool(
            *words, "--acquire-timeout=1s", ext4.mountpoint, *rest, env=environment, deadline=10
        )
        assert 0.9 < time.monotonic() - began < 5
        result.expect(125 if rest else 1, os.fsdecode(ext4.mountpoint))
        gate.write_text("go on")
        volumes.assert_no_guardian()
        assert not ext4.is_frozen()


@pytest.mark.parametrize("command", ["run", "freeze"])
def test_it_does_not_block_on_its_own_freeze(tool: Freezectl, ext4: Volume, command: str) -> None:
    log = ext4.path / "log"
    rest = ("--", "true") if command == "run" else ()
    with log.open("wb") as file:
        words: tuple[Word, ...] = (command, ext4.mountpoint, *rest)
        process = tool.start(*words, stderr=file)
        status = tool.finish(process, words, 15).status
    assert status == (125 if command == "run" else 1), status
    assert b"standard error" in log.read_bytes() and not ext4.is_frozen(), log.read_bytes()
    with log.open("wb") as file:
        words = (command, "-v", "--allow-self-deadlock", ext4.mountpoint, *rest)
        process = tool.start(*words, stderr=file)
        tool.finish(process, words, 15).expect(0, out=None)
    assert ext4.thaw() == (command == "freeze")
    if command == "run":
        assert log.read_bytes().startswith(b"freezectl: thawed after"), log.read_bytes()


def test_freeze_needs_a_place_for_the_id(tool: Freezectl, ext4: Volume) -> None:
    with (ext4.path / "log").open("wb") as file:
        words = ("freeze", "--allow-self-deadlock", ext4.mountpoint)
        process = tool.start(*words, stdout=file)
        tool.finish(process, words, 15).expect(1, "standard output is on the filesystem")
    assert not ext4.is_frozen()


def test_a_freeze_in_a_container_without_a_host_guardian_is_refused(
    tool: Freezectl, ext4: Volume
) -> None:
    """Where the kernel has descriptors, only what is left behind needs a guardian."""
    under = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    if run(*under, "true").status != 0:
        pytest.skip("needs PID namespaces")
    path = ext4.mountpoint
    tool("freeze", path, under=under).expect(1, "PID namespace")
    if has_descriptors():
        tool("run", path, "--", "true", under=under).expect(0)
    else:
        tool("run", path, "--", "true", under=under).expect(125, "PID namespace")
    assert not ext4.is_frozen()
    tool("run", "--allow-unprotected", path, "--", "true", under=under).expect(0)
    tool("freeze", "--allow-unprotected", path, under=under).expect(0, out=None)
    ext4.thaw()


def test_output_through_a_pipe_to_the_frozen_filesystem_is_refused(
    tool: Freezectl, ext4: Volume
) -> None:
    """Point 14 of what must never happen again."""
    log = ext4.path / "log"
    shell = ("sh", "-c", f'"$0" "$@" 2>&1 >/dev/null | tee -a {log}')
    result = tool("run", ext4.mountpoint, "--", "true", under=shell, deadline=10)
    assert b"standard error" in result.out and b"'tee'" in result.out, result
    assert not ext4.is_frozen()
