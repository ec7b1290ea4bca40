# SPDX-License-Identifier: LGPL-2.1-or-later
"""freezectl status and probe."""

import json
import os
import re
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.freezectl.freezectl import FROZEN, LONG_TIMEOUT, SOURCE, Freezectl, SlowKernel
from tests.support.process import must, run, wait_until
from tests.support.volumes import (
    DeviceMapper,
    Volume,
    has_descriptors,
    has_device_mapper,
    has_timeouts,
)

DEFAULT = "MOUNTPOINT FSTYPE STATE ID HOLDER COMMAND PID AGE LEFT COMMENT".split()


def test_status_reports_what_is_known(tool: Freezectl, ext4: Volume, xfs: Volume) -> None:
    for volume in (ext4, xfs):
        path = os.fspath(volume.path)
        facts = tool("status", "--json", path).expect(0, out=None).filesystem
        number = Path("/sys/class/block", Path(volume.device).name, "dev").read_text().strip()
        expected = {
            "path": path,
            "mountpoint": path,
            "source": volume.device,
            "type": volume.kind,
            "device": number,
            "freezable": True,
            "holds": [],
            "suspended": False,
        }
        assert expected.items() <= facts.items(), facts
        assert facts["state"] in ("unknown", "unfrozen"), facts
        lines = tool("status", path).expect(0, out=None).text.splitlines()
        assert lines[0].split() == DEFAULT and len(lines) == 2, lines
        assert lines[1].split()[:3] == [path, volume.kind, facts["state"]], lines
    assert tool("status", "--json", "/proc").filesystem["freezable"] is False
    report = tool("status", "--json", "/none", "/proc").expect(1, "'/none'", out=None).report
    assert len(report["filesystems"]) == 1 and "'/none'" in report["errors"][0]


def test_status_shows_every_hold(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    kept = tool.freeze("-t", "60s", path)
    words = ("run", "--comment", "second", "-t", "0", path, "--", "sh", "-c", "echo; sleep 60")
    process = tool.start(*words)
    assert process.stdout
    process.stdout.readline()
    facts = tool("status", "--json", path).expect(FROZEN, out=None).filesystem
    assert facts["state"] == "frozen" and facts["frozen_seconds"] >= 0, facts
    holds = {hold["kept"]: hold for hold in facts["holds"]}
    assert holds[True]["id"] == kept and holds[True]["exited"], holds
    assert 50 < holds[True]["left_seconds"] <= 60, holds
    assert holds[False]["pid"] == process.pid and holds[False]["left_seconds"] is None, holds
    assert holds[False]["command"] == "freezectl" and holds[False]["comment"] == "second", holds
    rows = tool("status", path).expect(FROZEN, out=None).text.splitlines()[1:]
    assert len(rows) == 2, rows
    ours = next(row.split() for row in rows if str(process.pid) in row)
    assert ours[:3] == [os.fspath(ext4.path), "ext4", "frozen"], ours
    assert ours[4:7] == ["running", "freezectl", str(process.pid)] and ours[8:] == ["-", "second"]
    text = tool("status", "-n", "-o", "ID,HOLDER", path).expect(FROZEN, out=None).text
    assert f"{kept} kept\n" in text, text
    process.terminate()
    tool.finish(process, words)
    tool("thaw", path).expect(0)
    tool("status", path).expect(0, out=None)


def test_status_has_all_columns(tool: Freezectl, ext4: Volume) -> None:
    found = re.search(r"The columns:\s+([A-Z,:\s-]+)", tool("status", "--help").text)
    assert found
    columns = re.sub(r"\s", "", found[1]).rstrip("-").split(",")
    assert {*DEFAULT} < {*columns}, columns
    for column in columns:
        lines = tool("status", f"--output={column}", ext4.mountpoint).text.splitlines()
        assert lines[0].strip() == column and len(lines) == 2, (column, lines)
    path = os.fsdecode(ext4.mountpoint)
    text = tool("status", "--noheadings", "--output", "PATH,SOURCE", path).text
    assert text.split() == [path, ext4.device], text
    bash = (SOURCE / "completions/freezectl.bash").read_text()
    zsh = (SOURCE / "completions/_freezectl").read_text().replace("\\\\:", ":")
    for column in columns:
        assert f" {column} " in re.sub(r"[\s\"\\]+", " ", bash), column
        assert f" {column} " in re.sub(r"\s+", " ", zsh), column


def test_status_without_a_path_reports_all_that_can_be_frozen(
    tool: Freezectl, ext4: Volume, xfs: Volume
) -> None:
    report = tool("status", "--json").report
    found = {facts["mountpoint"]: facts["freezable"] for facts in report["filesystems"]}
    for volume in (ext4, xfs):
        assert found[os.fspath(volume.path)] is True, found
    assert False not in found.values() and "/proc" not in found, found
    assert os.fspath(xfs.path) in tool("status").text
    only = tool("status", "--json", "-T", "xfs").report["filesystems"]
    assert {facts["type"] for facts in only} == {"xfs"}, only
    rest = tool("status", "--json", "--types=ext4,xfs", "-x", xfs.mountpoint).report["filesystems"]
    sources = {facts["source"] for facts in rest}
    assert ext4.device in sources and xfs.device not in sources, rest
    assert tool("status", "--json", "--exclude", ext4.mountpoint).status in (0, FROZEN)


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
    tool("status", "--json", ext4.mountpoint, deadline=10)
    tool("status", deadline=10)
    assert ext4.thaw()


def test_watch_prints_again(tool: Freezectl, ext4: Volume, work: Path) -> None:
    file = work / "watched"
    for words, mark in (
        (("status", "--watch"), b"MOUNTPOINT"),
        (("status", "--watch", "--json"), b"frozen_seconds"),
    ):
        with file.open("wb") as out:
            process = tool.start(*words, ext4.mountpoint, stdout=out)
        assert wait_until(partial(contains_twice, file, mark), LONG_TIMEOUT)
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG_TIMEOUT) == -signal.SIGINT
        tool.record(words, 0)
        if "--json" in words:
            tool.check_report(json.loads(file.read_text().splitlines()[0]))


def contains_twice(file: Path, text: bytes) -> bool:
    return file.read_bytes().count(text) >= 2


def test_status_reports_other_mounts(tool: Freezectl, ext4: Volume, work: Path) -> None:
    other = work / "bind"
    other.mkdir()
    must("mount", "--bind", ext4.path, other)
    try:
        facts = tool("status", "--json", other).filesystem
        assert facts["mountpoint"] == os.fspath(other), facts
        others = [entry["mountpoint"] for entry in facts["other_mountpoints"]]
        assert others == [os.fspath(ext4.path)], facts
        text = tool("status", "-n", "-o", "OTHERS", other).text
        assert text == f"{ext4.path}\n", text
    finally:
        run("umount", other)


def test_status_reports_the_stack(tool: Freezectl, ext4: Volume, upper: Volume) -> None:
    facts = tool("status", "--json", upper.mountpoint).filesystem
    mountpoints = [entry["mountpoint"] for entry in facts["stacked_on"]]
    assert os.fspath(ext4.path) in mountpoints and facts["stack_complete"], facts
    text = tool("status", "-n", "-o", "STACKED-ON", upper.mountpoint).text
    assert os.fspath(ext4.path) in text.strip().split(","), text


def test_status_reports_dirty_data_or_that_it_is_unknown(tool: Freezectl, ext4: Volume) -> None:
    debugfs = "/sys/kernel/debug"
    run("umount", debugfs)
    path = ext4.mountpoint
    facts = tool("status", "--json", path).filesystem
    assert facts["dirty_bytes"] is None and "debugfs" in facts["dirty_source"], facts
    assert tool("status", "-n", "-o", "DIRTY", path).text == "unknown\n"
    if run("mount", "-t", "debugfs", "debugfs", debugfs).status:
        pytest.skip("this kernel has no debugfs")
    # ext4 writes out a file that replaces another, so this one must be new.
    (ext4.path / "dirty").open("xb").write(b"x" * (2 << 20))
    facts = tool("status", "--json", path).filesystem
    assert facts["dirty_bytes"] >= 1 << 20, facts
    assert facts["dirty_source"] == f"{debugfs}/bdi/{facts['device']}/stats", facts
    assert "MiB\n" in tool("status", "-n", "-o", "DIRTY", path).text


@pytest.mark.kernel
def test_status_reports_a_suspended_device(tool: Freezectl, ext4: Volume, work: Path) -> None:
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
        assert facts["suspended"], facts
        if not has_timeouts():  # with them, a thaw ends that freeze and waits for the resume
            tool("thaw", directory, deadline=10).expect(1, "cannot thaw", "resume the device")
        assert dm.resume().status == 0
        assert not tool("status", "--json", directory).filesystem["suspended"]
    finally:
        if dm:
            dm.resume()
            run("umount", directory)
            dm.remove()
        run("mkfs.ext4", "-q", "-F", ext4.device)
        ext4.mount(b"volume")


@pytest.mark.kernel
def test_probe_reports_what_the_kernel_offers(tool: Freezectl, ext4: Volume) -> None:
    report = tool("probe", "--json").expect(0, out=None).report
    assert report["kernel_timeouts"] == has_timeouts(), report
    assert report["descriptors"] == report["gives_up"] == report["status"], report
    assert report["descriptors"] == has_descriptors(), report
    assert report["guardian_survives"] is True and report["host_guardian"] is False, report
    answer = "yes" if has_timeouts() else "no"
    text = tool("probe", ext4.mountpoint).expect(0, out=None).text
    assert f"freeze timeouts: {answer}\n" in text and text.count("\n") == 6, text
    answer = "yes" if has_descriptors() else "no"
    assert f"freeze descriptors: {answer}\n" in text, text
    assert f"gives a freeze up in time: {answer}\n" in text, text
    report = tool("probe", "--json", "/none").expect(1, out=None).report
    assert "'/none'" in report["errors"][0], report
