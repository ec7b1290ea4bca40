# SPDX-License-Identifier: LGPL-2.1-or-later
"""The example that needs LVM, examples/thin_snapshot: a database and its log on two thin volumes,
copied at one moment."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stacks.conftest import Bases
from tests.stacks.stack import Stack
from tests.support.lvm import Group
from tests.support.paths import BUILD
from tests.support.process import Program, Result, block_timeout, run, succeeds, wait_until

EXAMPLE = BUILD / "examples/thin_snapshot"
LEDGER = [sys.executable, "-B", "-m", "tests.examples.ledger"]
# The environment's FROZEN is thawed after the first snapshot.
THAWING_LVCREATE = """#!/bin/sh
/usr/sbin/lvcreate "$@" || exit
fsfreeze -u "$FROZEN"
exit 0
"""


class Thin(NamedTuple):
    volume: str
    mountpoint: Path


class Ledger(NamedTuple):
    """The database is on the first filesystem, its log on the second."""

    group: Group
    filesystems: list[Thin]

    @property
    def arguments(self) -> list[str | Path]:
        """Arguments of the example, after the name of the snapshots."""
        words: list[str | Path] = []
        for thin in self.filesystems:
            words += [thin.mountpoint, f"{self.group.name}/{thin.volume}"]
        return words

    def run_example(self, suffix: str, **environment: str) -> Result:
        """LVM takes several seconds per volume on a busy machine."""
        env = {**self.group.env, **environment}
        return run(EXAMPLE, suffix, *self.arguments, env=env, seconds=4 * block_timeout())

    def snapshots(self) -> str:
        return succeeds(
            "lvs", "--noheadings", "--options", "lv_name", self.group.name, env=self.group.env
        )


@pytest.fixture
def ledger(stack: Stack, bases: Bases) -> Ledger:
    group = stack.group(stack.loop(bases.xfs, 256))
    group.add_pool("160M")
    volumes = [group.add_thin("48M") for _ in range(2)]
    mountpoints = [stack.filesystem("ext4", group.device(volume)) for volume in volumes]
    return Ledger(group, list(map(Thin, volumes, mountpoints)))


def mount_snapshots(stack: Stack, ledger: Ledger, suffix: str) -> Iterator[Path]:
    group = ledger.group
    for thin in ledger.filesystems:
        name = f"{thin.volume}-{suffix}"
        options = ["--activate", "y", "--ignoreactivationskip"]
        succeeds("lvchange", *options, f"{group.name}/{name}", env=group.env)
        yield stack.mount("ext4", group.device(name))


def test_thin_snapshot_copies_a_database_and_its_log(stack: Stack, ledger: Ledger) -> None:
    names = ["ledger.db", "ledger.log"]
    database, log = (
        thin.mountpoint / name for thin, name in zip(ledger.filesystems, names, strict=True)
    )
    writer = Program(*LEDGER, "write", database, log, "wal")
    try:
        assert wait_until(lambda: log.exists() and log.read_bytes().count(b"\n") >= 20), writer
        result = ledger.run_example("late")
        assert result.status == 0, result
    finally:
        writer.process.kill()
        writer.finish()
    copies = mount_snapshots(stack, ledger, "late")
    succeeds(*LEDGER, "check", *(copy / name for copy, name in zip(copies, names, strict=True)))
    assert "late" in ledger.snapshots()


def test_thin_snapshot_leaves_no_snapshot_if_the_freeze_ended_early(
    ledger: Ledger, tmp_path: Path
) -> None:
    lvcreate = tmp_path / "lvcreate"
    lvcreate.write_text(THAWING_LVCREATE)
    lvcreate.chmod(0o755)
    frozen = str(ledger.filesystems[0].mountpoint)
    result = ledger.run_example("early", PATH=f"{tmp_path}:/usr/sbin:/usr/bin", FROZEN=frozen)
    assert result.status == 1, result
    assert "it did not stay frozen" in result.text, result
    assert "early" not in ledger.snapshots()
