# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each request, and what a guardian answers to nonsense."""

import errno
import os
import socket
import stat
import time
from pathlib import Path

import pytest

from tests.guardian import client
from tests.guardian.client import (
    END_ALL,
    FREEZE,
    HELLO,
    LAYOUT,
    Connection,
    Filesystem,
    HungUp,
    Message,
    new_id,
)
from tests.guardian.conftest import guardians
from tests.support.process import wait_until
from tests.support.volumes import Volume

CAP_SYS_RESOURCE = 24
SOON = 0.5  # seconds; the protocol says 0.05, and the machine may be busy


def test_freeze_and_thaw(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze(60000, comment=b"nightly")
    writer = volume.frozen()
    state, (holder,), result = connection.list()
    assert result.error == 0
    assert (state.state, state.count) == (client.FROZEN, 1)
    assert (holder.pid, holder.command) == (os.getpid(), _own_command())
    assert holder.comment == b"nightly"
    assert holder.flags == 0
    assert 0 < holder.timeout_ms <= 60000
    assert holder.age_ms >= 500
    assert fs.lock.read_bytes().startswith(b"frozen")
    assert connection.thaw() == 0
    volume.thawed(writer)
    assert wait_until(lambda: not fs.socket.exists(), SOON)
    assert fs.lock.read_bytes() == b""


def _own_command() -> bytes:
    return Path("/proc/self/comm").read_bytes().rstrip(b"\n")


def test_files_belong_to_root_alone(fs: Filesystem) -> None:
    os.rmdir(fs.directory)
    os.mkdir(fs.directory, 0o700)
    connection = fs.freeze()
    for path in (fs.socket, fs.lock):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert connection.thaw() == 0


def test_client_can_unmount_after_thaw(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze()
    assert connection.thaw() == 0
    volume.unmount()
    volume.mount(b"volume")


def test_hold_ends_with_the_connection(fs: Filesystem, volume: Volume) -> None:
    connection = fs.freeze()
    writer = volume.frozen()
    copy = connection.socket.dup()
    connection.close()
    volume.still_frozen(writer)
    copy.close()
    volume.thawed(writer)


def test_extend(fs: Filesystem) -> None:
    connection = fs.freeze(1000)
    assert connection.extend(60000) == 0
    assert connection.list()[1][0].timeout_ms > 50000
    assert connection.extend(0) == 0
    assert connection.list()[1][0].timeout_ms == -1
    assert not connection.is_ready(1.2)
    assert connection.thaw() == 0


def test_extend_and_thaw_by_id(fs: Filesystem, volume: Volume) -> None:
    owner = fs.freeze(60000, identity=77)
    other = fs.find()
    assert other.extend(90000, 77) == 0
    assert owner.list()[1][0].timeout_ms > 60000
    assert other.extend(1, 78) == errno.ESRCH
    assert other.thaw(78) == errno.ESRCH
    assert other.thaw(77) == 0
    assert owner.is_ready(SOON)
    assert owner.receive().type == client.ENDED
    assert owner.ended and owner.ended.cause == client.ADMINISTRATOR
    assert not volume.is_frozen()


def test_the_guardian_chooses_an_id(fs: Filesystem) -> None:
    connection = fs.reach()
    connection.send(Message(FREEZE))
    pending = connection.receive_answer(client.PENDING)
    result = connection.receive_answer(client.RESULT)
    assert result.error == 0
    assert result.id == pending.id != 0
    assert connection.thaw(result.id) == 0


def test_second_hold_of_a_connection_is_refused(fs: Filesystem) -> None:
    connection = fs.freeze()
    with pytest.raises(OSError) as error:
        connection.begin_freeze()
    assert error.value.errno == errno.EBADMSG
    assert connection.adopt().error == errno.EBADMSG
    assert connection.thaw() == 0


def test_id_in_use_is_refused(fs: Filesystem) -> None:
    connection = fs.freeze(identity=5)
    with pytest.raises(OSError) as error:
        fs.freeze(identity=5)
    assert error.value.errno == errno.EEXIST
    assert connection.thaw() == 0


def test_negative_timeout_is_refused(fs: Filesystem) -> None:
    connection = fs.freeze()
    with pytest.raises(OSError) as error:
        fs.freeze(-1)
    assert error.value.errno == errno.EINVAL
    assert connection.extend(-1) == errno.EINVAL
    assert connection.thaw() == 0


def test_huge_timeout(fs: Filesystem) -> None:
    connection = fs.freeze((1 << 63) - 1)
    assert connection.extend((1 << 63) - 1) == 0
    assert connection.list()[1][0].timeout_ms > 1 << 40
    assert connection.thaw() == 0


def test_requests_without_a_hold(fs: Filesystem) -> None:
    holder = fs.freeze()
    connection = fs.find()
    assert connection.extend(1) == errno.EBADMSG
    assert connection.thaw() == errno.EBADMSG
    assert connection.keep() == errno.EBADMSG
    assert connection.adopt().error == errno.ESRCH
    assert connection.adopt(4711).error == errno.ESRCH
    assert connection.ask(Message(99)).error == errno.EBADMSG
    assert connection.hello(fs.device).error == errno.EBADMSG
    assert holder.thaw() == 0


def test_end_all(fs: Filesystem, volume: Volume) -> None:
    holders = [fs.freeze(60000, identity) for identity in (1, 2)]
    kept = fs.freeze(60000, 3)
    assert kept.keep() == 0
    administrator = fs.find()
    state, ended, result = administrator.list(END_ALL)
    assert result.error == 0
    assert state.state == client.FROZEN
    assert [holder.id for holder in ended] == [1, 2, 3]
    assert [holder.flags for holder in ended] == [0, 0, client.KEPT]
    for holder in holders:
        message = holder.receive()
        assert (message.type, message.cause) == (client.ENDED, client.ADMINISTRATOR)
    assert not volume.is_frozen()
    assert (fs.directory / "ended" / f"{3:016x}").read_text().startswith("thawed through")


def test_end_all_without_holds(fs: Filesystem) -> None:
    state, holders, result = fs.reach().list(END_ALL)
    assert (state.state, holders, result.error) == (client.UNFROZEN, [], 0)


def test_other_version(fs: Filesystem) -> None:
    starter = fs.execute_guardian()
    fd = os.open(fs.path, os.O_RDONLY)
    answer = starter.hello(fs.device, fd, version=2)
    os.close(fd)
    assert (answer.error, answer.version) == (errno.EPROTONOSUPPORT, 1)
    holder = fs.freeze()
    connection = fs.connect_to(fs.socket)
    assert connection
    answer = connection.hello(fs.device, version=2)
    assert (answer.error, answer.version) == (errno.EPROTONOSUPPORT, 1)
    assert connection.hello(fs.device).error == 0
    assert holder.thaw() == 0


def test_hello_for_another_device(fs: Filesystem) -> None:
    holder = fs.freeze()
    connection = fs.connect_to(fs.socket)
    assert connection
    assert connection.hello(os.makedev(250, 9)).error == errno.EXDEV
    assert holder.thaw() == 0


def test_hello_says_who_answers(fs: Filesystem) -> None:
    connection, answer = fs.start()
    assert answer.error == 0
    assert [answer.pid] == guardians(fs.directory)
    assert (answer.version, answer.flags) == (1, 0)
    assert os.makedev(answer.device_major, answer.device_minor) == fs.device
    connection.close()


def test_private_guardian(fs: Filesystem, volume: Volume) -> None:
    connection = fs.execute_guardian()
    fd = os.open(fs.path, os.O_RDONLY)
    answer = connection.hello(fs.device, fd, flags=client.PRIVATE)
    os.close(fd)
    assert (answer.error, answer.flags) == (0, client.PRIVATE)
    assert list(fs.directory.iterdir()) == []
    connection.begin_freeze()
    assert connection.finish_freeze() == 0
    assert connection.keep() == errno.EOPNOTSUPP
    writer = volume.frozen()
    assert connection.thaw() == 0
    volume.thawed(writer)


def test_directory_that_others_can_write_to(fs: Filesystem) -> None:
    fs.directory.chmod(0o777)
    connection, answer = fs.start()
    assert (answer.error, answer.flags) == (0, client.PRIVATE)
    assert answer.text
    assert list(fs.directory.iterdir()) == []
    connection.close()


def test_directory_on_the_filesystem(fs: Filesystem, volume: Volume) -> None:
    fs.directory = volume.path / "run"
    fs.directory.mkdir(0o700, exist_ok=True)
    connection, answer = fs.start()
    assert (answer.error, answer.flags) == (0, client.PRIVATE)
    connection.begin_freeze()
    assert connection.finish_freeze() == 0
    assert connection.thaw() == 0


def test_no_descriptor(fs: Filesystem) -> None:
    assert fs.execute_guardian().hello(fs.device).error == errno.EBADF


def test_silent_first_client(fs: Filesystem) -> None:
    connection = fs.execute_guardian()
    assert wait_until(lambda: guardians(fs.directory), 2)
    start = time.monotonic()
    with pytest.raises(HungUp):
        connection.receive()
    assert 8 < time.monotonic() - start < 12


def test_first_client_leaves(fs: Filesystem) -> None:
    connection, answer = fs.start()
    assert answer.error == 0
    connection.close()
    assert wait_until(lambda: not guardians(fs.directory))


# Nonsense ------------------------------------------------------------------------


def test_garbage_instead_of_hello(fs: Filesystem) -> None:
    holder = fs.freeze()
    stranger = fs.connect_to(fs.socket)
    assert stranger
    stranger.socket.sendall(b"GET / HTTP/1.1\r\n" * 32)
    assert stranger.receive().error == errno.EBADMSG
    with pytest.raises(HungUp):
        stranger.receive()
    assert holder.extend(0) == 0
    assert holder.thaw() == 0


def test_garbage_to_start_with(fs: Filesystem) -> None:
    connection = fs.execute_guardian()
    connection.socket.sendall(bytes(range(256)))
    assert connection.receive().error == errno.EBADMSG
    with pytest.raises(HungUp):
        connection.receive()


def test_message_in_pieces(fs: Filesystem) -> None:
    holder = fs.freeze()
    data = Message(
        HELLO,
        device_major=os.major(fs.device),
        device_minor=os.minor(fs.device),
        version=1,
    ).pack()
    connection = fs.connect_to(fs.socket)
    assert connection
    for position in range(0, len(data), 10):
        connection.socket.sendall(data[position : position + 10])
        time.sleep(0.001)
    assert connection.receive().error == 0
    assert holder.thaw() == 0


def test_half_messages_disturb_nobody(fs: Filesystem) -> None:
    holder = fs.freeze(60000)
    halves = []
    for length in (1, 8, 255):
        half = fs.find()
        half.socket.sendall(bytes(length))
        halves.append(half)
    assert holder.extend(60000) == 0
    assert holder.took < SOON
    halves.pop().close()
    assert holder.list()[2].error == 0
    assert holder.thaw() == 0


def test_many_requests_at_once(fs: Filesystem) -> None:
    """They are answered in their order."""
    connection = fs.reach()
    identity = new_id()
    requests = [Message(FREEZE, id=identity), Message(client.EXTEND, timeout_ms=9)]
    requests += [Message(client.STATUS)] * 50 + [Message(client.EXTEND)] * 50
    requests += [Message(client.THAW)]
    connection.socket.sendall(b"".join(request.pack() for request in requests))
    errors = [connection.receive_answer(client.RESULT).error for _ in requests]
    assert errors == [0] * len(requests)


def test_client_that_does_not_read(fs: Filesystem) -> None:
    holder = fs.freeze(60000)
    flood = fs.find()
    flood.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            flood.socket.send(Message(client.STATUS).pack() * 100)
    for _ in range(20):
        assert holder.extend(60000) == 0
        assert holder.took < SOON
    assert holder.thaw() == 0


def test_descriptors_from_later_clients_are_closed(fs: Filesystem) -> None:
    holder = fs.freeze()
    (pid,) = guardians(fs.directory)
    connection = fs.connect_to(fs.socket)
    assert connection
    before = len(os.listdir(f"/proc/{pid}/fd"))
    with open("/dev/null") as null:
        assert connection.hello(fs.device, null.fileno()).error == 0
        for _ in range(10):
            connection.send(Message(client.STATUS), null.fileno())
            connection.receive_answer(client.RESULT)
    assert len(os.listdir(f"/proc/{pid}/fd")) <= before + 1
    assert holder.thaw() == 0


def test_only_root_may_connect(fs: Filesystem) -> None:
    holder = fs.freeze()
    fs.directory.chmod(0o755)
    fs.socket.chmod(0o777)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setuid(65534)
        channel = socket.socket(socket.AF_UNIX)
        channel.settimeout(5)
        channel.connect(str(fs.socket))
        try:
            channel.sendall(Message(END_ALL).pack())
            answer = channel.recv(LAYOUT.size)
        except OSError:
            answer = b""
        os.write(writer, b"answered" if answer else b"refused")
        os._exit(0)
    os.wait()
    assert os.read(reader, 100) == b"refused"
    os.close(reader)
    os.close(writer)
    assert holder.thaw() == 0


def _status(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


def _has_capability(number: int) -> bool:
    return bool(int(_status("self")["CapEff"], 16) >> number & 1)


def test_guardian_is_detached(fs: Filesystem) -> None:
    holder = fs.freeze()
    (pid,) = guardians(fs.directory)
    status = _status(pid)
    assert int(status["SigBlk"], 16) & 0x7FFF == 0x7FFF & ~(1 << 8)
    assert int(status["VmLck"].split()[0]) > 0
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) not in (0, os.getsid(0))
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert links.count("/dev/null") == 3
    assert links.count(str(fs.path)) == 1
    if _has_capability(CAP_SYS_RESOURCE):
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "-1000\n"
    assert "0::/\n" in Path(f"/proc/{pid}/cgroup").read_text()
    assert holder.thaw() == 0


def test_connection_survives_its_thaw(fs: Filesystem) -> None:
    first, second = fs.freeze(), fs.freeze()
    assert first.thaw() == 0
    assert first.thaw() == errno.EBADMSG
    assert len(first.list()[1]) == 1
    assert second.thaw() == 0
    idle = Connection(first.socket)
    with pytest.raises(HungUp):
        idle.receive()


def test_idle_client_is_sent_away(fs: Filesystem) -> None:
    holder = fs.freeze()
    idle = fs.find()
    assert holder.thaw() == 0
    assert idle.receive().error == errno.EAGAIN
    with pytest.raises(HungUp):
        idle.receive()
