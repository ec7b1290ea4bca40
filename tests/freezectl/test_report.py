# SPDX-License-Identifier: LGPL-2.1-or-later
"""The report of --report."""

import json
import os
from pathlib import Path

from tests.freezectl.freezectl import Freezectl
from tests.support.volumes import Volume


def test_the_report_is_separate_from_the_output(tool: Freezectl, ext4: Volume, work: Path) -> None:
    file = work / "report.json"
    file.write_text("old" * 1000)
    words = ("run", "--report", file, ext4.mountpoint, "--")
    tool(*words, "sh", "-c", "echo output; exit 4").expect(4, out=b"output\n")
    report = json.loads(file.read_text())
    tool.check_report(report)
    assert report["ending"] == {"exit_status": 4, "signal": None}, report
    tool(*words, "/none").expect(127)
    assert json.loads(file.read_text())["errors"], file.read_text()
    identifier = tool.freeze(f"--report={file}", ext4.mountpoint)
    report = json.loads(file.read_text())
    tool.check_report(report)
    assert report["id"] == identifier, report
    tool("thaw", "--id", identifier).expect(0)
    tool("freeze", "--report", file, "/none").expect(1)
    tool.check_report(json.loads(file.read_text()))


def test_the_report_can_go_to_a_descriptor(tool: Freezectl, ext4: Volume, work: Path) -> None:
    file = work / "descriptor.json"
    script = "test ! -e /proc/self/fd/9; echo $? >&2"
    shell = ("sh", "-c", f'exec "$0" "$@" 9>{file}')
    words = ("run", "--report=9", ext4.mountpoint, "--", "sh", "-c", script)
    tool(*words, under=shell).expect(0, "0\n")
    tool.check_report(json.loads(file.read_text()))
    tool("run", "--report=77", ext4.mountpoint, "--", "true").expect(125, "'77'")
    with open("/dev/null", "rb") as reading:
        tool("freeze", "--report=0", ext4.mountpoint, stdin=reading).expect(1, "'0'")


def test_a_report_on_a_frozen_filesystem_is_refused(
    tool: Freezectl, ext4: Volume, upper: Volume, work: Path
) -> None:
    """Also if it is on a filesystem that is stacked on a frozen one."""
    existing = ext4.path / "existing"
    existing.write_text("content")
    link = work / "link"
    link.symlink_to(existing)
    for file in (ext4.path / "new", upper.path / "new", link, existing):
        for words, status in ((("run",), 125), (("freeze",), 1)):
            rest = ("--", "true") if words == ("run",) else ()
            result = tool(*words, "--report", file, ext4.mountpoint, *rest)
            result.expect(status, "on a frozen filesystem")
            assert not ext4.is_frozen()
        assert file.exists() == (file.name != "new"), file
    assert existing.read_text() == "content"
    link.unlink()
    link.symlink_to(ext4.path / "new")
    tool("freeze", "--report", link, ext4.mountpoint).expect(1, f"'{link}'")
    assert not link.exists()
    shell = ("sh", "-c", 'exec "$0" "$@" 9>"$FILE"')
    environment = {"FILE": os.fspath(ext4.path / "descriptor")}
    result = tool("freeze", "--report=9", ext4.mountpoint, under=shell, env=environment)
    result.expect(1, "on a frozen filesystem")
    tool("run", "--report", "/none/x", ext4.mountpoint, "--", "true").expect(125, "'/none/x'")


def test_a_report_on_a_filesystem_that_is_frozen_already_is_refused(
    tool: Freezectl, ext4: Volume, xfs: Volume
) -> None:
    tool.freeze(xfs.mountpoint)
    words = ("run", "--report", xfs.path / "new", ext4.mountpoint, "--", "true")
    tool(*words, deadline=10).expect(125, "on a frozen filesystem")
    tool("thaw", xfs.mountpoint).expect(0)


def test_a_report_that_cannot_be_written_is_an_error(tool: Freezectl, ext4: Volume) -> None:
    with (ext4.path / "out").open("wb") as out:
        process = tool.start("freeze", "--json", ext4.path, stdout=out)
        error = process.communicate(timeout=15)[1]
    assert process.returncode == 1 and b"standard output" in error, error
    assert not ext4.is_frozen()
    for words in (("status", "--json", ext4.path), ("freeze", "--json", ext4.path)):
        with open("/dev/full", "wb") as full:
            process = tool.start(*words, stdout=full)
            error = process.communicate(timeout=15)[1]
        assert process.returncode == 1 and b"cannot write to standard output" in error, error
        assert not ext4.is_frozen(), words
    with open("/dev/full", "wb") as full:
        process = tool.start("freeze", ext4.path, stdout=full)
        assert process.wait(15) == 1
    assert not ext4.is_frozen(), "a freeze whose id nobody knows"
    tool("freeze", "--report=/dev/full", ext4.mountpoint).expect(1, "/dev/full", out=None)
    assert not ext4.is_frozen()


def test_nobody_reads_the_id(tool: Freezectl, ext4: Volume) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = tool.start("freeze", ext4.path, stdout=writing)
    os.close(writing)
    assert process.wait(15) == 1
    assert not ext4.is_frozen()
