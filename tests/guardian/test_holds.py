# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several holds on one filesystem: order, deadlines, kept holds, thaws by others."""

import contextlib
import errno
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.guardian import client
from tests.guardian.client import END_ALL, Connection, Filesystem, HungUp, new_id
from tests.guardian.conftest import guardians
from tests.guardian.stuck_writer import stuck_writer
from tests.support import volumes
from tests.support.process import in_child, wait_until
from tests.support.volumes import FIFREEZE, FITHAW, Volume

SOON = 0.5  # seconds; the protocol says 0.05, and the machine may be busy


def _outsider(volume: Volume, request: int) -> int | None:
    """An ioctl by a program that does not use libfreeze. Returns the errno."""
    return in_child(lambda: volumes.request(volume.mountpoint, request), 10)


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_three_holds_in_any_order(
    fs: Filesystem, volume: Volume, order: tuple[int, int, int]
) -> None:
    holds = [fs.freeze(60000 * (number % 2)) for number in range(3)]
    writer = volume.frozen()
    for position, number in enumerate(order):
        assert len(guardians(fs.directory)) == 1
        assert len(holds[number].list()[1]) == 3 - position
        if position % 2:
            assert holds[number].thaw() == 0
        else:
            holds[number].close()
        if position < 2:
            volume.still_frozen(writer)
    volume.thawed(writer)


def test_two_holds(fs: Filesystem, volume: Volume) -> None:
    first = fs.freeze()
    second = fs.freeze()
    assert first.thaw() == 0
    assert volume.is_frozen()
    assert second.thaw() == 0
    assert not volume.is_frozen()


def test_killed_holder_ends_only_its_own_hold(fs: Filesystem, volume: Volume) -> None:
    ours = fs.freeze()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        connection = fs.freeze(comment=b"child")
        os.write(writer, b"frozen")
        time.sleep(60)
        connection.close()
        os._exit(0)
    os.read(reader, 6)
    _, holders, _ = ours.list()
    assert [holder.pid for holder in holders] == [os.getpid(), child]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert wait_until(lambda: len(ours.list()[1]) == 1, SOON)
    assert volume.is_frozen()
    assert ours.thaw() == 0
    os.close(reader)
    os.close(writer)


def test_holder_that_has_exited(fs: Filesystem) -> None:
    """Its hold lasts if somebody else has the descriptor, or if it was kept."""
    ours = fs.freeze()
    child = os.fork()
    if child == 0:
        fs.freeze().keep()
        os._exit(0)
    os.waitpid(child, 0)
    _, holders, _ = ours.list()
    assert [holder.flags for holder in holders] == [0, client.KEPT | client.GONE]
    assert ours.list(END_ALL)[2].error == 0


# Deadlines -----------------------------------------------------------------------


def test_deadline(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze(300)
    start = time.monotonic()
    writer = volume.writer()
    message = connection.receive()
    took = time.monotonic() - start
    print(f"ended after {took * 1000:.1f} ms")
    assert (message.type, message.cause) == (client.ENDED, client.DEADLINE)
    assert 0.25 < took < 0.3 + SOON
    volume.thawed(writer)
    assert connection.is_ready()
    with pytest.raises(HungUp):
        connection.thaw()


def test_last_deadline_thaws(fs: Filesystem, volume: Volume) -> None:
    short, long = fs.freeze(300), fs.freeze(1500)
    assert short.receive().cause == client.DEADLINE
    assert volume.is_frozen()
    assert long.receive().cause == client.DEADLINE
    assert not volume.is_frozen()


def test_thaw_after_extended_deadline(fs: Filesystem) -> None:
    connection = fs.freeze(400)
    for _ in range(5):
        time.sleep(0.2)
        assert connection.extend(400) == 0
    assert connection.thaw() == 0


def test_deadline_while_the_holder_is_stopped(fs: Filesystem, volume: Volume) -> None:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(HungUp):
            fs.freeze(700).receive()
        os._exit(0)
    assert wait_until(fs.socket.exists)
    time.sleep(0.3)
    os.kill(child, signal.SIGSTOP)
    writer = volume.writer()
    volume.thawed(writer)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


# Kept holds ----------------------------------------------------------------------


def test_keep_and_thaw_by_id(fs: Filesystem, volume: Volume) -> None:
    identity = new_id()
    connection = fs.freeze(60000, identity)
    assert connection.keep() == 0
    connection.close()
    writer = volume.frozen()
    _, (holder,), _ = fs.find().list()
    assert (holder.id, holder.flags) == (identity, client.KEPT)
    assert fs.find().thaw(identity) == 0
    volume.thawed(writer)
    assert not (fs.directory / "ended").exists()


def test_kept_hold_that_expired(fs: Filesystem) -> None:
    identity = new_id()
    guard = fs.freeze()
    connection = fs.freeze(1000, identity)
    assert connection.keep() == 0
    record = fs.directory / "ended" / f"{identity:016x}"
    assert wait_until(record.exists)
    assert record.read_text().startswith("deadline passed at 2")
    answer = fs.find().ask(client.Message(client.THAW, id=identity))
    assert (answer.error, answer.cause) == (errno.ESTALE, client.DEADLINE)
    assert fs.find().thaw(identity) == errno.ESRCH
    assert guard.thaw() == 0


def read_at_once(path: Path) -> str:
    """What the file says when it appears."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with contextlib.suppress(FileNotFoundError):
            return path.read_text()
    raise TimeoutError(path)


def test_records_appear_whole(fs: Filesystem) -> None:
    guard = fs.freeze()
    kept = 0
    for identity in range(1, 51):
        connection = fs.freeze(50, identity)
        try:
            assert connection.keep() == 0
        except HungUp:  # the deadline was earlier
            continue
        record = read_at_once(fs.directory / "ended" / f"{identity:016x}")
        assert record.startswith("deadline passed at 2")
        kept += 1
    assert kept
    assert guard.thaw() == 0


def test_records_are_limited(fs: Filesystem) -> None:
    ended = fs.directory / "ended"
    ended.mkdir()
    for number in range(1024):
        (ended / f"{number:016x}").write_text("deadline passed\n")
    os.utime(ended / f"{500:016x}", (1, 1))
    assert fs.freeze(60000, 1 << 40).keep() == 0
    fs.find().list(END_ALL)
    assert wait_until(lambda: not guardians(fs.directory))
    names = {path.name for path in ended.iterdir()}
    assert len(names) == 1024
    assert f"{1 << 40:016x}" in names
    assert f"{500:016x}" not in names


def test_adopt(fs: Filesystem, volume: Volume) -> None:
    for identity in (10, 11):
        assert fs.freeze(60000, identity, b"kept").keep() == 0
    newest = fs.find()
    answer = newest.adopt(timeout_ms=500, comment=b"mine")
    assert (answer.error, answer.id) == (0, 11)
    other = fs.find()
    assert other.adopt(11).error == errno.ESRCH
    assert other.adopt(10).error == 0
    holders = other.list()[1]
    assert [holder.comment for holder in holders] == [b"kept", b"mine"]
    assert [holder.timeout_ms > 0 for holder in holders] == [False, True]
    assert [holder.flags for holder in holders] == [0, 0]
    assert newest.receive().cause == client.DEADLINE
    assert volume.is_frozen()
    assert other.thaw() == 0
    assert not volume.is_frozen()


def test_adopt_a_hold_that_was_thawed(fs: Filesystem, volume: Volume) -> None:
    assert fs.freeze(60000, 10).keep() == 0
    assert _outsider(volume, FITHAW) == 0
    answer = fs.find().adopt(10)
    assert (answer.error, answer.cause) == (errno.ESTALE, client.UNKNOWN_THAW)


def test_keep_again_after_adopt(fs: Filesystem) -> None:
    assert fs.freeze(60000, 10).keep() == 0
    connection = fs.find()
    assert connection.adopt(10).error == 0
    assert connection.keep() == 0
    connection.close()
    assert fs.find().thaw(10) == 0


# Others --------------------------------------------------------------------------


def _ends(connection: Connection) -> client.Message:
    while (message := connection.receive()).type != client.ENDED:
        pass
    return message


@pytest.mark.parametrize("request_name", ["thaw", "extend", "keep"])
@pytest.mark.parametrize("holds", [1, 2])
def test_thaw_by_an_outsider_is_found(
    fs: Filesystem, volume: Volume, holds: int, request_name: str
) -> None:
    uses: dict[str, Callable[[Connection], int]] = {
        "thaw": lambda connection: connection.thaw(),
        "extend": lambda connection: connection.extend(1000),
        "keep": lambda connection: connection.keep(),
    }
    connections = [fs.freeze(60000) for _ in range(holds)]
    assert _outsider(volume, FITHAW) == 0
    error = uses[request_name](connections[0])
    # EXTEND does not wait for a check that takes long; ENDED follows its answer.
    assert error == errno.ESTALE or (error == 0 and request_name == "extend")
    for connection in connections:
        assert _ends(connection).cause == client.UNKNOWN_THAW
    assert wait_until(lambda: not guardians(fs.directory))
    assert not volume.is_frozen()


def test_new_hold_after_a_thaw_by_an_outsider(fs: Filesystem, volume: Volume) -> None:
    old = fs.freeze(60000)
    assert _outsider(volume, FITHAW) == 0
    new = fs.freeze(60000)
    assert old.receive().cause == client.UNKNOWN_THAW
    assert volume.is_frozen()
    assert new.thaw() == 0


def test_outsider_cannot_freeze(fs: Filesystem, volume: Volume) -> None:
    if volumes.has_timeouts():
        pytest.skip("this kernel nests freezes")
    connection = fs.freeze()
    assert _outsider(volume, FIFREEZE) == errno.EBUSY
    assert connection.thaw() == 0


def test_frozen_by_an_outsider(fs: Filesystem, volume: Volume) -> None:
    if volumes.has_timeouts():
        pytest.skip("this kernel nests freezes")
    volume.freeze()
    connection = fs.reach()
    connection.begin_freeze()
    answer = connection.receive_answer(client.RESULT)
    assert answer.error == errno.EBUSY
    assert b"does not use libfreeze" in answer.text
    assert volume.is_frozen()
    assert fs.lock.read_bytes() == b""
    volume.thaw()


# A freeze that takes long --------------------------------------------------------


def test_stuck_writer(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        first = fs.reach()
        identity = first.begin_freeze(60000)
        assert first.took < SOON
        second = fs.find()
        second.begin_freeze(60000)
        other = fs.find()
        state, holders, _ = other.list()
        times = [second.took, other.took]
        assert state.state == client.FREEZING
        assert [holder.flags for holder in holders] == [client.NOT_FROZEN_YET] * 2
        assert other.extend(50000, identity) == 0
        times.append(other.took)
        print("answered after", ", ".join(f"{took * 1000:.1f} ms" for took in times))
        assert max(times) < SOON
        assert not first.is_ready()
    assert first.finish_freeze() == 0
    assert second.finish_freeze() == 0
    assert first.list()[1][0].timeout_ms <= 50000
    assert first.thaw() == 0
    assert volume.is_frozen()
    assert second.thaw() == 0


def test_deadline_counts_from_the_freeze(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        connection = fs.reach()
        connection.begin_freeze(400)
        assert not connection.is_ready(1)
    start = time.monotonic()
    assert connection.finish_freeze() == 0
    assert connection.receive().cause == client.DEADLINE
    assert time.monotonic() - start > 0.3


def test_withdrawn_freeze_is_undone(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        connection = fs.reach()
        connection.begin_freeze()
        connection.close()
        time.sleep(0.2)
        assert len(guardians(fs.directory)) == 1
    assert wait_until(lambda: not guardians(fs.directory))
    assert not volume.is_frozen()


def test_one_of_two_is_withdrawn(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        first = fs.reach()
        first.begin_freeze()
        second = fs.find()
        second.begin_freeze()
        first.close()
    assert second.finish_freeze() == 0
    assert volume.is_frozen()
    assert second.thaw() == 0


def test_end_all_withdraws(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        first = fs.reach()
        first.begin_freeze()
        administrator = fs.find()
        administrator.send(client.Message(END_ALL))
        assert first.finish_freeze() == errno.ECANCELED
        new = fs.find()
        new.begin_freeze()
    assert administrator.receive_answer(client.RESULT).error == 0
    assert new.finish_freeze() == 0
    assert volume.is_frozen()
    assert new.thaw() == 0


def test_thaw_by_id_withdraws(fs: Filesystem, volume: Volume) -> None:
    with stuck_writer(volume.path):
        first = fs.reach()
        identity = first.begin_freeze()
        assert fs.find().thaw(identity) == errno.ESTALE
        assert first.finish_freeze() == errno.ECANCELED
    assert wait_until(lambda: not guardians(fs.directory))


def test_check_that_blocks(fs: Filesystem, volume: Volume) -> None:
    """After a thaw by an outsider, the check on a stock kernel waits for the stuck writer."""
    if volumes.has_timeouts():
        pytest.skip("a check never blocks on this kernel")
    connection, bystander = fs.freeze(60000), fs.freeze(60000)
    assert _outsider(volume, FITHAW) == 0
    with stuck_writer(volume.path):
        assert connection.extend(60000) == 0
        print(f"extended after {connection.took * 1000:.1f} ms")
        assert connection.took < SOON
        assert _ends(connection).cause == client.UNKNOWN_THAW
        assert _ends(bystander).cause == client.UNKNOWN_THAW
    assert wait_until(lambda: not guardians(fs.directory))
    assert not volume.is_frozen()


def test_unfreezable_filesystem(fs: Filesystem) -> None:
    connection = fs.execute_guardian()
    fd = os.open("/proc", os.O_RDONLY)
    assert connection.hello(os.fstat(fd).st_dev, fd).error == 0
    os.close(fd)
    connection.begin_freeze()
    assert connection.finish_freeze() == errno.EOPNOTSUPP


def test_fsfreeze(fs: Filesystem, volume: Volume) -> None:
    """util-linux's program is an outsider, too."""
    connection = fs.freeze()
    subprocess.run(["fsfreeze", "-u", volume.mountpoint], check=True, timeout=10)
    assert connection.thaw() == errno.ESTALE
