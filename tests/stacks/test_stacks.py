# SPDX-License-Identifier: LGPL-2.1-or-later
"""Groups of filesystems that are stacked on each other, frozen by the library. Each is on one of
two filesystems that depend on nothing but the disk, or on both.

A wrong order cannot stay hidden: freezing and thawing a filesystem writes to it, so the upper one
blocks if the one below it is frozen first or thawed last."""

from collections.abc import Sequence
from pathlib import Path

from tests.stacks.conftest import Bases
from tests.stacks.freezing import (
    Freezer,
    Stuck,
    are_frozen,
    are_thawed,
    are_writable,
    becomes_frozen,
)
from tests.stacks.stack import Stack
from tests.support.process import must, succeeds

Stacked = dict[Path, list[Path]]  # the filesystems of a group, each with those below it


def freezes_from_the_top(
    stacked: Stacked,
    *,
    paths: Sequence[Path] = (),
    seconds: int | None = None,
    policy: str = "fail",
) -> Freezer:
    """Freezes a group and thaws it.

    `paths` is what the freezer is given; by default the filesystems from the bottom up, which is
    the wrong order."""
    for filesystem in stacked:
        must("dd", "if=/dev/zero", f"of={filesystem}/dirty", "bs=64k", "count=1")
    with Freezer(paths or list(reversed(stacked)), seconds, policy) as freezer:
        frozen = freezer.freezes()
        assert sorted(frozen) == sorted(stacked)
        for upper, below in stacked.items():
            for lower in below:
                assert frozen.index(upper) < frozen.index(lower), f"{upper} is on top of {lower}"
        writers = are_frozen(stacked)
        freezer.thaws()
        are_thawed(writers)
        return freezer


def test_ext4_on_device_mapper_in_a_file_on_xfs(stack: Stack, bases: Bases) -> None:
    device = stack.linear(stack.loop(bases.xfs, 32), 24, start=4)
    top = stack.filesystem("ext4", device)
    freezes_from_the_top({top: [bases.xfs], bases.xfs: []})


def test_ext4_in_a_file_on_ext4_on_lvm_in_a_file_on_xfs(stack: Stack, bases: Bases) -> None:
    group = stack.group(stack.loop(bases.xfs, 112))
    middle = stack.filesystem("ext4", group.device(group.add("96M")))
    top = stack.filesystem("ext4", stack.linear(stack.loop(middle, 32), 32))
    stacked: Stacked = {top: [middle, bases.xfs], middle: [bases.xfs], bases.xfs: []}
    freezes_from_the_top(stacked)
    freezes_from_the_top(stacked, seconds=0)
    freezes_from_the_top({top: [bases.xfs], bases.xfs: []})


def test_ext4_on_raid_1_in_files_on_two_filesystems(stack: Stack, bases: Bases) -> None:
    device = stack.mirror(stack.loop(bases.ext4, 32), stack.loop(bases.xfs, 32))
    top = stack.filesystem("ext4", device)
    freezes_from_the_top({top: list(bases), bases.xfs: [], bases.ext4: []})
    freezes_from_the_top({top: [bases.xfs], bases.xfs: []})


def test_btrfs_in_files_on_two_filesystems(stack: Stack, bases: Bases) -> None:
    """Subvolumes and bind mounts count once."""
    top = stack.filesystem("btrfs", stack.loop(bases.xfs, 160), stack.loop(bases.ext4, 160))
    succeeds("btrfs", "subvolume", "create", top / "volume")
    bind = stack.bind(bases.ext4)
    freezes_from_the_top(
        {top: list(bases), bases.xfs: [], bases.ext4: []},
        paths=[bases.ext4, bases.xfs, bind, top, top / "volume", bases.xfs],
    )
    for below in bases:
        freezes_from_the_top({top: [below], below: []})


def test_ext4_in_a_file_on_an_overlay(stack: Stack, bases: Bases) -> None:
    """The overlay's lower and upper directories are on two filesystems."""
    merged = stack.overlay(lower=bases.xfs, upper=bases.ext4)
    top = stack.filesystem("ext4", stack.loop(merged, 32))
    stacked: Stacked = {top: [bases.ext4], bases.ext4: [], bases.xfs: []}
    with Freezer([bases.xfs, bases.ext4, merged, top]) as freezer:
        freezer.is_refused(merged, "an overlay cannot be frozen")
    are_writable(*stacked)
    freezer = freezes_from_the_top(stacked, paths=[*bases, merged, top], policy="skip")
    assert freezer.lines("skipped") == [merged]
    freezes_from_the_top({top: [bases.ext4], bases.ext4: []})
    freezes_from_the_top({top: [], bases.xfs: []})
    are_writable(merged)


def test_freeze_below_that_takes_too_long_thaws_the_top(stack: Stack, bases: Bases) -> None:
    """The top is frozen first. The error names the filesystem below."""
    top = stack.filesystem("ext4", stack.loop(bases.xfs, 32))
    with Stuck(bases.xfs):
        with Freezer([bases.xfs, top, bases.ext4], seconds=6) as freezer:
            writers = becomes_frozen(top)
            freezer.is_refused(bases.xfs, "acquire_timeout")
        are_writable(bases.ext4)
    are_thawed(writers)
    are_writable(top, bases.xfs)


def test_guard_nests_with_another_program_whatever_freeze_nest_says(
    stack: Stack, bases: Bases
) -> None:
    """Guardians use FIFREEZE_TIMEOUT, which always nests."""
    top = stack.filesystem("ext4", stack.loop(bases.xfs, 32))
    nest = Path("/proc/sys/fs/freeze_nest")
    nest.write_text("0")
    try:
        succeeds("fsfreeze", "-f", bases.ext4)
        with Freezer([bases.xfs, bases.ext4, top], seconds=0) as freezer:
            freezer.freezes()
            freezer.thaws()
        are_writable(top, bases.xfs)
        writers = are_frozen([bases.ext4])
        succeeds("fsfreeze", "-u", bases.ext4)
        are_thawed(writers)
    finally:
        nest.write_text("1")


def test_independent_filesystems_do_not_wait_for_each_other(stack: Stack, bases: Bases) -> None:
    for stuck, other in (bases, tuple(reversed(bases))):
        with Stuck(stuck) as stuck_writer, Freezer(bases) as freezer:
            writers = becomes_frozen(other)
            stuck_writer.end_input()
            freezer.freezes()
            freezer.thaws()
            are_thawed(writers)
