# SPDX-License-Identifier: LGPL-2.1-or-later
"""Signals and closed terminals, at each point of a run."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.freezectl.freezectl import (
    FREEZING,
    LONG_TIMEOUT,
    POINTS,
    PROGRAM,
    THAWING,
    Freezectl,
    SlowKernel,
    StoppedRun,
    Terminal,
    Volumes,
    has_ended,
)
from tests.support.process import wait_until
from tests.support.volumes import Volume

SILENT: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def check_nothing_frozen(volumes: Volumes, run: StoppedRun) -> None:
    """The guardian undoes a freeze that completes too late, and ends."""
    volumes.assert_no_guardian()
    left = volumes.thaw_all()
    assert not left, f"killed at {run.point!r}: {left} left frozen"


def check_death(run: StoppedRun, status: int | None, number: int) -> None:
    """In the thaw it may be too late for a signal, and the command has ended well."""
    assert status == -number or (run.point in THAWING and status == 0), (
        f"at {run.point!r}: status {status}, not killed by signal {number}"
    )
    run.check_command(lives=False)


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["int", "term", "hup"])
def test_signal_at_ten_points_leaves_nothing_frozen(
    tool: Freezectl, ext4: Volume, xfs: Volume, volumes: Volumes, slow_kernel: SlowKernel, name: str
) -> None:
    number = signal.Signals[f"SIG{name.upper()}"]
    for point in POINTS:
        run = StoppedRun(slow_kernel, point)
        words = run.words(ext4.mountpoint, xfs.mountpoint)
        process = tool.start(*words, env=run.environment)
        run.wait(process.pid)
        process.send_signal(number)
        run.release()
        result = tool.finish(process, words)
        check_nothing_frozen(volumes, run)
        check_death(run, result.status, number)


@pytest.mark.kernel
def test_kill_at_ten_points_leaves_nothing_frozen(
    tool: Freezectl, ext4: Volume, xfs: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    """The guardians thaw and end. The command and its children are killed."""
    for point in POINTS:
        run = StoppedRun(slow_kernel, point)
        words = run.words(ext4.mountpoint, xfs.mountpoint)
        kill_at_point(tool.start(*words, env=run.environment, **SILENT), run)
        check_nothing_frozen(volumes, run)
        pid = run.command()
        assert not pid or has_ended(pid, LONG_TIMEOUT), "the command lives on"
        run.check_command(lives=False)


def kill_at_point(process: "subprocess.Popen[bytes]", run: StoppedRun) -> None:
    run.wait(process.pid)
    process.kill()
    assert process.wait(LONG_TIMEOUT) == -signal.SIGKILL
    run.release()


@pytest.mark.kernel
def test_a_closed_terminal_leaves_nothing_frozen(
    tool: Freezectl, ext4: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    """As the leader of the session, and under a shell that does not pass on the hang-up."""
    for point in POINTS:
        run = StoppedRun(slow_kernel, point)
        words = map(os.fsdecode, run.words(ext4.mountpoint))
        terminal = Terminal(os.fspath(PROGRAM), *words, env=run.environment)
        run.wait(terminal.pid)
        terminal.close()
        run.release()
        status = terminal.wait(LONG_TIMEOUT)
        check_nothing_frozen(volumes, run)
        check_death(run, status, signal.SIGHUP)
    pid_file = run.pid_file
    command = shlex.join(
        [os.fspath(PROGRAM), "run", "-t", "0", os.fspath(ext4.path), "--", "sh", "-c"]
    )
    begun = f"echo \\$\\$ >{pid_file}"
    background = f'set -m; {command} "{begun}; exec sleep 0.5" & wait; true'
    ignores_hup = f"{command} \"trap '' HUP; {begun}; sleep 60\"; true"
    for shell in (background, ignores_hup):
        pid_file.unlink(missing_ok=True)
        terminal = Terminal("bash", "-c", shell)
        assert wait_until(pid_file.exists, LONG_TIMEOUT), terminal.show(0.1)
        time.sleep(0.1)
        terminal.close()
        assert wait_until(lambda: not ext4.is_frozen(), LONG_TIMEOUT), f"left frozen: {shell}"
        assert terminal.wait(LONG_TIMEOUT) is not None
        pid = int(pid_file.read_text())
        assert has_ended(pid, LONG_TIMEOUT), "the command lives on"


def test_a_signal_thaws_at_once_whatever_the_command_does(tool: Freezectl, ext4: Volume) -> None:
    script = "trap '' QUIT TERM; echo; sleep 60; sleep 60"
    words = ("run", "-v", ext4.mountpoint, "--", "sh", "-c", script)
    for number in (signal.SIGQUIT, signal.SIGTERM):
        process = tool.start(*words)
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        assert wait_until(lambda: not ext4.is_frozen(), LONG_TIMEOUT), "not thawed"
        assert process.poll() is None, "the command was not given time to end"
        tool.finish(process, words).expect(-number, "thawed after", out=None)


def test_the_command_gets_the_signal(tool: Freezectl, ext4: Volume) -> None:
    script = "trap 'echo interrupted; exit 0' INT; echo up; sleep 9 & wait"
    words = ("run", ext4.mountpoint, "--", "sh", "-c", script)
    process = tool.start(*words)
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    tool.finish(process, words).expect(-signal.SIGINT, out=b"interrupted\n")


@pytest.mark.kernel
def test_an_interrupted_freeze_leaves_nothing_frozen(
    tool: Freezectl, ext4: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    """A freeze that has completed before the signal stays."""
    words = ("freeze", ext4.mountpoint)
    for point in ("exec", "freezectl", *FREEZING):
        run = StoppedRun(slow_kernel, point)
        process = tool.start(*words, env=run.environment)
        run.wait(process.pid)
        process.send_signal(signal.SIGTERM)
        run.release()
        assert tool.finish(process, words).status == -signal.SIGTERM, point
        check_nothing_frozen(volumes, run)


def test_a_killed_freeze_of_several_leaves_no_part_frozen(
    tool: Freezectl, ext4: Volume, xfs: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    for point in ("exec", "freezectl", *FREEZING):
        run = StoppedRun(slow_kernel, point)
        words = ("freeze", ext4.mountpoint, xfs.mountpoint)
        kill_at_point(tool.start(*words, env=run.environment, **SILENT), run)
        check_nothing_frozen(volumes, run)


def test_a_freeze_that_never_completes_can_be_interrupted(
    tool: Freezectl, ext4: Volume, volumes: Volumes, slow_kernel: SlowKernel
) -> None:
    words = ("freeze", ext4.mountpoint)
    for number in (signal.SIGINT, signal.SIGTERM):
        run = StoppedRun(slow_kernel, "freeze")
        process = tool.start(*words, env=run.environment)
        run.wait(process.pid)
        process.send_signal(number)
        try:
            assert tool.finish(process, words, 15).status == -number
        finally:
            run.release()
        check_nothing_frozen(volumes, run)


def test_the_group_of_the_command_dies_with_freezectl(
    tool: Freezectl, ext4: Volume, work: Path
) -> None:
    pids = work / "group"
    for prefix in ("", "trap '' TERM HUP INT; "):
        pids.write_text("")
        script = f"{prefix}sleep 60 & echo $! $$ >{pids}; wait"
        process = tool.start("run", "-t", "0", ext4.path, "--", "sh", "-c", script, **SILENT)
        assert wait_until(lambda: pids.read_text().endswith("\n"), LONG_TIMEOUT)
        process.kill()
        process.wait(LONG_TIMEOUT)
        for pid in map(int, pids.read_text().split()):
            assert has_ended(pid, LONG_TIMEOUT), "the command lives on"
        assert wait_until(lambda: not ext4.is_frozen(), LONG_TIMEOUT)
