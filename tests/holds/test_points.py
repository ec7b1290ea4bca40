# SPDX-License-Identifier: LGPL-2.1-or-later
"""What must never happen again: each of these happened with version 0.1."""

import contextlib
import errno
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import unavailable
from tests.holds import raw
from tests.holds.conftest import (
    CONTAINER,
    FREEZECTL,
    Disk,
    NewWorker,
    freeze_with_guardian,
    fsfreeze,
)
from tests.holds.fuse import HangingMount
from tests.holds.languages import build_c, build_cpp
from tests.holds.libfreeze import LIBRARY
from tests.holds.worker import Worker
from tests.holds.writers import SOON, StuckWriter
from tests.support.paths import GUARDIAN
from tests.support.process import Program, is_alive, must, run, succeeds, wait_until
from tests.support.volumes import has_descriptors

TIMEOUT = 60_000  # milliseconds; no test lasts that long
DEFAULT_LIMIT = 60  # seconds, of freezectl run
AT_ONCE = 0.5  # seconds; the contract says 50 ms


def test_01_guards_of_a_stack_and_of_its_base(stack: tuple[Disk, Disk], worker: NewWorker) -> None:
    """Guards on {img, base} and on base in one process, thawed in that order."""
    base, upper = stack
    program = worker()
    program.must("freeze", paths=[base.name, upper.name], guard="both", timeout_ms=TIMEOUT)
    program.must("freeze", paths=[base.name], guard="base", timeout_ms=TIMEOUT)
    thawed = program.ask("thaw", guard="both", within=5)
    assert thawed.result == -errno.EDEADLK, thawed
    assert base.writers_wait and upper.writers_wait
    program.must("thaw", guard="base", within=5)
    program.must("thaw", guard="both", within=5)
    assert not base.writers_wait and not upper.writers_wait


@pytest.fixture
def decoy(stack: tuple[Disk, Disk], disks: list[Disk]) -> Path:
    """Another file with the name of the image, on another filesystem."""
    image = disks[1].path / "image"
    image.write_bytes(b"")
    return image.parent


@pytest.mark.parametrize("how", ["covered", "other mount namespace"])
def test_02_backing_file_by_name(
    how: str, stack: tuple[Disk, Disk], decoy: Path, work: Path, worker: NewWorker
) -> None:
    """The name of the image leads to another filesystem: covered, or in another namespace."""
    base, upper = stack
    elsewhere = work / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    must("mount", "--bind", base.path, elsewhere)
    try:
        if how == "covered":
            must("mount", "--bind", decoy, base.path)
            program = worker()
        else:
            cover = 'mount --bind "$0" "$1" && shift && exec "$@"'
            program = worker("unshare", "--mount", "sh", "-c", cover, decoy, base.path)
        paths = [os.fspath(elsewhere), upper.name]
        program.must("freeze", paths=paths, timeout_ms=TIMEOUT, within=10)
        order = [one["path"] for one in program.must("describe")["filesystems"]]
        assert order == [upper.name, os.fspath(elsewhere)]
        program.must("thaw", within=10)
    finally:
        if how == "covered":
            run("umount", "-l", base.path)
        run("umount", "-l", elsewhere)
    assert not base.writers_wait and not upper.writers_wait


def test_03_old_deadline_of_another_script(disk: Disk, worker: NewWorker) -> None:
    """A kept hold was thawed. Its deadline does not end the next script's freeze."""
    first = worker()
    first.must("freeze", paths=[disk.name], timeout_ms=1000)
    name = first.must("keep")["id"]
    assert worker().ask("thaw_id", id=name).result == 0
    assert not disk.writers_wait
    second = worker()
    second.must("freeze", paths=[disk.name])
    time.sleep(1.5)
    assert disk.writers_wait
    assert second.ask("thaw").result == 0


def test_03_old_deadline_freezectl(disk: Disk) -> None:
    """The same with the tool, whose thaw reports the truth."""
    succeeds(FREEZECTL, "freeze", "-t", "2s", disk.path)
    succeeds(FREEZECTL, "thaw", disk.path)
    name = succeeds(FREEZECTL, "freeze", "-t", "60s", disk.path).split()[0]
    time.sleep(2.5)
    assert disk.writers_wait
    succeeds(FREEZECTL, "thaw", "--id", name)
    assert not disk.writers_wait


def test_04_death_of_a_containers_init(
    disk: Disk, worker: NewWorker, request: pytest.FixtureRequest
) -> None:
    """Where the kernel has descriptors, that needs no socket of the host."""
    if not has_descriptors():
        request.getfixturevalue("host_socket")
    program = worker(*CONTAINER)
    assert program.must("ping")["pid"] == 1
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    assert disk.writers_wait
    program.kill()
    assert disk.heartbeat.thawed_within(SOON)


def test_05_command_reads_the_terminal_in_the_background(disk: Disk) -> None:
    """freezectl run … -- cat &, in a shell with job control, and without a limit from the user."""
    ours, theirs = pty.openpty()
    line = f"{FREEZECTL} run {disk.path} -- cat & echo $!; sleep 100"
    shell = subprocess.Popen(
        ["setsid", "--ctty", "sh", "-m", "-c", line], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    tool = int(os.read(ours, 100).split()[0])
    try:
        assert wait_until(lambda: disk.writers_wait, 5), "was not frozen"
        assert disk.heartbeat.thawed_within(DEFAULT_LIMIT + 5), "frozen beyond the default limit"
        assert wait_until(lambda: not is_alive(tool), 20), "freezectl is left"
    finally:
        for pid in (tool, shell.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shell.wait(5)
        os.close(ours)


@pytest.fixture
def hanging(work: Path, run_directory: Path) -> Iterator[HangingMount]:
    if not Path("/dev/fuse").exists():
        unavailable("needs FUSE: there is no /dev/fuse")
    mount = HangingMount(work)
    yield mount
    mount.end()


def test_06_path_on_an_unresponsive_mount(
    disk: Disk, hanging: HangingMount, worker: NewWorker
) -> None:
    program = worker()
    hanging.hang()
    paths = [disk.name, os.fspath(hanging.file)]
    answer = program.ask("freeze", paths=paths, acquire_timeout_ms=1000, within=5)
    assert answer.result == -errno.ETIMEDOUT, answer
    assert answer.seconds < 2
    assert not disk.writers_wait
    answer = program.ask("inspect", paths=paths, timeout_ms=1000, within=5)
    assert answer.result == -errno.ETIMEDOUT or answer.seconds < 2, answer


def test_06_output_on_an_unresponsive_mount(
    disk: Disk, hanging: HangingMount, worker: NewWorker
) -> None:
    """The program's standard output is a file on a dead server."""
    with open(os.open(hanging.file, os.O_WRONLY), "wb", buffering=0) as file:
        program = worker(stdout=file.fileno())
        hanging.hang()
        try:
            answer = program.ask(
                "freeze", paths=[disk.name], acquire_timeout_ms=5000, timeout_ms=TIMEOUT, within=10
            )
            assert answer.result == 0, answer
            assert answer.seconds < 2
            program.must("thaw")
        finally:
            hanging.server.kill()  # otherwise closing the file would block


def test_07_extend_after_a_thaw_by_somebody_else(disk: Disk, worker: NewWorker) -> None:
    """Reports it and does not freeze again."""
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    assert fsfreeze("-u", disk.name)[0] == 0
    check_extend_reports_the_thaw(program)
    assert disk.heartbeat.thawed_within(SOON)
    assert program.ask("thaw").result == -errno.ESTALE


def check_extend_reports_the_thaw(program: Worker) -> None:
    """It may answer before it is known whether the filesystem is still frozen, because it never
    blocks. Then the descriptor reports it."""
    answer = program.ask("extend", timeout_ms=TIMEOUT)
    assert answer.seconds < AT_ONCE
    assert answer.result in (0, -errno.ESTALE), answer
    assert program.ask("poll", milliseconds=3000).result == 1
    assert program.ask("extend", timeout_ms=TIMEOUT).result == -errno.ESTALE


def test_07_extend_while_a_freeze_would_block(
    disk: Disk, worker: NewWorker, stuck_writer: Callable[[Path], StuckWriter]
) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    assert fsfreeze("-u", disk.name)[0] == 0
    writer = stuck_writer(disk.path)
    check_extend_reports_the_thaw(program)
    writer.end()
    assert disk.heartbeat.thawed_within(SOON)
    assert program.ask("thaw").result == -errno.ESTALE


def test_08_keep_after_the_deadline(disk: Disk, worker: NewWorker) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=100)
    time.sleep(0.3)
    assert not disk.writers_wait
    answer = program.ask("keep")
    assert answer.result == -errno.ESTALE, answer


def test_09_adopt_refuses_what_it_cannot_honour(disk: Disk, worker: NewWorker) -> None:
    program = worker()
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = program.must("keep")["id"]
    for option in ("flush_budget_ms", "progress", "skip_unfreezable"):
        answer = program.ask("adopt", path=disk.name, within=10, **{option: True})
        assert answer.result == -errno.EINVAL, f"{option}: {answer}"
        assert disk.writers_wait
    assert program.ask("adopt_id", id=name, timeout_ms=-1).result == -errno.ERANGE
    assert program.ask("thaw_id", id=name).result == 0


def test_09_adopt_honours_its_options(disk: Disk, worker: NewWorker) -> None:
    keeper = worker()
    keeper.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = keeper.must("keep")["id"]
    other = worker()
    other.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT, comment="other")
    program = worker()
    program.must("adopt", path=disk.name, timeout_ms=TIMEOUT, lock_memory=1)
    assert program.must("locked_memory").result > 0
    holds = program.must("inspect", paths=[disk.name])["report"][0]["holds"]
    assert {hold["pid"] for hold in holds} == {program.pid, other.pid}
    assert program.must("describe")["id"] == name
    # It reaches its own hold only.
    assert program.ask("thaw").result == 0
    assert program.must("locked_memory").result == 0
    assert disk.writers_wait
    assert other.ask("thaw").result == 0
    assert not disk.writers_wait


def test_09_adopt_knows_of_self_deadlock(disk: Disk, worker: NewWorker) -> None:
    with open(disk.path / "log", "ab") as log:
        program = worker(stdout=log.fileno())
    keeper = worker()
    keeper.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    name = keeper.must("keep")["id"]
    answer = program.ask("adopt", path=disk.name, timeout_ms=TIMEOUT)
    assert answer.result == -errno.EDEADLK, answer
    assert "standard output" in answer.message
    program.must("adopt", path=disk.name, timeout_ms=TIMEOUT, allow_self_deadlock=1)
    assert program.must("describe")["id"] == name
    assert program.ask("thaw").result == 0


def test_10_forked_child_that_is_pid_1_too(
    disk: Disk, host_socket: Path, worker: NewWorker
) -> None:
    program = worker(*CONTAINER)
    program.must("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    answer = program.must("child_in_new_pid_namespace")
    assert (answer["pid"], answer["child"]) == (1, 1)
    assert answer["thawed"] == -errno.EINVAL
    assert disk.writers_wait
    assert program.ask("thaw").result == 0


def test_11_file_capabilities_instead_of_root(disk: Disk, work: Path, run_directory: Path) -> None:
    """With a timeout. Such a program does not trust its environment, so the guardian is where the
    library was installed to."""
    program = build_c(work)
    must("setcap", "cap_sys_admin+ep", program)
    installed = re.search(rb"/[^\0]+/libfreeze-guardian(?=\0)", LIBRARY.resolve().read_bytes())
    assert installed
    target = Path(os.fsdecode(installed[0]))
    prefix = next(path for path in target.parents if path.exists())
    install = 'mount -t tmpfs none "$1" && mkdir -p "${2%/*}" && cp "$0" "$2"'
    prepare: list[str | Path] = [install + '; shift 2; exec "$@"', GUARDIAN, prefix, target]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    holder = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", *prepare, *nobody, program, disk.path, "60000"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert wait_until(lambda: disk.writers_wait or holder.poll() is not None, 5)
        assert holder.poll() is None, output(holder.stdout)
        out, _ = holder.communicate(timeout=5)
    finally:
        holder.kill()
    assert holder.returncode == 0 and b"thawed" in out, out
    assert not disk.writers_wait


def output(stream: IO[bytes] | None) -> str:
    return stream.read().decode() if stream else ""


def test_12_client_of_another_version(disk: Disk, worker: NewWorker) -> None:
    """The guardian refuses it clearly and serves the others."""
    program = worker()
    freeze_with_guardian(program, disk, TIMEOUT)
    client = raw.Client(disk.path)
    answer = client.hello(version=raw.VERSION + 41)
    assert answer.type == raw.RESULT
    assert (answer.error, answer.version) == (errno.EPROTONOSUPPORT, raw.VERSION)
    client.close()
    assert program.ask("extend", timeout_ms=TIMEOUT).result == 0
    assert program.ask("thaw").result == 0


def test_12_guardian_of_another_version(disk: Disk, worker: NewWorker) -> None:
    """The library reports it, and has frozen nothing. Where the kernel has descriptors, only a kept
    hold needs a guardian."""
    server = raw.Server(disk.path, version=raw.VERSION + 41)
    program = worker()
    try:
        answer = program.ask("freeze", paths=[disk.name], timeout_ms=TIMEOUT, within=10)
        if has_descriptors():
            assert answer.result == 0, answer
            answer = program.ask("keep", within=10)
            assert disk.writers_wait
            program.must("thaw")
    finally:
        server.end()
    assert answer.result == -errno.EPROTONOSUPPORT, answer
    assert "version" in answer.message
    assert not disk.writers_wait


def test_13_einval_does_not_mean_expired(work: Path) -> None:
    assert run(build_cpp(work)).status == 0


EXCHANGE = """
import ctypes, sys
AT_FDCWD, RENAME_EXCHANGE = -100, 2
one, other = (name.encode() for name in sys.argv[1:])
rename = ctypes.CDLL(None).renameat2
while True:
    rename(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE)
"""


def test_14_path_replaced_by_a_symbolic_link(
    disks: list[Disk], work: Path, worker: NewWorker
) -> None:
    """What the guard says that it holds is what is frozen, whatever the path leads to meanwhile."""
    swapped = work / "swapped"
    swapped.mkdir(exist_ok=True)
    link, other = swapped / "link", swapped / "other"
    link.symlink_to(disks[0].path)
    other.symlink_to(disks[1].path)
    racer = Program(sys.executable, "-c", EXCHANGE, link, other)
    program = worker()
    try:
        for _ in range(40):
            program.must("freeze", paths=[os.fspath(link)], timeout_ms=TIMEOUT)
            held = program.must("describe")["filesystems"]
            frozen = [disk.name for disk in disks if disk.writers_wait]
            assert [one["mountpoint"] for one in held] == frozen
            program.must("thaw")
            program.must("free")
    finally:
        racer.process.kill()
        racer.process.wait(5)
        shutil.rmtree(swapped)


@pytest.fixture
def swap_files(disks: list[Disk]) -> Iterator[Path]:
    """Swap files with long names on one filesystem, and a last one on the other."""
    decoys, last = disks[1].path / ("d" * 250), disks[0].path / "swap"
    deep = decoys / ("e" * 250) / ("f" * 250)
    deep.mkdir(parents=True)
    files = [deep / f"{number:0250}" for number in range(5)] + [last]
    try:
        for file in files:
            file.write_bytes(bytes(64 << 10))
            file.chmod(0o600)
            os.sync()
            must("mkswap", file)
            if run("swapon", file).status != 0:
                unavailable("cannot swap to a file")
        yield last
    finally:
        for file in files:
            run("swapoff", file)
            file.unlink(missing_ok=True)
        shutil.rmtree(decoys)


def test_14_long_list_of_swap_files(swap_files: Path, disk: Disk, worker: NewWorker) -> None:
    assert len(Path("/proc/swaps").read_bytes()) > 4096
    answer = worker().ask("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    assert answer.result == -errno.EDEADLK, answer
    assert "swap" in answer.message
    assert not disk.writers_wait


def test_14_filesystems_after_a_partly_failed_thaw(
    stack: tuple[Disk, Disk], worker: NewWorker
) -> None:
    """The guard lists what it still holds, and no more."""
    base, upper = stack
    program, other = worker(), worker()
    program.must("freeze", paths=[base.name, upper.name], timeout_ms=TIMEOUT)
    other.must("freeze", paths=[base.name], timeout_ms=TIMEOUT)
    assert program.ask("thaw", within=5).result == -errno.EDEADLK
    listed = {one["path"] for one in program.must("describe")["filesystems"]}
    holders = program.must("inspect", paths=[base.name, upper.name])["report"]
    held = {
        one["path"] for one in holders if any(hold["pid"] == program.pid for hold in one["holds"])
    }
    assert listed == held and upper.name in listed
    other.must("thaw", within=5)
    program.must("thaw", within=5)


def test_14_pipe_to_a_log_on_the_filesystem(disk: Disk, worker: NewWorker) -> None:
    """Standard error is a pipe, and its reader writes to the filesystem."""
    with open(disk.path / "journal", "ab") as journal:
        logger = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=journal)
    assert logger.stdin
    program = worker(stderr=logger.stdin.fileno())
    logger.stdin.close()
    answer = program.ask("freeze", paths=[disk.name], timeout_ms=TIMEOUT)
    program.end()
    logger.kill()
    logger.wait(5)
    assert answer.result == -errno.EDEADLK, answer
    assert "standard error" in answer.message
    assert not disk.writers_wait


def test_14_failed_supervision_is_not_cannot_execute(disk: Disk) -> None:
    """freezectl cannot wait for COMMAND, because a low limit for descriptors makes poll() fail. It
    reports that, ends COMMAND and thaws."""
    tool = Program(FREEZECTL, "run", "-t", "60s", disk.path, "--", "sleep", "60")
    pid = tool.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children")
    assert wait_until(lambda: disk.writers_wait and children.read_text(), 5)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    command = int(children.read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (2, limits[1]))  # it waits for three
    os.kill(command, signal.SIGSTOP)  # wakes it
    wait_until(lambda: not is_alive(command), 2)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    result = tool.finish(10)
    assert result.status == 125, result
    assert "cannot wait for the command" in result.text
    assert not disk.writers_wait
    assert wait_until(lambda: not is_alive(command), 5)
