# SPDX-License-Identifier: LGPL-2.1-or-later
"""dmsetup(8). S: dmsetup suspend, R: dmsetup resume, F: fsfreeze -f, T: fsfreeze -u."""

import pytest

from tests.compat.test_fsfreeze import INVALID
from tests.compat.volume import LogicalVolume, Snapshot
from tests.support.process import refused, succeeds


@pytest.mark.fails_on_stock
@pytest.mark.usefixtures("dm_freezes")
def test_dmsetup_case_a(volume: LogicalVolume) -> None:
    """S F T R"""
    volume.suspend()
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.path)
    succeeds("fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    volume.resume()
    volume.thawed(writer)
    volume.suspend_still_freezes()


@pytest.mark.fails_on_stock_6_1
def test_dmsetup_case_b(volume: LogicalVolume) -> None:
    """F S R T"""
    succeeds("fsfreeze", "-f", volume.path)
    writer = volume.frozen()
    volume.suspend()
    volume.resume()
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.path)
    volume.thawed(writer)


@pytest.mark.fails_on_stock
@pytest.mark.usefixtures("dm_freezes")
def test_dmsetup_case_c(volume: LogicalVolume) -> None:
    """S F T T: the second T is refused at once"""
    volume.suspend()
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.path)
    succeeds("fsfreeze", "-u", volume.path)
    refused(INVALID, "fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    volume.resume()
    volume.thawed(writer)
    volume.suspend_still_freezes()


@pytest.mark.fails_on_stock
@pytest.mark.usefixtures("dm_freezes")
def test_dmsetup_stray_thaw(volume: LogicalVolume) -> None:
    """S T R: T is refused, and a later lvcreate -s still freezes the filesystem"""
    volume.suspend()
    writer = volume.frozen()
    refused(INVALID, "fsfreeze", "-u", volume.path)
    volume.still_frozen(writer)
    volume.resume()
    volume.thawed(writer)
    volume.suspend_still_freezes()
    volume.dirty()
    digest = volume.digest()
    with Snapshot(volume) as snapshot:
        snapshot.create()
        snapshot.has(digest)
        snapshot.remove()
