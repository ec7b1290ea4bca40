# SPDX-License-Identifier: LGPL-2.1-or-later
"""A child in a new process group, which ends with us and is given up if it cannot."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import BUILD, ROOT
from tests.support.process import end_group, start


def environment() -> dict[str, str]:
    env = dict(os.environ, LIBFREEZE_BUILD=str(BUILD), LC_ALL="C.UTF-8")
    env["PATH"] = env.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return env


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, **env: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """The child while it runs, with all of its output in the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = start(
            command,
            cwd=ROOT,
            env={**environment(), **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        end_group(process, 10)
        # Popen must neither complain about nor wait for a child that cannot die.
        if process.returncode is None:
            process.returncode = -signal.SIGKILL


def follow(process: "subprocess.Popen[bytes]", on_tick: Callable[[], object]) -> int:
    """Waits for the child, with a tick twice a second. Returns its exit status."""
    while True:
        try:
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            on_tick()


def last_lines(log: Path, count: int) -> list[str]:
    """Reads the last 64 KiB. Progress lines may end in a carriage return."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.replace("\r", "\n").splitlines()[-count:]
