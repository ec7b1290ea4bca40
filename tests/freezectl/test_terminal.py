# SPDX-License-Identifier: LGPL-2.1-or-later
"""Progress, the foreground of a terminal, and output that cannot be written."""

import contextlib
import os
import shlex
import time
from pathlib import Path

from tests.freezectl.freezectl import LONG_TIMEOUT, PROGRAM, Freezectl, SlowKernel, Terminal
from tests.support.process import wait_until
from tests.support.volumes import Volume


def test_progress_is_shown_on_a_terminal_only(
    tool: Freezectl, ext4: Volume, slow_kernel: SlowKernel
) -> None:
    path = os.fspath(ext4.path)
    words = ("-t", "9s", path, "--", "sleep", "2.5")
    environment = slow_kernel(ms=300, timeouts=True)
    terminal = Terminal(os.fspath(PROGRAM), "run", *words, env=environment)
    assert terminal.wait(LONG_TIMEOUT) == 0
    for text in (b"flushing, 0.", b"freezing, 0.", b"frozen for 1.", b" s left"):
        assert text in terminal.shown, terminal.shown
    assert terminal.shown.endswith(b"\r\x1b[K\r"), terminal.shown  # the line is erased
    for command in (
        ("run", "-q", *words),
        ("run", "--quiet", *words),
        ("freeze", "-q", path),
        ("freeze", "--quiet", path),
    ):
        quiet = Terminal(os.fspath(PROGRAM), *command, env=environment)
        assert quiet.wait(LONG_TIMEOUT) == 0 and quiet.shown == b"", quiet.shown
        tool.record(command, 0)
        assert ext4.thaw() == (command[0] == "freeze")
    assert tool("run", *words, env=environment).err == b""


def test_it_never_waits_for_its_own_thaw(
    tool: Freezectl, ext4: Volume, work: Path, slow_kernel: SlowKernel
) -> None:
    """Not where standard error is on the filesystem, and not where it is a full pipe."""
    begun = work / "begun"
    script = f"exec >/dev/null 2>&1; : >{begun}; sleep 0.3"
    words = ("run", "-v", ext4.path, "--", "sh", "-c", script)
    log = ext4.path / "log"
    with log.open("wb") as file:
        process = tool.start(*words, stderr=file, env=slow_kernel(ms=50))
        result = tool.finish(process, words, 15)
    if result.status == 125:  # the library itself refuses
        assert b"standard error" in log.read_bytes()
    else:
        assert result.status == 0 and log.read_bytes().startswith(b"freezectl: thawed")
    reading, writing = os.pipe()
    fill_pipe(writing)
    begun.unlink(missing_ok=True)
    process = tool.start(*words, stderr=writing)
    os.close(writing)
    assert wait_until(begun.exists, LONG_TIMEOUT)
    assert wait_until(lambda: not ext4.is_frozen(), LONG_TIMEOUT), "a full pipe kept it frozen"
    assert process.poll() is None, "the pipe was not full"
    os.set_blocking(reading, False)
    while process.poll() is None:
        try:
            os.read(reading, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    os.close(reading)
    assert process.wait(10) == 0


def fill_pipe(pipe: int) -> None:
    os.set_blocking(pipe, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * size)
    os.set_blocking(pipe, True)


def test_a_report_that_cannot_be_written_is_an_error(tool: Freezectl, ext4: Volume) -> None:
    with (ext4.path / "out").open("wb") as out:
        process = tool.start("freeze", "--json", ext4.path, stdout=out)
        error = process.communicate(timeout=15)[1]
    assert process.returncode == 1 and b"standard output is on it" in error, error
    assert not ext4.is_frozen()
    with open("/dev/full", "wb") as full:
        process = tool.start("status", "--json", ext4.path, stdout=full)
        error = process.communicate(timeout=15)[1]
    assert process.returncode == 1 and b"cannot write to standard output" in error, error


FOREGROUND = "import os; print('mine' if os.tcgetpgrp(0) == os.getpgrp() else 'not mine')"


def test_the_command_has_the_terminal(tool: Freezectl, ext4: Volume) -> None:
    path = os.fspath(ext4.path)
    python = ("/usr/bin/python3", "-c", FOREGROUND)
    script = shlex.join([os.fspath(PROGRAM), "run", "-q", path, "--", *python])
    terminal = Terminal("bash", "-c", f"set -m; {script}; {shlex.join(python)}; exit 5")
    assert terminal.wait(LONG_TIMEOUT) == 5, terminal.shown
    assert terminal.shown.split() == [b"mine", b"mine"], terminal.shown
    shell = f"{shlex.join([os.fspath(PROGRAM), 'run', path, '--', 'cat'])}; echo status $?"
    for keys, before, status in ((b"\x03", b"", b"130"), (b"\x04", b"\x1a", b"0")):
        terminal = Terminal("bash", "-c", shell)
        terminal.type(b"hello\r")
        terminal.show(5, b"hello\r\nhello")
        assert ext4.is_frozen()
        terminal.type(before)  # Ctrl-Z stops nothing
        time.sleep(0.2)
        terminal.type(keys)
        terminal.show(5, b"status")
        terminal.show(0.2)
        assert b"status " + status in terminal.shown, terminal.shown
        assert not ext4.is_frozen() and terminal.wait(5) is not None
