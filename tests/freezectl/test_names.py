# SPDX-License-Identifier: LGPL-2.1-or-later
"""Names of any bytes in every output."""

import os
from pathlib import Path

import pytest

from tests.freezectl.freezectl import (
    COMMANDS,
    LONG_TIMEOUT,
    PROGRAM,
    Freezectl,
    Report,
    SlowKernel,
    Terminal,
    Volumes,
)
from tests.support.process import must, run
from tests.support.volumes import Volume

NAMES = (
    b"with space",
    b"new\nline",
    b"-t",
    b"gr\xc3\xbc\xc3\x9fe",
    b"invalid\xff\xfe\xc3",
    b"back\\slash'quote",
    b"esc\x1b[31m\xc2\x9bJ",
    b"[a,b]",
    b"++",
    b"status",
)


def quoted(name: bytes) -> bytes:
    """The name as freezectl prints it."""
    result = b""
    for character in name.decode(errors="surrogateescape"):
        raw = os.fsencode(character)
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or 0xDC80 <= code <= 0xDCFF or character in "\\'":
            raw = b"".join(b"\\x%02x" % byte for byte in raw)
        result += raw
    return b"'" + result + b"'"


def check_plain(text: bytes) -> None:
    """Text is UTF-8 and has no control characters."""
    text.decode()
    assert all(byte >= 0x20 or byte == 0x0A for byte in text), text


def check_name(facts: Report, name: bytes, key: str = "mountpoint") -> None:
    try:
        assert facts[key] == name.decode() and f"{key}_bytes" not in facts, facts
    except UnicodeDecodeError:
        assert bytes.fromhex(facts[f"{key}_bytes"]) == name, facts
        assert facts[key] == name.decode(errors="replace"), facts


def in_table(name: bytes) -> bytes:
    """The name as a table shows it: without quotes, and quotes are not special."""
    return quoted(name)[1:-1].replace(b"\\x27", b"'")


def check_errors(tool: Freezectl, path: bytes) -> None:
    """The errors of each command name the path, as text and in JSON."""
    for command in COMMANDS:
        words = [command, *(("-t", "9") if command == "extend" else ())]
        rest = ("--", "true") if command == "run" else ()
        result = tool(*words, path, *rest)
        assert result.status != 0 and quoted(path) in result.err, result
        assert result.err.count(b"\n") == 1, result
        check_plain(result.err)
        report = tool(*words, "--json", path, *rest).report
        assert quoted(path).decode() in report["errors"][0], report


def check_terminal(tool: Freezectl, path: bytes, slow_kernel: SlowKernel) -> None:
    """Apart from the sequences that progress consists of, nothing moves the cursor."""
    words = ("freeze", "-v", os.fsdecode(path))
    terminal = Terminal(os.fspath(PROGRAM), *words, env=slow_kernel(ms=50))
    assert terminal.wait(LONG_TIMEOUT) == 0, terminal.shown
    tool("thaw", path).expect(0)
    rest = terminal.shown.replace(b"\r\x1b[K", b"").replace(b"\r\n", b"").replace(b"\r", b"")
    assert b"frozen: " + quoted(path) in rest, terminal.shown
    assert b"flushing, 0." in rest or b"freezing, 0." in rest, terminal.shown
    assert b"\n" not in rest, terminal.shown
    check_plain(rest)


def check_outputs(tool: Freezectl, path: bytes, slow_kernel: SlowKernel) -> None:
    text = tool("status", "-n", "-o", "MOUNTPOINT", path).out
    assert text == in_table(path) + b"\n", text
    text = tool("freeze", "--dry-run", path).out
    assert b" " + in_table(path) + b" " in text, text
    check_plain(text)
    for words in (
        ("status",),
        ("freeze",),
        ("extend", "-t", "9"),
        ("thaw",),
        ("freeze", "--dry-run"),
    ):
        check_name(tool(*words, "--json", path).filesystem, path)
    check_name(tool("run", "--json", path, "--", "true").filesystem, path)
    outputs = {
        "frozen": tool("freeze", "-v", path),
        "another": tool("extend", "-t", "9", "-v", path),
        "thawed": tool("thaw", "-v", path),
        "not frozen": tool("thaw", path),
    }
    for message, result in outputs.items():
        assert quoted(path) in result.err and message.encode() in result.err, (message, result)
        check_plain(result.err)
    error = tool("thaw", "--json", path)
    assert quoted(path).decode() in error.report["errors"][0], error
    check_errors(tool, os.path.join(path, b"none"))
    check_terminal(tool, path, slow_kernel)
    check_environment(tool, path)


def check_environment(tool: Freezectl, path: bytes) -> None:
    script = 'printf "%s" "$LIBFREEZE_PATHS"'
    out = tool("run", path, path, "--", "sh", "-c", script).out
    assert out == path.replace(b"\\", b"\\134").replace(b"\n", b"\\012"), out


def check_relative(tool: Freezectl, volume: Volume, name: bytes) -> None:
    """A name that looks like an option or a command is only a name."""
    bare = ("--", name)
    tool("freeze", *bare, cwd=volume.holder).expect(0, out=None)
    tool("thaw", *bare, cwd=volume.holder).expect(0)
    tool("run", b"./" + name, "--", "true", cwd=volume.holder).expect(0)
    if not name.startswith(b"-"):
        tool("run", name, "--", "true", cwd=volume.holder).expect(0)
        tool("status", name, cwd=volume.holder).expect(0, out=None)


@pytest.fixture
def volume(volumes: Volumes) -> Volume:
    """One more filesystem, not mounted."""
    volume = volumes.add("ext4")
    volume.unmount()
    return volume


def test_mountpoints_are_correct_in_every_output(
    tool: Freezectl, volume: Volume, slow_kernel: SlowKernel
) -> None:
    for name in NAMES:
        path = volume.mount(name)
        try:
            check_outputs(tool, path, slow_kernel)
            check_relative(tool, volume, name)
            report = tool("status", "--json").report
            found = [fs for fs in report["filesystems"] if fs["source"] == volume.device]
            check_name(found[0], path)
        finally:
            volume.thaw()
            volume.unmount()


def test_other_names_are_correct_in_every_output(
    tool: Freezectl, ext4: Volume, volume: Volume, work: Path
) -> None:
    """The filesystem below, other mountpoints, the source of a mount, a comment, the command."""
    for name in NAMES:
        path = volume.mount(name)
        image = os.path.join(path, b"image")
        if not os.path.exists(image):
            must("mkfs.ext4", "-q", image, "16M")
        other = os.path.join(os.fsencode(work), b"other " + name)
        os.mkdir(other)
        try:
            check_below(tool, image, path, other)
            check_other_mount(tool, path, other)
            check_source(tool, name, other)
            check_command(tool, name, ext4)
            check_comment(tool, name, ext4)
        finally:
            run("umount", other)
            volume.unmount()


def check_below(tool: Freezectl, image: bytes, path: bytes, above: bytes) -> None:
    must("mount", "-o", "loop", image, above)
    facts = tool("status", "--json", above).filesystem
    below = path.decode(errors="replace")
    found = [entry for entry in facts["stacked_on"] if entry["mountpoint"] == below]
    assert len(found) == 1, facts
    check_name(found[0], path)
    text = tool("status", "-n", "-o", "STACKED-ON", above).out
    assert text.rstrip(b"\n").startswith(in_table(path)), text
    must("umount", above)


def check_other_mount(tool: Freezectl, path: bytes, other: bytes) -> None:
    must("mount", "--bind", path, other)
    check_name(tool("status", "--json", other).filesystem["other_mountpoints"][0], path)
    text = tool("status", "-n", "-o", "OTHERS", other).out
    assert text == in_table(path) + b"\n", text
    must("umount", other)


def check_source(tool: Freezectl, name: bytes, path: bytes) -> None:
    must("mount", "-t", "tmpfs", "--source", name, "--target", path)
    check_name(tool("status", "--json", path).filesystem, name, "source")
    text = tool("status", "-n", "-o", "SOURCE", path).out
    assert text == in_table(name) + b"\n", text
    must("umount", path)


def check_command(tool: Freezectl, name: bytes, volume: Volume) -> None:
    command = b"/none/" + name
    result = tool("run", "--json", volume.mountpoint, "--", command).expect(127, out=None)
    assert b"cannot run " + quoted(command) in result.err, result
    check_plain(result.err)
    assert quoted(command).decode() in result.report["errors"][0], result


def check_comment(tool: Freezectl, name: bytes, volume: Volume) -> None:
    tool("freeze", b"--comment=" + name, volume.mountpoint).expect(0, out=None)
    check_name(tool("status", "--json", volume.mountpoint).filesystem["holds"][0], name, "comment")
    text = tool("status", "-n", "-o", "COMMENT", volume.mountpoint).out
    assert text == in_table(name) + b"\n", text
    tool("thaw", volume.mountpoint).expect(0)
