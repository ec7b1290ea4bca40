# SPDX-License-Identifier: LGPL-2.1-or-later
"""fsfreeze(8) and xfs_freeze(8). F: fsfreeze -f, T: fsfreeze -u."""

import time

import pytest

from tests.compat.conftest import Sysctl
from tests.compat.volume import LogicalVolume
from tests.support.process import refused, succeeds

INVALID = "Invalid argument"
BUSY = "Device or resource busy"


def test_fsfreeze_freeze_and_thaw(volume: LogicalVolume) -> None:
    """F T, each by another process"""
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)
    refused(INVALID, "fsfreeze", "-u", volume.path)


@pytest.mark.fails_on_stock
def test_fsfreeze_nests(volume: LogicalVolume) -> None:
    """F F T T: frozen until the second T; a third is refused"""
    succeeds("fsfreeze", "-f", volume.path)
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    succeeds("fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)
    refused(INVALID, "fsfreeze", "-u", volume.path)


def test_fsfreeze_freeze_nest_0(volume: LogicalVolume, sysctl: Sysctl) -> None:
    """With fs.freeze_nest=0, the second F is refused as busy, and one T is enough."""
    sysctl("freeze_nest", 0)
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    refused(BUSY, "fsfreeze", "-f", volume.path)
    refused(BUSY, "xfs_freeze", "-f", volume.path)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)
    refused(INVALID, "fsfreeze", "-u", volume.path)


def test_xfs_freeze_freeze_and_thaw(volume: LogicalVolume) -> None:
    """xfs_freeze -f and -u, and fsfreeze -u after xfs_freeze -f"""
    for thaw in "xfs_freeze", "fsfreeze":
        succeeds("xfs_freeze", "-f", volume.path)
        writer = volume.frozen()
        succeeds(thaw, "-u", volume.path)
        volume.thawed(writer)


@pytest.mark.fails_on_stock
def test_xfs_freeze_nests(volume: LogicalVolume) -> None:
    """xfs_freeze -f after F: frozen until both have thawed"""
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    succeeds("xfs_freeze", "-f", volume.path)
    succeeds("xfs_freeze", "-u", volume.path)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)


def test_xfs_freeze_has_no_timeout(volume: LogicalVolume, sysctl: Sysctl) -> None:
    """xfs_freeze's argument is not a timeout, not even with fs.freeze_timeout_arg=1."""
    sysctl("freeze_timeout_arg", 1)
    succeeds("xfs_freeze", "-f", volume.path)
    writer = volume.frozen()
    time.sleep(3)
    volume.still_frozen(writer)
    succeeds("xfs_freeze", "-u", volume.path)
    volume.thawed(writer)
