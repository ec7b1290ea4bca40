# SPDX-License-Identifier: LGPL-2.1-or-later
"""Wrong usage, help and version."""

import re

from tests.freezectl.freezectl import COMMANDS, Freezectl, Word
from tests.support.paths import ROOT
from tests.support.volumes import Volume


def test_wrong_usage_gets_one_line(tool: Freezectl, ext4: Volume) -> None:
    path = ext4.mountpoint
    cases: list[tuple[tuple[Word, ...], str]] = [
        ((), "no command: one of run,"),
        (("frob",), "not a command: 'frob'"),
        (("freeze",), "PATH is required"),
        (("thaw",), "PATH is required"),
        (("run", path), "no COMMAND: put it after the PATHs and --"),
        (("run", path, "--"), "no COMMAND"),
        (("run", "--", "true"), "PATH is required"),
        (("freeze", "-y", path), "not an option or command: '-y'"),
        (("extend", path), "no new deadline: give one with --timeout"),
        (("probe", "/", "/tmp"), "takes at most one PATH"),
        (("freeze", "-t", "5x", path), "--timeout: '5x' is not a time: write a whole number"),
        (("freeze", "-t", "", path), "--timeout: '' is not a time"),
        (("freeze", "-t", "s", path), "--timeout: 's' is not a time"),
        (("freeze", "-t", "-5", path), "--timeout: '-5' is not a time"),
        (("freeze", "-t", "1.5s", path), "--timeout: '1.5s' is not a time"),
        (("freeze", "-t", "1\n2", path), "--timeout: '1\\x0a2' is not a time"),
        (("freeze", "--timeout=8761h", path), "'8761h' is too long: write 8760h at most"),
        (("freeze", "-t", "99999999999999999999", path), "is too long"),
        (("freeze", "-t", "18446744073709551615h", path), "is too long"),
        (("run", "--acquire-timeout", "x", path, "--", "true"), "--acquire-timeout: 'x' is not"),
        (("freeze", "--comment", "x" * 32, path), "--comment: has more than 31 bytes"),
        (("freeze", "--all", path), "give either PATHs or --all"),
        (("freeze", "-T", "xfs", path), "--types and --exclude choose from --all"),
        (("run", "-x", "/proc", path, "--", "true"), "--types and --exclude choose from --all"),
        (("status", "-T", "xfs", path), "--types and --exclude do not apply to PATHs"),
        (("status", "-o", "SIZE", path), "--output: 'SIZE' is not a column: MOUNTPOINT,"),
        (("status", "-J", "-n", path), "do not apply to --json"),
        (("status", "-J", "-o", "ID", path), "do not apply to --json"),
        (("thaw", "--id", "0123456789abcdef", path), "give either PATHs or --id"),
        (("thaw", "--id", "0123"), "--id: '0123' is not an id"),
        (("extend", "-t", "5", "--id", "0123456789abcdeg"), "is not an id"),
        (("thaw", "-t", "5s", path), "not an option or command: '-t'"),
        (("freeze", "--id", "0123456789abcdef", path), "not an option or command"),
    ]
    for words, text in cases:
        result = tool(*words).expect(2, text)
        assert result.err.count(b"\n") == 1 and result.err.startswith(b"freezectl: "), result.err
    assert not ext4.is_frozen()


def test_help_and_version(tool: Freezectl) -> None:
    for words in (("--help",), ("-h",), *((command, "--help") for command in COMMANDS)):
        result = tool(*words).expect(0, out=None)
        assert b"Usage: freezectl" in result.out and not result.err, result
    version = re.search(r"version: '(.*)'", (ROOT / "meson.build").read_text())
    assert version
    tool("--version").expect(0, out=f"freezectl {version[1]}\n".encode())
