# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples on the running kernel, on ext4 on loop devices.

thin_snapshot needs LVM: tests/stacks runs it in the virtual machine."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import volumes
from tests.support.paths import BUILD
from tests.support.process import Program, Word, in_child, run, wait_until

EXAMPLES = BUILD / "examples"
LEDGER = Path(__file__).with_name("ledger.py")
# $MOUNTPOINT is frozen while an example runs these.
WRITE_IS_BLOCKED = """
    touch "$MOUNTPOINT/written-$$" &
    sleep 0.5
    [ ! -e "$MOUNTPOINT/written-$$" ] && echo "write blocked" """
THAW = 'fsfreeze -u "$MOUNTPOINT"'
INTERRUPT = "kill -TERM $PPID; kill -TERM $$"

Expect = Callable[..., None]


@pytest.fixture(scope="session")
def mountpoints(work: Path) -> Iterator[tuple[Path, Path]]:
    if not EXAMPLES.joinpath("snapshot").exists():
        pytest.fail(f"{EXAMPLES} is not built: run meson compile, or set LIBFREEZE_BUILD")
    if why := volumes.why_no_filesystem("ext4"):
        pytest.skip(why)
    pair = [volumes.Volume(work, "ext4", name) for name in (b"mount point", b"second mount point")]
    os.environ.update(volumes.library_environment(work), MOUNTPOINT=str(pair[0].path))
    yield pair[0].path, pair[1].path
    for volume in pair:
        volume.destroy()


@pytest.fixture
def mountpoint(mountpoints: tuple[Path, Path]) -> Path:
    return mountpoints[0]


@pytest.fixture
def expect(mountpoints: tuple[Path, Path], work: Path) -> Expect:
    """Runs an example, which must end with this status, print this text, and thaw."""

    def check(status: int, text: str, name: str, *words: Word) -> None:
        result = run(EXAMPLES / name, *words, seconds=60)
        left_frozen = volumes.thaw_below(work)
        assert result.status == status, str(result)
        assert text in result.text, str(result)
        assert not left_frozen, f"left frozen: {left_frozen}; {result}"

    return check


# snapshot -------------------------------------------------------------------------------------


def test_snapshot_freezes_while_the_command_runs(expect: Expect, mountpoint: Path) -> None:
    expect(0, "write blocked", "snapshot", mountpoint, 0, "--", "sh", "-c", WRITE_IS_BLOCKED)


def test_snapshot_passes_on_the_exit_status_of_the_command(
    expect: Expect, mountpoint: Path
) -> None:
    expect(7, "", "snapshot", mountpoint, 0, "--", "sh", "-c", "exit 7")


def test_snapshot_reports_a_command_that_does_not_exist(expect: Expect, mountpoint: Path) -> None:
    expect(127, "cannot run no-such-command", "snapshot", mountpoint, 0, "--", "no-such-command")


def test_snapshot_does_not_trust_a_freeze_that_was_ended(expect: Expect, mountpoint: Path) -> None:
    expect(125, "did not stay frozen", "snapshot", mountpoint, 0, "--", "sh", "-c", THAW)


def test_snapshot_survives_an_interrupt_and_thaws(expect: Expect, mountpoint: Path) -> None:
    expect(143, "", "snapshot", mountpoint, 0, "--", "sh", "-c", INTERRUPT)


def test_snapshot_explains_its_usage(expect: Expect, mountpoint: Path) -> None:
    expect(125, "usage: snapshot", "snapshot", mountpoint, "--", "true")


def test_snapshot_names_a_path_that_does_not_exist(expect: Expect) -> None:
    expect(125, "cannot freeze '/none': check the path", "snapshot", "/none", 0, "--", "true")


def test_snapshot_reports_a_timeout(expect: Expect, mountpoint: Path) -> None:
    expect(125, "discard the snapshot", "snapshot", mountpoint, 2, "--", "sleep", 3)


def test_snapshot_in_c_freezes_while_the_command_runs(expect: Expect, mountpoint: Path) -> None:
    expect(0, "write blocked", "snapshot_in_c", WRITE_IS_BLOCKED, mountpoint)


def test_snapshot_in_c_does_not_trust_a_freeze_that_was_ended(
    expect: Expect, mountpoint: Path
) -> None:
    expect(1, "discard the snapshot", "snapshot_in_c", THAW, mountpoint)


# keepalive ------------------------------------------------------------------------------------


def test_keepalive_copies_the_device(expect: Expect, mountpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    expect(0, "", "keepalive", mountpoint, copy)
    check = run("fsck.ext4", "-fn", copy)
    assert check.status == 0, str(check)


# event_loop -----------------------------------------------------------------------------------

LIBRARY = BUILD / "libfreeze/libfreeze.so"


def thaw_for_others(mountpoint: Path) -> None:
    """Another program thaws through libfreeze, which its holders learn at once."""
    thaw = ctypes.CDLL(str(LIBRARY)).libfreeze_thaw_others
    path = os.fsencode(mountpoint)
    assert in_child(lambda: -int(thaw(path, ctypes.c_int64(5000), None)), 10) == 0


class SlowReceiver:
    """event_loop, with nobody who reads what it sends."""

    def __init__(self, mountpoint: Path, seconds: int) -> None:
        self.output, writer = os.pipe()
        command: list[str | Path] = [EXAMPLES / "event_loop", mountpoint, str(seconds)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE, text=True
        )
        os.close(writer)

    def is_full(self) -> bool:
        """It has frozen the filesystem, and waits for its receiver."""
        return os.read(self.output, 1) != b""

    def gives_up(self, seconds: float) -> str:
        """Its message, once it has ended."""
        _, text = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 1, text
        return text

    def end(self) -> None:
        self.process.kill()
        os.close(self.output)


@pytest.fixture
def slow_receiver(mountpoint: Path, work: Path) -> Iterator[Callable[[int], SlowReceiver]]:
    started: list[SlowReceiver] = []

    def start(seconds: int) -> SlowReceiver:
        started.append(SlowReceiver(mountpoint, seconds))
        assert started[-1].is_full()
        return started[-1]

    yield start
    for receiver in started:
        receiver.end()
    assert wait_until(lambda: not volumes.thaw_below(work)), "left frozen"


def test_event_loop_sends_the_device(expect: Expect, mountpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    send = ["/bin/sh", "-c", 'exec "$0" "$1" 60 >"$2"', EXAMPLES / "event_loop", mountpoint, copy]
    expect(0, "", *send)
    check = run("fsck.ext4", "-fn", copy)
    assert check.status == 0, str(check)


def test_event_loop_gives_up_at_once_when_another_program_thaws(
    slow_receiver: Callable[[int], SlowReceiver], mountpoint: Path
) -> None:
    receiver = slow_receiver(60)
    thaw_for_others(mountpoint)
    assert "another program has thawed it" in receiver.gives_up(2)


def test_event_loop_gives_up_at_its_deadline(
    slow_receiver: Callable[[int], SlowReceiver],
) -> None:
    assert "its deadline has passed" in slow_receiver(1).gives_up(4)


# database_and_log -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_database_and_log_copies_both_at_one_point_in_time(
    expect: Expect, mountpoints: tuple[Path, Path], tmp_path: Path, mode: str
) -> None:
    """While a program writes to both."""
    database, log = mountpoints[0] / f"{mode}.db", mountpoints[1] / f"{mode}.log"
    writer = Program(LEDGER, "write", database, log, mode)
    try:
        assert wait_until(lambda: log.exists() and log.read_bytes().count(b"\n") >= 20)
        for number in range(3):
            copy = tmp_path / str(number)
            expect(0, "", "database_and_log", database, log, copy)
            check = run(LEDGER, "check", copy / database.name, copy / log.name)
            assert check.status == 0, str(check)
        assert writer.running(), f"the writer has ended, so this proves nothing: {writer.text()}"
    finally:
        writer.process.kill()
        writer.finish()


def test_database_and_log_does_not_touch_an_existing_directory(
    expect: Expect, mountpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    expect(
        1,
        f"{tmp_path} exists already",
        "database_and_log",
        mountpoints[0] / "wal.db",
        mountpoints[1] / "wal.log",
        tmp_path,
    )


def test_database_and_log_leaves_no_partial_copy(
    expect: Expect, mountpoints: tuple[Path, Path], tmp_path: Path
) -> None:
    database, copy = mountpoints[0] / "some.db", tmp_path / "half"
    database.touch()
    expect(1, "No such file", "database_and_log", database, mountpoints[1] / "none", copy)
    assert not copy.exists()


# retry ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "command", "status", "taken", "discarded"),
    [
        pytest.param(10, WRITE_IS_BLOCKED, 0, 1, 0, id="takes a good one once"),
        pytest.param(
            10, f'[ "$(wc -l <taken)" -gt 1 ] || {THAW}', 0, 2, 1, id="after a thaw by others"
        ),
        pytest.param(2, "sleep 2.5", 0, 2, 1, id="with more time if the command was too slow"),
        pytest.param(10, THAW, 1, 3, 3, id="gives up"),
        pytest.param(10, "false", 1, 1, 0, id="not if the command fails"),
    ],
)
def test_retry(
    expect: Expect,
    mountpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
    command: str,
    status: int,
    taken: int,
    discarded: int,
) -> None:
    """How often it runs its two commands."""
    monkeypatch.chdir(tmp_path)
    Path("taken").touch()
    Path("discarded").touch()
    take = f"echo >>taken; {command}"
    expect(status, "", "retry", mountpoint, seconds, take, "echo >>discarded")
    counts = [Path(name).read_text().count("\n") for name in ("taken", "discarded")]
    assert counts == [taken, discarded]
