# SPDX-License-Identifier: LGPL-2.1-or-later
"""Groups of filesystems that are stacked on each other in every way. Each is on one of two that
depend on nothing but the disk, or on both.

That one below would be frozen first, or thawed last, cannot stay hidden: the one above could then
not end its own freeze or thaw, since it has to write."""

import pathlib
import tempfile
import typing

from commands import Failed, Program, run, succeeds, wait_until
from freezing import (BUILD, ROOT, Freezer, Stuck, are_frozen, are_let_go, are_writable,
                      becomes_frozen)

CASES = []


class Bases(typing.NamedTuple):
    xfs: pathlib.Path
    ext4: pathlib.Path


def case(function):
    CASES.append(function)
    return function


def dirty(filesystem):
    (filesystem / "dirty").write_bytes(b"x" * 65536)


def has_order(frozen, upper, lower):
    if frozen.index(upper) > frozen.index(lower):
        raise Failed(f"{lower} was frozen before {upper}, which is on top of it")


def is_frozen_from_the_top(stacked, *, paths=None, seconds=None, policy="fail"):
    """Freezes a group and thaws it. `stacked`: its filesystems, each with those below it in the
    group. `paths`: by what it names them, from the worst order for one who knows nothing."""
    for filesystem in stacked:
        dirty(filesystem)
    with Freezer(paths or reversed(stacked), seconds, policy) as freezer:
        frozen = freezer.freezes()
        if sorted(frozen) != sorted(stacked):
            raise Failed(f"frozen: {frozen}, not {list(stacked)}")
        for upper, below in stacked.items():
            for lower in below:
                has_order(frozen, upper, lower)
        writers = are_frozen(stacked)
        freezer.thaws()
        are_let_go(writers)
        return freezer


@case
def device_mapper(stack, bases):
    """ext4 on device-mapper, in a file on XFS"""
    device = stack.linear(stack.loop(bases.xfs, 32), 24, start=4)
    top = stack.filesystem("ext4", device)
    is_frozen_from_the_top({top: [bases.xfs], bases.xfs: []})


@case
def levels(stack, bases):
    """ext4 in a file on ext4 on LVM in a file on XFS on device-mapper"""
    volume = stack.volume(stack.loop(bases.xfs, 112), 96)
    middle = stack.filesystem("ext4", volume)
    top = stack.filesystem("ext4", stack.linear(stack.loop(middle, 32), 32))
    stacked = {top: [middle, bases.xfs], middle: [bases.xfs], bases.xfs: []}
    is_frozen_from_the_top(stacked)
    is_frozen_from_the_top(stacked, seconds=0)
    is_frozen_from_the_top({top: [bases.xfs], bases.xfs: []})


@case
def mirror(stack, bases):
    """ext4 on RAID 1 of md, its halves in files on two filesystems"""
    device = stack.mirror(stack.loop(bases.ext4, 32), stack.loop(bases.xfs, 32))
    top = stack.filesystem("ext4", device)
    is_frozen_from_the_top({top: list(bases), bases.xfs: [], bases.ext4: []})
    is_frozen_from_the_top({top: [bases.xfs], bases.xfs: []})


@case
def btrfs(stack, bases):
    """btrfs on two devices, in files on two filesystems; subvolumes and bind mounts count once"""
    top = stack.filesystem("btrfs", stack.loop(bases.xfs, 160), stack.loop(bases.ext4, 160))
    succeeds("btrfs", "subvolume", "create", top / "volume")
    bind = stack.bind(bases.ext4)
    is_frozen_from_the_top({top: list(bases), bases.xfs: [], bases.ext4: []},
                           paths=[bases.ext4, bases.xfs, bind, top, top / "volume", bases.xfs])
    for below in bases:
        is_frozen_from_the_top({top: [below], below: []})


@case
def overlay(stack, bases):
    """ext4 in a file on an overlay, whose lower and upper are on two filesystems"""
    merged = stack.overlay(lower=bases.xfs, upper=bases.ext4)
    top = stack.filesystem("ext4", stack.loop(merged, 32))
    stacked = {top: [bases.ext4], bases.ext4: [], bases.xfs: []}
    with Freezer([bases.xfs, bases.ext4, merged, top]) as freezer:
        freezer.is_refused(merged, "an overlay cannot be frozen")
    are_writable(*stacked)
    freezer = is_frozen_from_the_top(stacked, paths=[*bases, merged, top], policy="skip")
    if freezer.lines("skipped") != [merged]:
        raise Failed(f"skipped: {freezer.lines('skipped')}")
    is_frozen_from_the_top({top: [bases.ext4], bases.ext4: []})
    is_frozen_from_the_top({top: [], bases.xfs: []})
    are_writable(merged)


@case
def failure(stack, bases):
    """what is on top is frozen before the one below, and no more if that takes too long; the error
    names it"""
    top = stack.filesystem("ext4", stack.loop(bases.xfs, 32))
    with Stuck(bases.xfs):
        with Freezer([bases.xfs, top, bases.ext4], seconds=6) as freezer:
            writers = becomes_frozen(top)
            freezer.is_refused(bases.xfs, "acquire_timeout")
        are_writable(bases.ext4)
    are_let_go(writers)
    are_writable(top, bases.xfs)


@case
def refusal(stack, bases):
    """the same when another's freeze makes it busy (fs.freeze_nest=0)"""
    top = stack.filesystem("ext4", stack.loop(bases.xfs, 32))
    nest = pathlib.Path("/proc/sys/fs/freeze_nest")
    nest.write_text("0")
    try:
        succeeds("fsfreeze", "-f", bases.ext4)
        # no guardian, which would undo what the program leaves behind
        with Freezer([bases.xfs, bases.ext4, top], seconds=0) as freezer:
            freezer.is_refused(bases.ext4, "it is frozen already")
        are_writable(top, bases.xfs)
        succeeds("fsfreeze", "-u", bases.ext4)
    finally:
        nest.write_text("1")


@case
def independent(_stack, bases):
    """two that do not depend on each other are frozen at the same time, either waits for none"""
    for stuck, other in (bases, reversed(bases)):
        with Stuck(stuck) as stuck_writer, Freezer(bases) as freezer:
            writers = becomes_frozen(other)
            stuck_writer.go_on()
            freezer.freezes()
            freezer.thaws()
            are_let_go(writers)


# The example ----------------------------------------------------------------------

EXAMPLE = BUILD / "examples/thin_snapshot"
LEDGER = ROOT / "tests/examples/ledger.py"
TOO_EARLY = """#!/bin/sh
/usr/sbin/lvcreate "$@" || exit
fsfreeze -u "$MOUNTPOINT"
exit 0
"""


def lines_of(file):
    return len(file.read_text().splitlines()) if file.exists() else 0


def database_and_log(stack, bases):
    """Two filesystems on thin volumes, and what the example is told of them."""
    group = stack.group(stack.loop(bases.xfs, 256))
    group.add_pool("160M")
    words = []
    for _ in range(2):
        volume = group.add_thin("48M")
        words += [stack.filesystem("ext4", f"/dev/mapper/{group.name}-{volume}"),
                  f"{group.name}/{volume}"]
    return group, words


def copies(stack, group, volumes):
    """The thin snapshots, mounted."""
    for volume in volumes:
        succeeds("lvchange", "--activate", "y", "--ignoreactivationskip", f"{volume}-late",
                 env=group.env)
        name = volume.partition("/")[2]
        yield stack.mount("ext4", f"/dev/mapper/{group.name}-{name}--late")


@case
def thin_snapshot(stack, bases):
    """examples/thin_snapshot: a database and its log on two thin volumes, of one moment; none is
    left if they were thawed meanwhile"""
    group, words = database_and_log(stack, bases)
    database, log = words[0] / "ledger.db", words[2] / "ledger.log"
    ledger = Program(LEDGER, "write", database, log, "wal")
    try:
        if not wait_until(lambda: lines_of(log) >= 20):
            raise Failed(f"{ledger} does not get on")
        succeeds(EXAMPLE, "late", *words, env=group.env)
    finally:
        ledger.process.kill()
        ledger.finish()
    copy = [place / file.name for place, file in
            zip(copies(stack, group, words[1::2]), (database, log))]
    succeeds(LEDGER, "check", *copy)

    early = pathlib.Path(tempfile.mkdtemp(prefix="lvcreate."), "lvcreate")
    early.write_text(TOO_EARLY)
    early.chmod(0o755)
    result = run(EXAMPLE, "early", *words, env={
        **group.env, "PATH": f"{early.parent}:/usr/sbin:/usr/bin", "MOUNTPOINT": str(words[0])})
    if result.status != 1 or "it did not stay frozen" not in result.text:
        raise Failed(f"{EXAMPLE}: {result}; should be expired")
    left = succeeds("lvs", "--noheadings", "--options", "lv_name", group.name, env=group.env)
    if "early" in left or "late" not in left:
        raise Failed(f"the volumes that are left: {left}")
