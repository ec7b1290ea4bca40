# SPDX-License-Identifier: LGPL-2.1-or-later
"""The entries in the systemd journal, whose socket the test provides."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freezectl.freezectl import Freezectl
from tests.support.process import must, run
from tests.support.volumes import Volume

DIRECTORY = Path("/run/systemd/journal")

Entry = dict[str, bytes]


class Journal:
    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(os.fspath(DIRECTORY / "socket"))
        self.socket.setblocking(False)

    def entries(self) -> list[Entry]:
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.parse(self.socket.recv(1 << 20)))
        return found

    @staticmethod
    def parse(datagram: bytes) -> Entry:
        """The form of the native protocol that has the length of each value."""
        entry = {}
        while datagram:
            name, _, rest = datagram.partition(b"\n")
            size = int.from_bytes(rest[:8], "little")
            entry[name.decode()] = rest[8 : 8 + size]
            assert rest[8 + size : 9 + size] == b"\n", rest
            datagram = rest[9 + size :]
        return entry

    def fill(self) -> None:
        """Until a message would have to wait."""
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"x", os.fspath(DIRECTORY / "socket"))


@pytest.fixture
def journal(own_mounts: None) -> Iterator[Journal]:
    made = not DIRECTORY.exists()
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    must("mount", "-t", "tmpfs", "journal", DIRECTORY)
    journal = Journal()
    try:
        yield journal
    finally:
        journal.socket.close()
        run("umount", DIRECTORY)
        if made:
            DIRECTORY.rmdir()


def test_each_freeze_and_thaw_is_in_the_journal(
    tool: Freezectl, ext4: Volume, journal: Journal
) -> None:
    path = ext4.mountpoint
    began = time.time()
    tool("run", path, "--", "sleep", "0.5").expect(0)
    frozen, thawed = journal.entries()
    assert frozen["LIBFREEZE_OPERATION"] == b"freeze", frozen
    assert thawed["LIBFREEZE_OPERATION"] == b"thaw", thawed
    for entry in (frozen, thawed):
        assert entry["SYSLOG_IDENTIFIER"] == b"freezectl" and entry["PRIORITY"] == b"6", entry
        assert entry["LIBFREEZE_RESULT"] == b"done" and path in entry["MESSAGE"], entry
        assert entry["LIBFREEZE_PATHS"] == path and entry["LIBFREEZE_DEVICES"], entry
        assert len(entry["LIBFREEZE_ID"]) == 16 and len(entry["MESSAGE_ID"]) == 32, entry
    assert frozen["LIBFREEZE_ID"] == thawed["LIBFREEZE_ID"]
    times = [int(entry["LIBFREEZE_TIME_USEC"]) / 1e6 for entry in (frozen, thawed)]
    assert began <= times[0] <= times[1] - 0.4 <= time.time(), times


def test_kept_holds_and_failures_are_in_the_journal(
    tool: Freezectl, ext4: Volume, journal: Journal
) -> None:
    path = ext4.mountpoint
    identifier = tool.freeze(path)
    tool("thaw", path).expect(0)
    tool("thaw", "--id", identifier).expect(1)
    tool("freeze", "/none").expect(1)
    tool("run", path, "--", "fsfreeze", "-u", path).expect(123)
    found = [
        (entry["LIBFREEZE_OPERATION"], entry["LIBFREEZE_RESULT"]) for entry in journal.entries()
    ]
    assert found == [
        (b"freeze", b"done"),
        (b"thaw", b"done"),
        (b"thaw", b"failed"),
        (b"freeze", b"failed"),
        (b"freeze", b"done"),
        (b"thaw", b"expired"),
    ], found


def test_a_journal_that_does_not_read_holds_up_nothing(
    tool: Freezectl, ext4: Volume, journal: Journal
) -> None:
    journal.fill()
    identifier = tool.freeze(ext4.mountpoint, deadline=10)
    tool("thaw", "--id", identifier, deadline=10).expect(0)
    tool("run", ext4.mountpoint, "--", "true", deadline=10).expect(0)
