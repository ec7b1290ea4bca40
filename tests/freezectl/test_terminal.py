# SPDX-License-Identifier: LGPL-2.1-or-later
"""Progress, the foreground of a terminal, and output that cannot be written."""

import contextlib
import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest

from tests.freezectl.freezectl import LONG_TIMEOUT, PROGRAM, Freezectl, SlowKernel, Terminal
from tests.support.process import wait_until
from tests.support.volumes import Volume


def test_progress_is_shown_on_a_terminal_only(
    tool: Freezectl, ext4: Volume, slow_kernel: SlowKernel
) -> None:
    path = os.fspath(ext4.path)
    words = ("-t", "9s", path, "--", "sleep", "2.5")
    environment = slow_kernel(ms=300)
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
        assert quiet.wait(LONG_TIMEOUT) == 0, quiet.shown
        shown = re.sub(rb"^[0-9a-f]{16}\r\n$", b"", quiet.shown)  # the id
        assert shown == b"", quiet.shown
        tool.record(command, 0)
        assert ext4.thaw() == (command[0] == "freeze")
    assert tool("run", *words, env=environment).err == b""


def test_a_full_pipe_does_not_hold_up_the_thaw(tool: Freezectl, ext4: Volume, work: Path) -> None:
    begun = work / "begun"
    script = f"exec >/dev/null 2>&1; : >{begun}; sleep 0.3"
    words = ("run", "-v", ext4.path, "--", "sh", "-c", script)
    reading, writing = os.pipe()
    fill_pipe(writing)
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


def test_a_full_pipe_for_the_id_ends_the_freeze(tool: Freezectl, ext4: Volume) -> None:
    reading, writing = os.pipe()
    fill_pipe(writing)
    process = tool.start("freeze", ext4.path, stdout=writing)
    os.close(writing)
    assert process.wait(LONG_TIMEOUT) == 1
    os.close(reading)
    assert not ext4.is_frozen()


def fill_pipe(pipe: int) -> None:
    os.set_blocking(pipe, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * size)
    os.set_blocking(pipe, True)


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


# Point 5 of what must never happen again: freezectl run -t 0 ... & with a command that reads the
# terminal left the filesystem frozen forever.

READS_IN_BACKGROUND = "import os; print(len(os.read(0, 1)))"
STOPS_NEVERTHELESS = (
    "import os, signal; signal.signal(signal.SIGTTIN, signal.SIG_DFL); os.read(0, 1)"
)
SETS_TERMINAL = "import termios; termios.tcsetattr(0, termios.TCSANOW, termios.tcgetattr(0))"


@pytest.mark.parametrize(
    ("script", "status"),
    [
        (READS_IN_BACKGROUND, 1),  # EIO
        (STOPS_NEVERTHELESS, 128 + signal.SIGTTIN),
        (SETS_TERMINAL, 128 + signal.SIGTTOU),
    ],
    ids=["reads", "reads and stops", "sets"],
)
def test_a_command_that_uses_the_terminal_in_the_background_ends(
    tool: Freezectl, ext4: Volume, work: Path, script: str, status: int
) -> None:
    result = work / "status"
    result.unlink(missing_ok=True)
    words = ("run", "-t", "0", os.fspath(ext4.path), "--", "/usr/bin/python3", "-c", script)
    command = shlex.join([os.fspath(PROGRAM), *words])
    terminal = Terminal("bash", "-c", f"set -m; {command} & wait $!; echo $? >{result}")
    assert wait_until(lambda: result.exists() and result.read_text(), LONG_TIMEOUT), terminal.show(
        0.1
    )
    terminal.wait(LONG_TIMEOUT)
    assert result.read_text() == f"{status}\n", terminal.shown
    assert not ext4.is_frozen()
    if status > 128:
        assert b"it waited for the terminal" in terminal.shown, terminal.shown
        tool.record(words, status)


@pytest.mark.parametrize("name", ["STOP", "TSTP"])
def test_a_command_that_is_stopped_is_continued(tool: Freezectl, ext4: Volume, name: str) -> None:
    script = f"kill -{name} $$; echo goes on; kill -{name} 0; exit 6"
    words = ("run", "-t", "0", ext4.mountpoint, "--", "sh", "-c", script)
    tool(*words, deadline=10).expect(6, out=b"goes on\n")
