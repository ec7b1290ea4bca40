# SPDX-License-Identifier: LGPL-2.1-or-later
"""What programs that are in use today may expect of a filesystem that others freeze, too.

S: dmsetup suspend, R: dmsetup resume, F: fsfreeze -f, T: fsfreeze -u."""

import contextlib
import pathlib
import time
import typing

from commands import Broken, Failed, refused, run, succeeds
from guest_agent import GuestAgent

INVALID = "Invalid argument"
BUSY = "Device or resource busy"

CASES = []


class Case(typing.NamedTuple):
    name: str
    run: typing.Callable
    fails_on_stock: typing.Callable  # of the kernel's version and the filesystem's type
    dm_freezes: bool  # whether it is about device-mapper freezing the filesystem

    @property
    def what(self):
        return self.run.__doc__


def case(name, stock, dm_freezes=False):
    """`stock`: what an unpatched kernel makes of it."""
    return lambda function: CASES.append(Case(name, function, stock, dm_freezes))


def fails(_kernel, _fs):
    return True


def same(_kernel, _fs):
    return False


def fails_on_6_1(kernel, fs):
    """There the device of a frozen filesystem cannot be suspended, if the suspend freezes."""
    return kernel < (6, 12) and fs != "btrfs"


def sysctl(name, value):
    """An unpatched kernel does not have it, and behaves as with 0."""
    path = pathlib.Path("/proc/sys/fs", name)
    if path.exists():
        path.write_text(str(value))


# fsfreeze(8), xfs_freeze(8) ---------------------------------------------------

@case("fsfreeze.freeze_and_thaw", same)
def freeze_and_thaw(volume):
    """F T, each by a process of its own"""
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)
    refused(INVALID, "fsfreeze", "-u", volume.dir)


@case("fsfreeze.nests", fails)
def nests(volume):
    """F F T T: frozen until the second T, and a third is refused"""
    succeeds("fsfreeze", "-f", volume.dir)
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    succeeds("fsfreeze", "-u", volume.dir)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)
    refused(INVALID, "fsfreeze", "-u", volume.dir)


@case("fsfreeze.freeze_nest_0", same)
def freeze_nest_0(volume):
    """with fs.freeze_nest=0 the second F is refused as busy, and one T is enough"""
    sysctl("freeze_nest", 0)
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    refused(BUSY, "fsfreeze", "-f", volume.dir)
    refused(BUSY, "xfs_freeze", "-f", volume.dir)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)
    refused(INVALID, "fsfreeze", "-u", volume.dir)


@case("xfs_freeze.freeze_and_thaw", same)
def xfs_freeze(volume):
    """xfs_freeze -f and -u, and fsfreeze -u after xfs_freeze -f"""
    for thaw in "xfs_freeze", "fsfreeze":
        succeeds("xfs_freeze", "-f", volume.dir)
        writer = volume.frozen()
        succeeds(thaw, "-u", volume.dir)
        volume.let_go(writer)


@case("xfs_freeze.nests", fails)
def xfs_freeze_nests(volume):
    """xfs_freeze -f under F: frozen until both have thawed"""
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    succeeds("xfs_freeze", "-f", volume.dir)
    succeeds("xfs_freeze", "-u", volume.dir)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)


@case("xfs_freeze.has_no_timeout", same)
def xfs_freeze_has_no_timeout(volume):
    """xfs_freeze's argument is no timeout, not even with fs.freeze_timeout_arg=1"""
    sysctl("freeze_timeout_arg", 1)
    succeeds("xfs_freeze", "-f", volume.dir)
    writer = volume.frozen()
    time.sleep(3)
    volume.still_frozen(writer)
    succeeds("xfs_freeze", "-u", volume.dir)
    volume.let_go(writer)


# qemu-ga(8) -------------------------------------------------------------------

@contextlib.contextmanager
def guest_agent():
    agent = GuestAgent()
    try:
        yield agent
    finally:
        agent.stop()


def equal(wanted, got, what):
    if wanted != got:
        raise Failed(f"{what}: {got!r}, not {wanted!r}")


@case("guest_agent.freeze_and_thaw", same)
def agent_freezes(volume):
    """freeze, status, thaw"""
    with guest_agent() as agent:
        equal("thawed", agent.status(), "status before")
        equal(1, agent.freeze(volume.dir), "frozen filesystems")
        equal("frozen", agent.status(), "status of the frozen")
        writer = volume.frozen()
        equal(1, agent.thaw(), "thawed filesystems")
        equal("thawed", agent.status(), "status afterwards")
        volume.let_go(writer)


def only_mounted(volume):
    """What the agent would freeze besides must be nothing that the test runs on."""
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        kind = words[words.index("-") + 1]
        if (not words[2].startswith("0:") or kind == "btrfs") and words[4] != str(volume.dir):
            raise Broken(f"the agent would freeze {words[4]}, too")


@case("guest_agent.freezes_everything", fails)
def agent_freezes_everything(volume):
    """the agent freezes all there is, F T: it is frozen until the agent's thaw"""
    only_mounted(volume)
    with guest_agent() as agent:
        equal(1, agent.freeze_all(), "frozen filesystems")
        writer = volume.frozen()
        succeeds("fsfreeze", "-f", volume.dir)
        equal("frozen", agent.status(), "status of the frozen")
        succeeds("fsfreeze", "-u", volume.dir)
        volume.still_frozen(writer)
        equal(1, agent.thaw(), "thawed filesystems")
        volume.let_go(writer)


@case("guest_agent.under_another", fails)
def agent_under_another(volume):
    """F, the agent freezes and thaws until that fails: F's freeze is still there"""
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    with guest_agent() as agent:
        equal(1, agent.freeze(volume.dir), "frozen filesystems")
        equal(1, agent.thaw(), "thawed filesystems")
        volume.still_frozen(writer)
        equal(0, agent.thaw(), "filesystems thawed once more")
        volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)


@case("guest_agent.above_another", fails)
def agent_above_another(volume):
    """the agent freezes, F, the agent thaws until that fails: F's freeze is still there"""
    with guest_agent() as agent:
        equal(1, agent.freeze(volume.dir), "frozen filesystems")
        writer = volume.frozen()
        succeeds("fsfreeze", "-f", volume.dir)
        equal(1, agent.thaw(), "thawed filesystems")
        volume.still_frozen(writer)
        succeeds("fsfreeze", "-u", volume.dir)
        volume.let_go(writer)


@case("guest_agent.keeps_its_own", fails)
def agent_keeps_its_own(volume):
    """F T while the agent holds it frozen: it does until its own thaw"""
    with guest_agent() as agent:
        equal(1, agent.freeze(volume.dir), "frozen filesystems")
        writer = volume.frozen()
        succeeds("fsfreeze", "-f", volume.dir)
        succeeds("fsfreeze", "-u", volume.dir)
        volume.still_frozen(writer)
        equal(1, agent.thaw(), "thawed filesystems")
        volume.let_go(writer)


@case("guest_agent.two_of_them", fails)
def two_agents(volume):
    """two agents: frozen until both have thawed"""
    with guest_agent() as first, guest_agent() as second:
        equal(1, first.freeze(volume.dir), "the first's filesystems")
        writer = volume.frozen()
        equal(1, second.freeze(volume.dir), "the second's filesystems")
        equal(1, first.thaw(), "thawed by the first")
        volume.still_frozen(writer)
        equal(1, second.thaw(), "thawed by the second")
        volume.let_go(writer)


# lvcreate(8), lvremove(8) -----------------------------------------------------

SNAPSHOT = "freeze/backup"
SNAPSHOT_DEVICE = "/dev/mapper/freeze-backup"


def create_snapshot(volume):
    succeeds("lvcreate", "--snapshot", "--size", "64M", "--name", "backup", volume.lv,
             env=volume.env)


def remove_snapshot(volume):
    succeeds("lvremove", "--yes", SNAPSHOT, env=volume.env)


@contextlib.contextmanager
def snapshot_removed(volume):
    """A test that fails leaves none behind."""
    try:
        yield
    except (Failed, Broken):
        run("lvremove", "--yes", SNAPSHOT, env=volume.env)
        raise


def holds_what_was_frozen(volume, digest):
    equal(digest, volume.digest_on(SNAPSHOT_DEVICE), "the file's digest in the snapshot")
    volume.check(SNAPSHOT_DEVICE)


@case("lvm.snapshot_of_a_frozen", fails_on_6_1)
def snapshot_of_a_frozen(volume):
    """F, lvcreate -s: still frozen; the snapshot holds what was frozen"""
    volume.dirty()
    succeeds("fsfreeze", "-f", volume.dir)
    digest = volume.digest()
    writer = volume.frozen()
    with snapshot_removed(volume):
        create_snapshot(volume)
        volume.still_frozen(writer)
        succeeds("fsfreeze", "-u", volume.dir)
        volume.let_go(writer)
        holds_what_was_frozen(volume, digest)
        remove_snapshot(volume)


@case("lvm.removal_under_a_freeze", fails_on_6_1)
def removal_under_a_freeze(volume):
    """lvcreate -s, F, lvremove: still frozen, and lvcreate -s once more"""
    with snapshot_removed(volume):
        create_snapshot(volume)
        volume.dirty()
        succeeds("fsfreeze", "-f", volume.dir)
        digest = volume.digest()
        writer = volume.frozen()
        remove_snapshot(volume)
        volume.still_frozen(writer)
        create_snapshot(volume)
        volume.still_frozen(writer)
        succeeds("fsfreeze", "-u", volume.dir)
        volume.let_go(writer)
        holds_what_was_frozen(volume, digest)
        remove_snapshot(volume)


@case("lvm.snapshot_of_the_agents", fails)
def snapshot_beside_an_agent(volume):
    """F, the agent freezes, lvcreate -s, the agent thaws: the second snapshot is as the first"""
    volume.dirty()
    succeeds("fsfreeze", "-f", volume.dir)
    digest = volume.digest()
    writer = volume.frozen()
    with guest_agent() as agent, snapshot_removed(volume):
        equal(1, agent.freeze(volume.dir), "frozen filesystems")
        create_snapshot(volume)
        equal(1, agent.thaw(), "thawed filesystems")
        remove_snapshot(volume)
        volume.still_frozen(writer)
        create_snapshot(volume)
        succeeds("fsfreeze", "-u", volume.dir)
        volume.let_go(writer)
        holds_what_was_frozen(volume, digest)
        remove_snapshot(volume)


# dmsetup(8) -------------------------------------------------------------------

def suspends(volume):
    result = volume.suspend()
    if result.status != 0:
        raise Failed(f"dmsetup suspend: {result}")


def resumes(volume):
    result = volume.resume()
    if result.status != 0:
        raise Failed(f"dmsetup resume: {result}")


def suspend_still_freezes(volume):
    suspends(volume)
    writer = volume.frozen()
    resumes(volume)
    volume.let_go(writer)


@case("dmsetup.case_a", fails, dm_freezes=True)
def case_a(volume):
    """A: S F T R"""
    suspends(volume)
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.dir)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.still_frozen(writer)
    resumes(volume)
    volume.let_go(writer)
    suspend_still_freezes(volume)


@case("dmsetup.case_b", fails_on_6_1)
def case_b(volume):
    """B: F S R T"""
    succeeds("fsfreeze", "-f", volume.dir)
    writer = volume.frozen()
    suspends(volume)
    resumes(volume)
    volume.still_frozen(writer)
    succeeds("fsfreeze", "-u", volume.dir)
    volume.let_go(writer)


@case("dmsetup.case_c", fails, dm_freezes=True)
def case_c(volume):
    """C: S F T T: the second T is refused at once"""
    suspends(volume)
    writer = volume.frozen()
    succeeds("fsfreeze", "-f", volume.dir)
    succeeds("fsfreeze", "-u", volume.dir)
    refused(INVALID, "fsfreeze", "-u", volume.dir)
    volume.still_frozen(writer)
    resumes(volume)
    volume.let_go(writer)
    suspend_still_freezes(volume)


@case("dmsetup.stray_thaw", fails, dm_freezes=True)
def stray_thaw(volume):
    """S T R: T is refused, and a later lvcreate -s still finds the filesystem frozen"""
    suspends(volume)
    writer = volume.frozen()
    refused(INVALID, "fsfreeze", "-u", volume.dir)
    volume.still_frozen(writer)
    resumes(volume)
    volume.let_go(writer)
    suspend_still_freezes(volume)
    volume.dirty()
    digest = volume.digest()
    with snapshot_removed(volume):
        create_snapshot(volume)
        holds_what_was_frozen(volume, digest)
        remove_snapshot(volume)
