# SPDX-License-Identifier: LGPL-2.1-or-later
"""freezectl freeze, thaw and extend."""

import os
import time

import pytest

from tests.conftest import unavailable
from tests.freezectl.freezectl import Freezectl, SlowKernel, Volumes
from tests.support.process import must, run, wait_until
from tests.support.volumes import MIB, Volume, make_loop, thaw_all


def test_freeze_and_thaw_work_like_fsfreeze(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    for volume in (ext4, xfs):
        path = volume.mountpoint
        tool("freeze", path).expect(0)
        assert volume.is_frozen()
        tool("thaw", path).expect(0)
        assert not volume.is_frozen()
        tool("thaw", path).expect(1, "cannot thaw", "it is not frozen")
        tool("freeze", path).expect(0)
        must("fsfreeze", "-u", path)
        must("fsfreeze", "-f", path)
        tool("thaw", path).expect(0)
    assert not ext4.is_frozen() and not xfs.is_frozen()
    tool("thaw", "/none").expect(1, "cannot thaw '/none': check the path")
    tool("freeze", "/proc").expect(1, "cannot freeze '/proc'")


def test_freeze_is_all_or_none(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    paths = (ext4.mountpoint, xfs.mountpoint)
    tool("freeze", *paths, "/proc").expect(1, "cannot freeze '/proc'")
    assert not ext4.is_frozen() and not xfs.is_frozen()
    report = tool("freeze", "--json", *paths, paths[0]).report
    assert report["exit_status"] == 0 and len(report["filesystems"]) == 2, report
    assert ext4.is_frozen() and xfs.is_frozen()
    report = tool("thaw", "--json", "/proc", *paths, paths[0]).expect(1, out=None).report
    assert len(report["filesystems"]) == 2 and len(report["errors"]) == 1, report
    assert not ext4.is_frozen() and not xfs.is_frozen()


def test_stacked_filesystems_are_frozen_and_thawed_in_order(
    tool: Freezectl, volumes: Volumes
) -> None:
    below = Volume(volumes.work, "ext4")
    image = below.path / "above.img"
    above = volumes.work / "above"
    above.mkdir()
    device = ""
    try:
        device = make_loop(image, 16 * MIB)
        must("mkfs.ext4", "-q", device)
        must("mount", "-t", "ext4", device, above)
        for order in ((above, below.path), (below.path, above)):
            error = tool("freeze", "-v", *order).expect(0, "frozen").err
            assert error.find(b"above'") < error.find(b"volume'"), error
            error = tool("thaw", "-v", *order).expect(0, "thawed").err
            assert error.find(b"volume'") < error.find(b"above'"), error
        status = tool("status", "--json", above).filesystem
        mountpoints = [entry["mountpoint"] for entry in status["stacked_on"]]
        assert os.fspath(below.path) in mountpoints and status["stack_complete"], status
        assert f"'{below.path}'" in tool("status", above).text
    finally:
        below.thaw()
        thaw_all(above)
        run("umount", above)
        run("losetup", "-d", device)
        below.destroy()


@pytest.mark.kernel
def test_extend_moves_the_deadline(
    tool: Freezectl, ext4: Volume, slow_kernel: SlowKernel, has_timeouts: bool
) -> None:
    path = ext4.mountpoint
    environment = slow_kernel(timeouts=True)
    tool("freeze", "-t", "2s", path, env=environment).expect(0)
    result = tool("extend", "-t", "90", "-v", path, env=environment)
    result.expect(0, "frozen for another 1 min 30 s: '")
    assert slow_kernel.resets[-1] == "90"
    report = tool("extend", "--timeout=1h", "--json", path, env=environment).report
    assert report["exit_status"] == 0 and report["filesystems"][0]["type"] == "ext4", report
    assert slow_kernel.resets[-1] == "3600"
    assert ext4.thaw()
    text = "there is no freeze to take over" if has_timeouts else "no freeze timeout"
    tool("extend", "-t", "30s", path).expect(1, text)
    assert not ext4.is_frozen()


@pytest.mark.kernel
def test_extend_and_expiry_by_the_kernel(tool: Freezectl, ext4: Volume, has_timeouts: bool) -> None:
    if not has_timeouts:
        unavailable("this kernel has no freeze timeouts")
    path = ext4.mountpoint
    tool("freeze", "-t", "4s", path).expect(0)
    frozen = time.monotonic()
    tool("extend", "-t", "8s", path).expect(0)
    time.sleep(max(0, frozen + 4.5 - time.monotonic()))
    assert ext4.is_frozen(), "not extended"
    assert wait_until(lambda: not ext4.is_frozen(), 8), "never expired"
    tool("thaw", path).expect(1, "it is not frozen")
