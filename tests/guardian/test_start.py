# SPDX-License-Identifier: LGPL-2.1-or-later
"""How guardians start: races, what a killed one leaves behind, systemd's sockets."""

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.guardian.client import Connection, Filesystem, HungUp
from tests.guardian.conftest import guardians
from tests.support.process import stat, wait_until
from tests.support.volumes import Volume


def test_stale_socket(fs: Filesystem) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(fs.socket))
    stale.listen()
    stale.close()
    assert fs.freeze().thaw() == 0


def test_second_guardian_is_refused(fs: Filesystem) -> None:
    holder = fs.freeze()
    connection, answer = fs.start()
    assert answer.error == errno.EAGAIN
    with pytest.raises(HungUp):
        connection.receive()
    assert holder.thaw() == 0


def test_killed_guardian(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze()
    (pid,) = guardians(fs.directory)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(HungUp):
        connection.receive()
    writer = volume.frozen()
    starter, answer = fs.start()
    assert answer.error == 0
    volume.thawed(writer)
    starter.close()
    assert wait_until(lambda: not guardians(fs.directory))
    assert fs.lock.read_bytes() == b""


def test_freeze_after_a_killed_guardian(fs: Filesystem, volume: Volume) -> None:
    killed = fs.freeze()
    (pid,) = guardians(fs.directory)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(HungUp):
        killed.receive()
    connection = fs.freeze()
    assert volume.is_frozen()
    assert connection.thaw() == 0
    assert not volume.is_frozen()


def test_signals_do_not_end_it(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze()
    (pid,) = guardians(fs.directory)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTSTP, signal.SIGUSR1):
        os.kill(pid, number)
    assert connection.extend(0) == 0
    assert volume.is_frozen()
    assert connection.thaw() == 0


@pytest.mark.parametrize("round_number", range(5))
def test_many_clients_start_one_guardian(fs: Filesystem, volume: Volume, round_number: int) -> None:
    count = 20
    connections: list[Connection] = []
    barrier = threading.Barrier(count)

    def take_part() -> None:
        barrier.wait()
        connections.append(fs.freeze(60000))

    threads = [threading.Thread(target=take_part) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(connections) == count
    assert wait_until(lambda: len(guardians(fs.directory)) == 1)
    assert len(connections[0].list()[1]) == count
    assert volume.is_frozen()
    assert [connection.thaw() for connection in connections] == [0] * count
    assert not volume.is_frozen()


def test_freeze_and_thaw_race(fs: Filesystem, volume: Volume) -> None:
    """Guardians end and start all the time."""
    errors: list[object] = []

    def play() -> None:
        for _ in range(40):
            try:
                connection = fs.freeze(60000)
                if error := connection.thaw():
                    errors.append(error)
                connection.close()
            except Exception as error:  # noqa: BLE001
                errors.append(error)

    threads = [threading.Thread(target=play) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert wait_until(lambda: not guardians(fs.directory))
    assert not volume.is_frozen()


# systemd -------------------------------------------------------------------------


@contextlib.contextmanager
def _activation(fs: Filesystem, *options: str) -> Iterator[Path]:
    """systemd-socket-activate listens on guardian.socket."""
    program = shutil.which("systemd-socket-activate")
    if not program:
        unavailable("there is no systemd-socket-activate")
    path = fs.directory / "guardian.socket"
    process = subprocess.Popen(
        [program, *options, f"--listen={path}", fs.guardian],
        env={"LIBFREEZE_RUNTIME_DIR": str(fs.directory)},
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(path.exists)
        yield path
    finally:
        process.kill()
        process.wait()


# Without --accept, one process accepts connections and is a guardian's parent.
@pytest.mark.parametrize("options", [["--accept"], []], ids=["accept", "listen"])
def test_socket_activation(
    fs: Filesystem, volume: Volume, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Connection:
        raise AssertionError("the host has a socket")

    with _activation(fs, "--setenv=LIBFREEZE_RUNTIME_DIR", *options):
        monkeypatch.setattr(fs, "execute_guardian", fail)
        for _ in range(3):
            first, second = fs.freeze(60000), fs.freeze(60000)
            writer = volume.frozen()
            assert first.thaw() == 0
            volume.still_frozen(writer)
            assert second.thaw() == 0
            volume.thawed(writer)
        last = fs.freeze(60000)
        pid = _guardian_of(last, fs)
        found = stat(pid)
        assert found and found.parent != os.getpid()
    assert volume.is_frozen(), "the end of the socket must not end a guardian"
    assert last.thaw() == 0
    assert wait_until(lambda: not guardians(fs.directory))


def _guardian_of(connection: Connection, fs: Filesystem) -> int:
    other = fs.connect_to(fs.socket)
    assert other
    answer = other.hello(fs.device)
    other.close()
    assert answer.error == 0
    return answer.pid


def test_socket_activation_limits_nothing(fs: Filesystem) -> None:
    with _activation(fs, "--setenv=LIBFREEZE_RUNTIME_DIR", "--accept"):
        for _ in range(30):
            connection = fs.freeze(60000)
            assert connection.thaw() == 0
            connection.close()
