# SPDX-License-Identifier: LGPL-2.1-or-later
"""freezectl run: the freeze lasts as long as the command."""

import errno
import math
import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.freezectl.freezectl import (
    LONG_TIMEOUT,
    PROGRAM,
    Freezectl,
    SlowKernel,
    Volumes,
    has_ended,
)
from tests.support.process import must, wait_until
from tests.support.volumes import Volume, has_descriptors


def test_run_freezes_while_the_command_runs(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    for volume in (ext4, xfs):
        file = volume.path / "blocked"
        script = 'touch "$1" & sleep 0.4; [ ! -e "$1" ] && echo blocked'
        result = tool("run", volume.mountpoint, "--", "sh", "-c", script, "sh", file)
        result.expect(0, out=b"blocked\n")
        assert wait_until(file.exists), "the write never continued"


def test_run_passes_on_the_status_of_the_command(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    tool("run", path, "--", "true").expect(0)
    tool("run", path, "--", "sh", "-c", "exit 7").expect(7)
    tool("run", path, "--", "sh", "-c", "kill -USR1 $$").expect(128 + signal.SIGUSR1)
    report = tool("run", "--json", path, "--", "sh", "-c", "echo x; kill -9 $$").report
    assert report["exit_status"] == 137, report
    assert report["ending"] == {"exit_status": None, "signal": 9}, report
    assert report["filesystems"][0]["type"] == "ext4" and report["stats"]["flush_rounds"] > 0
    report = tool("run", "--json", "--no-flush", path, "--", "true").report
    assert report["stats"]["flush_rounds"] == 0, report


def test_run_reports_a_command_that_cannot_be_run(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    tool("run", path, "--", "no-such-command").expect(127, "cannot run 'no-such-command'")
    tool("run", path, "--", "/etc/passwd").expect(126, "cannot run '/etc/passwd'")
    report = tool("run", "--json", path, "--", "/none").report
    assert report["exit_status"] == 127 and "ending" not in report, report


def test_other_errors_are_not_reported_as_cannot_execute(tool: Freezectl, ext4: Volume) -> None:
    """With few descriptors, the freeze or the supervision fails."""
    statuses = set()
    for limit in range(4, 24):
        shell = ("sh", "-c", f'ulimit -n {limit}; exec "$0" "$@"')
        result = tool("run", ext4.mountpoint, "--", "true", under=shell)
        assert result.status in (0, 125, 127), (limit, result)
        if result.status == 127:  # from the dynamic linker
            assert b"cannot run" not in result.err, (limit, result)
        statuses.add(result.status)
        assert not ext4.is_frozen(), limit
    assert statuses >= {0, 125}, statuses


def test_run_passes_every_word_to_the_command(tool: Freezectl, ext4: Volume) -> None:
    words = [b"-v", b"--", b"a b", b"", b"[x,y]", b"++", b"\xff", b"=z", b"--json"]
    script = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    result = tool("run", ext4.mountpoint, "--", "/usr/bin/python3", "-c", script, *words)
    result.expect(0, out=b"\0".join(words))


def test_run_does_not_start_the_command_if_the_freeze_failed(
    tool: Freezectl, ext4: Volume, work: Path
) -> None:
    made = work / "made"
    for path, text in (("/proc", "cannot freeze '/proc'"), ("/none", "'/none'")):
        tool("run", path, "--", "touch", made).expect(125, text)
        result = tool("run", "--json", ext4.mountpoint, path, "--", "touch", made)
        report = result.expect(125, out=None).report
        assert report["filesystems"] == [] and text in report["errors"][0], report
    assert not made.exists() and not ext4.is_frozen()


# The environment of the command ----------------------------------------------------------------


def variables(tool: Freezectl, *words: str | bytes) -> dict[bytes, bytes]:
    """The variables that `run` sets."""
    result = tool("run", *words, "--", "env", "-0", env={"LIBFREEZE_DEADLINE": "of another run"})
    pairs = (entry.split(b"=", 1) for entry in result.expect(0, out=None).out.split(b"\0") if entry)
    return {name: value for name, value in pairs if name.startswith(b"LIBFREEZE_")}


def test_the_command_learns_id_paths_and_deadline(
    tool: Freezectl, ext4: Volume, xfs: Volume
) -> None:
    found = variables(tool, ext4.mountpoint, xfs.mountpoint, ext4.mountpoint)
    assert len(found[b"LIBFREEZE_HOLD_ID"]) == 16, found
    assert {*found[b"LIBFREEZE_PATHS"].split(b"\n")} == {ext4.mountpoint, xfs.mountpoint}, found
    left = int(found[b"LIBFREEZE_DEADLINE"]) - time.time()
    assert 50 < left <= 60, "the default limit is 60 seconds"
    found = variables(tool, "-t", "1h", ext4.mountpoint)
    assert 3590 < int(found[b"LIBFREEZE_DEADLINE"]) - time.time() <= 3600, found
    assert b"LIBFREEZE_DEADLINE" not in variables(tool, "-t", "0", ext4.mountpoint)


def test_the_command_can_extend_its_hold(tool: Freezectl, ext4: Volume) -> None:
    extend = f'{shlex.quote(str(PROGRAM))} extend -t 30s --id "$LIBFREEZE_HOLD_ID"'
    script = f"{extend}; sleep 3; exit 5"
    tool("run", "-t", "1500ms", ext4.mountpoint, "--", "sh", "-c", script).expect(5)


# An early end ----------------------------------------------------------------------------------


def test_run_reports_that_the_freeze_did_not_last(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    thaw = ("fsfreeze", "-u", path)
    tool("run", path, "--", *thaw).expect(123, "discard")
    report = tool("run", "--json", path, "--", *thaw).expect(123, out=None).report
    assert report["ending"]["exit_status"] == 0 and "discard" in report["errors"][0], report


def test_a_command_whose_freeze_ends_early_is_ended(
    tool: Freezectl, ext4: Volume, work: Path
) -> None:
    begun = work / "begun"
    for by_id in (False, True):
        begun.unlink(missing_ok=True)
        script = f'echo "$LIBFREEZE_HOLD_ID" >{begun}; exec sleep 60'
        words = ("run", "--json", ext4.mountpoint, "--", "sh", "-c", script)
        process = tool.start(*words)
        assert wait_until(lambda: begun.exists() and begun.read_text(), LONG_TIMEOUT)
        if by_id:
            tool("thaw", "--id", begun.read_text().strip()).expect(0)
        else:
            tool("thaw", ext4.mountpoint).expect(0, "ended the freeze of freezectl")
        report = tool.finish(process, words, 10).expect(123, "discard", out=None).report
        assert report["ending"] == {"exit_status": None, "signal": signal.SIGTERM}, report
        assert not ext4.is_frozen()


def long_enough(tool: Freezectl, volume: Volume) -> int:
    """Milliseconds in which a command surely starts its children on this machine."""
    began = time.monotonic()
    tool("run", volume.mountpoint, "--", "sh", "-c", "sleep 0 & wait").expect(0)
    took = time.monotonic() - began
    return 500 if took < 0.1 else 1000 * (1 + math.ceil(5 * took))  # printed without rounding


@pytest.mark.kernel
def test_run_ends_the_command_and_all_its_children_at_the_deadline(
    tool: Freezectl, ext4: Volume, work: Path
) -> None:
    path = ext4.mountpoint
    pids = work / "pids"
    script = f"echo $$ >>{pids}; trap '' INT; sleep 60 & echo $! >>{pids}; sleep 60"
    ms = long_enough(tool, ext4)
    for trap, least, most in (("", 0, 4), ("trap '' TERM; ", 4, LONG_TIMEOUT)):
        pids.write_text("")
        words = ("run", "-t", f"{ms}ms", path, "--", "sh", "-c", trap + script)
        began = time.monotonic()
        process = tool.start(*words)
        assert wait_until(lambda: pids.read_text().count("\n") == 2, LONG_TIMEOUT)
        assert ext4.is_frozen() and process.poll() is None
        assert wait_until(lambda: not ext4.is_frozen(), ms / 1000 + 3), "not thawed in time"
        thawed = time.monotonic()
        assert thawed - began >= ms / 1000, "thawed before the deadline"
        result = tool.finish(process, words)
        result.expect(
            124, f"had not finished after {ms / 1000:.{int(ms < 10000)}f} s", "discard what it made"
        )
        assert least <= time.monotonic() - thawed <= most, time.monotonic() - thawed
        for pid in map(int, pids.read_text().split()):
            assert has_ended(pid, 1), f"{pid} outlived the deadline"
    result = tool("run", "--timeout=1s", "--json", path, "--", "sleep", "9")
    assert result.expect(124, out=None).report["ending"] == {"exit_status": None, "signal": 15}
    tool("run", "-t", "1m", path, "--", "true").expect(0)
    tool("run", "-t", "30", path, "--", "true").expect(0)


def test_run_reports_a_failed_thaw(
    tool: Freezectl, ext4: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    environment = slow_kernel(thaw_error=errno.EIO)
    result = tool("run", "--json", ext4.mountpoint, "--", "true", env=environment)
    result.expect(122, os.strerror(errno.EIO), "it is still frozen", out=None)
    assert result.report["ending"]["exit_status"] == 0
    volumes.end_guardians()
    if has_descriptors():  # the kernel thaws when freezectl has ended
        assert wait_until(lambda: not ext4.is_frozen(), LONG_TIMEOUT)
    else:
        assert ext4.thaw()


def test_run_reports_that_its_guardian_was_killed(
    tool: Freezectl, ext4: Volume, volumes: Volumes
) -> None:
    """Where the kernel has descriptors, nobody else can end the freeze but an administrator."""
    words = ("run", ext4.mountpoint, "--", "sh", "-c", "echo up; sleep 60")
    process = tool.start(*words)
    assert process.stdout
    process.stdout.readline()
    if has_descriptors():
        assert not volumes.guardians()
        must("fsfreeze", "-u", ext4.mountpoint)
    volumes.end_guardians()
    tool.finish(process, words, 10).expect(123, "discard", out=None)
    assert not ext4.is_frozen(), "the library did not thaw"


def test_nohup_is_respected(tool: Freezectl, ext4: Volume) -> None:
    words = ("run", ext4.mountpoint, "--", "sh", "-c", "echo up; sleep 0.5; exit 3")
    process = tool.start(*words, under=["nohup"])
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    tool.finish(process, words).expect(3, out=None)


def test_verbose_reports_each_step(tool: Freezectl, ext4: Volume, slow_kernel: SlowKernel) -> None:
    path = ext4.mountpoint
    result = tool("run", "-v", path, "--", "true", env=slow_kernel(ms=100))
    lines = result.err.decode().splitlines()
    assert lines[:3] == [f"freezectl: {text}" for text in ("flushing", "freezing", "frozen")], lines
    assert lines[3].startswith("freezectl: thawed after 0.") and len(lines) == 4, lines
    name = os.fsdecode(path)
    tool("freeze", "--verbose", path).expect(0, f"frozen: '{name}'\n", out=None)
    tool("extend", "--verbose", "-t", "9", path).expect(0, f"for another 9.0 s: '{name}'\n")
    tool("thaw", "--verbose", path).expect(0, f"thawed: '{name}'\n")
