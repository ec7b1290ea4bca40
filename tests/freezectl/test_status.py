# SPDX-License-Identifier: LGPL-2.1-or-later
"""freezectl status and probe."""

import os
from pathlib import Path

import pytest

from tests.freezectl.freezectl import Freezectl, SlowKernel
from tests.support.process import must, run
from tests.support.volumes import DeviceMapper, Volume, has_device_mapper


def test_status_reports_what_can_be_known(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    for volume in (ext4, xfs):
        path = os.fspath(volume.path)
        facts = tool("status", "--json", path).filesystem
        number = Path("/sys/class/block", Path(volume.device).name, "dev").read_text().strip()
        expected = {
            "mountpoint": path,
            "source": volume.device,
            "type": volume.kind,
            "device": number,
            "freezable": "yes",
            "frozen": "unknown",
            "frozen_by": None,
            "suspended": False,
        }
        assert expected.items() <= facts.items(), facts
        text = tool("status", path).text
        for line in (
            f"'{path}'\n",
            f"'{volume.device}' ({number})",
            f"type        {volume.kind}\n",
            "freezable   yes (",
            "frozen      unknown (the kernel does not tell)",
        ):
            assert line in text, text
    facts = tool("status", "--json", "/proc").filesystem
    assert (facts["freezable"], facts["frozen"]) == ("no", "no"), facts
    report = tool("status", "--json", "/none", "/proc").expect(1, out=None).report
    assert len(report["filesystems"]) == 1 and "check the path" in report["errors"][0]


def test_status_without_a_path_reports_all_that_can_be_frozen(
    tool: Freezectl, ext4: Volume, xfs: Volume
) -> None:
    report = tool("status", "--json").report
    found = {facts["mountpoint"]: facts["freezable"] for facts in report["filesystems"]}
    for volume in (ext4, xfs):
        assert found[os.fspath(volume.path)] == "yes", found
    assert "no" not in found.values() and "/proc" not in found, found
    assert report["dirty_bytes_of_machine"] >= 0
    assert f"'{xfs.path}'\n" in tool("status").text


def test_status_freezes_nothing_and_never_blocks(
    tool: Freezectl, ext4: Volume, work: Path, slow_kernel: SlowKernel
) -> None:
    gate = work / "no gate"
    for step in ("freeze", "syncfs"):
        environment = slow_kernel(step=step, gate=gate)
        tool("status", ext4.mountpoint, env=environment)
        tool("status", env=environment)
        tool("probe", ext4.mountpoint, env=environment)
        assert not gate.exists(), f"it reached {step}"
    ext4.freeze()
    tool("status", "--json", ext4.mountpoint, deadline=10).expect(0, out=None)
    tool("status", deadline=10).expect(0, out=None)
    assert ext4.thaw()


def test_status_reports_other_mounts(tool: Freezectl, ext4: Volume, work: Path) -> None:
    other = work / "bind"
    other.mkdir()
    must("mount", "--bind", ext4.path, other)
    try:
        facts = tool("status", "--json", other).filesystem
        assert facts["mountpoint"] == os.fspath(other), facts
        others = [entry["mountpoint"] for entry in facts["other_mountpoints"]]
        assert others == [os.fspath(ext4.path)], facts
        assert f"also at     '{ext4.path}'" in tool("status", other).text
    finally:
        run("umount", other)


def test_status_reports_dirty_data_or_that_it_is_unknown(tool: Freezectl, ext4: Volume) -> None:
    debugfs = "/sys/kernel/debug"
    run("umount", debugfs)
    path = ext4.mountpoint
    facts = tool("status", "--json", path).filesystem
    assert facts["dirty_bytes"] is None and "mount debugfs" in facts["dirty_because"], facts
    assert "dirty       unknown (" in tool("status", path).text
    if run("mount", "-t", "debugfs", "debugfs", debugfs).status:
        pytest.skip("this kernel has no debugfs")
    # ext4 writes out a file that replaces another, so this one must be new.
    (ext4.path / "dirty").open("xb").write(b"x" * (2 << 20))
    facts = tool("status", "--json", path).filesystem
    assert facts["dirty_bytes"] >= 1 << 20, facts
    assert facts["dirty_because"] == f"{debugfs}/bdi/{facts['device']}/stats", facts
    assert "KiB on its device" in tool("status", path).text


@pytest.mark.kernel
def test_status_reports_a_suspended_device(
    tool: Freezectl, ext4: Volume, work: Path, has_timeouts: bool
) -> None:
    if not has_device_mapper():
        pytest.skip("this kernel has no device-mapper")
    ext4.unmount()
    directory = work / "dm"
    directory.mkdir()
    dm = None
    try:
        dm = DeviceMapper(f"freezectl-test-{os.getpid()}", f"0 20000 linear {ext4.device} 0")
        must("mkfs.ext4", "-q", "-F", dm.device)
        must("mount", dm.device, directory)
        assert dm.suspend().status == 0
        facts = tool("status", "--json", directory, deadline=10).filesystem
        assert facts["suspended"] and "device-mapper" in facts["frozen_because"], facts
        if not has_timeouts:  # with them, a thaw ends that freeze and waits for the resume
            tool("thaw", directory, deadline=10).expect(1, "cannot thaw", "resume it first")
        assert dm.resume().status == 0
        facts = tool("status", "--json", directory).filesystem
        assert not facts["suspended"], facts
    finally:
        if dm:
            dm.resume()
            run("umount", directory)
            dm.remove()
        run("mkfs.ext4", "-q", "-F", ext4.device)
        ext4.mount(b"volume")


@pytest.mark.kernel
def test_probe_reports_what_the_kernel_offers(
    tool: Freezectl, ext4: Volume, slow_kernel: SlowKernel, has_timeouts: bool
) -> None:
    report = tool("probe", "--json").expect(0, out=None).report
    assert report["timeout"] == has_timeouts, report
    assert has_timeouts or not report["nest"], report
    answer = "yes" if has_timeouts else "no"
    assert f"timeouts: {answer}\n" in tool("probe", ext4.mountpoint).text
    assert tool("probe", "--json", env=slow_kernel(timeouts=True)).report["timeout"] is True
    report = tool("probe", "--json", "/none").expect(1, out=None).report
    assert "check the path" in report["errors"][0]
