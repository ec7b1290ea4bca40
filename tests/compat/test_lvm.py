# SPDX-License-Identifier: LGPL-2.1-or-later
"""lvcreate(8) and lvremove(8). F: fsfreeze -f."""

import pytest

from tests.compat.guest_agent import GuestAgent
from tests.compat.volume import LogicalVolume, Snapshot
from tests.support.process import succeeds


@pytest.mark.fails_on_stock_6_1
def test_lvm_snapshot_of_a_frozen(volume: LogicalVolume) -> None:
    """F, lvcreate -s: still frozen; the snapshot has what was frozen."""
    volume.dirty()
    succeeds("fsfreeze", "-f", volume.path)
    digest = volume.digest()
    writer = volume.frozen()
    with Snapshot(volume) as snapshot:
        snapshot.create()
        volume.still_frozen(writer)
        succeeds("fsfreeze", "-u", volume.path)
        volume.thawed(writer)
        snapshot.has(digest)
        snapshot.remove()


@pytest.mark.fails_on_stock_6_1
def test_lvm_removal_under_a_freeze(volume: LogicalVolume) -> None:
    """lvcreate -s, F, lvremove: still frozen, and after another lvcreate -s, too."""
    with Snapshot(volume) as snapshot:
        snapshot.create()
        volume.dirty()
        succeeds("fsfreeze", "-f", volume.path)
        digest = volume.digest()
        writer = volume.frozen()
        snapshot.remove()
        volume.still_frozen(writer)
        snapshot.create()
        volume.still_frozen(writer)
        succeeds("fsfreeze", "-u", volume.path)
        volume.thawed(writer)
        snapshot.has(digest)
        snapshot.remove()


@pytest.mark.fails_on_stock
def test_lvm_snapshot_of_the_agents(volume: LogicalVolume, agent: GuestAgent) -> None:
    """F, the agent freezes, lvcreate -s, the agent thaws: a second snapshot has the same."""
    volume.dirty()
    succeeds("fsfreeze", "-f", volume.path)
    digest = volume.digest()
    writer = volume.frozen()
    with Snapshot(volume) as snapshot:
        assert agent.freeze(volume.path) == 1
        snapshot.create()
        assert agent.thaw() == 1
        snapshot.remove()
        volume.still_frozen(writer)
        snapshot.create()
        succeeds("fsfreeze", "-u", volume.path)
        volume.thawed(writer)
        snapshot.has(digest)
        snapshot.remove()
