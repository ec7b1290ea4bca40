# SPDX-License-Identifier: LGPL-2.1-or-later
"""qemu-ga(8). F: fsfreeze -f, T: fsfreeze -u."""

from pathlib import Path

import pytest

from tests.compat.guest_agent import GuestAgent
from tests.compat.volume import LogicalVolume
from tests.support.process import SetupFailed, succeeds


def test_guest_agent_freeze_and_thaw(volume: LogicalVolume, agent: GuestAgent) -> None:
    assert agent.status() == "thawed"
    assert agent.freeze(volume.path) == 1
    assert agent.status() == "frozen"
    writer = volume.frozen()
    assert agent.thaw() == 1
    assert agent.status() == "thawed"
    volume.thawed(writer)


def only_mounted(volume: LogicalVolume) -> None:
    """The agent would also freeze what the test runs on."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        kind = words[words.index("-") + 1]
        if (not words[2].startswith("0:") or kind == "btrfs") and words[4] != str(volume.path):
            raise SetupFailed(f"the agent would freeze {words[4]}, too")


@pytest.mark.fails_on_stock
def test_guest_agent_freezes_everything(volume: LogicalVolume, agent: GuestAgent) -> None:
    """The agent freezes all filesystems, F T: frozen until the agent's thaw."""
    only_mounted(volume)
    assert agent.freeze_all() == 1
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.path)
    assert agent.status() == "frozen"
    succeeds("fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    assert agent.thaw() == 1
    volume.thawed(writer)


@pytest.mark.fails_on_stock
def test_guest_agent_under_another(volume: LogicalVolume, agent: GuestAgent) -> None:
    """F, the agent freezes and thaws until that fails: F's freeze is still there."""
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    assert agent.freeze(volume.path) == 1
    assert agent.thaw() == 1
    volume.still_frozen(writer)
    assert agent.thaw() == 0
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)


@pytest.mark.fails_on_stock
def test_guest_agent_above_another(volume: LogicalVolume, agent: GuestAgent) -> None:
    """The agent freezes, F, the agent thaws until that fails: F's freeze is still there."""
    assert agent.freeze(volume.path) == 1
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.path)
    assert agent.thaw() == 1
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)


@pytest.mark.fails_on_stock
def test_guest_agent_keeps_its_own(volume: LogicalVolume, agent: GuestAgent) -> None:
    """F T while the agent holds a freeze: frozen until the agent's thaw."""
    assert agent.freeze(volume.path) == 1
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.path)
    succeeds("fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    assert agent.thaw() == 1
    volume.thawed(writer)


@pytest.mark.fails_on_stock
def test_guest_agent_two_of_them(volume: LogicalVolume, agent: GuestAgent) -> None:
    """Two agents: frozen until both have thawed."""
    with GuestAgent() as second:
        assert agent.freeze(volume.path) == 1
        writer = volume.frozen()
        assert second.freeze(volume.path) == 1
        assert agent.thaw() == 1
        volume.still_frozen(writer)
        assert second.thaw() == 1
        volume.thawed(writer)
