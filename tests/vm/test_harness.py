# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harness itself, on the stock kernel: what it passes through, and how it reports trouble."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support import apt_fetch
from tests.support.paths import ROOT, TESTS, cache_dir
from tests.support.process import is_alive
from tests.vm import image, source
from tests.vm.qemu import HANG, NO_VERDICT, PANICKED, SILENCE

KERNEL = "6.12"
BAD_LOG = 124
TIMEOUT = 300  # a whole boot and the command, on a busy machine
VM = [sys.executable, "-B", "-m", "tests.vm"]

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session", autouse=True)
def kernel() -> None:
    """Builds it, if it is not cached, before the time of a test counts."""
    words = ["build", "--kernel", KERNEL, "--flavour", "stock"]
    subprocess.run([*VM, *words], stdout=subprocess.DEVNULL, check=True)


def vm(*options: str, command: list[str], cwd: Path = ROOT, **environment: str) -> Done:
    """The finished `vm run` on the stock kernel."""
    words = ["run", "--kernel", KERNEL, "--flavour", "stock", *options, "--", *command]
    return subprocess.run(
        [*VM, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT,
        cwd=cwd,
        env=dict(os.environ, **environment),
    )


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def check(done: Done, status: int, *, out: str | None = None, error: str = "") -> None:
    print(f"exit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    assert done.returncode == status
    assert out is None or done.stdout == out
    assert re.search(error, done.stderr)


def test_arguments_output_environment_disks_and_exit_status_pass_through() -> None:
    odd = ["a b", "two\nlines", "", "'\"$HOME`id`\\", "--flag", "ü"]
    script = (
        'printf "[%s]" "$@"; echo; echo "$ODD"; echo error >&2; '
        "cat /sys/block/vda/size /sys/block/vdb/size; "
        'echo "$LIBFREEZE_VM $LIBFREEZE_KERNEL $LIBFREEZE_FLAVOUR"; pwd; '
        "echo scratch >/tmp/x && cat /tmp/x; echo $(id -u); exit 42"
    )
    disks = ("--disk", "8M", "--disk", "1G")
    done = vm("--env", "ODD=x  'y", *disks, command=[*shell(script), "sh", *odd])
    want = "".join(f"[{word}]" for word in odd)
    want += f"\nx  'y\nerror\n16384\n2097152\n1 {KERNEL} stock\n{ROOT}\nscratch\n0\n"
    check(done, 42, out=want)


def test_every_byte_of_a_long_output_arrives() -> None:
    """Also the last one without a newline."""
    done = vm(command=shell("seq 1 300000; printf end"))
    check(done, 0, out="".join(f"{n}\n" for n in range(1, 300001)) + "end")


def test_a_panic_is_reported() -> None:
    done = vm(command=shell("echo c >/proc/sysrq-trigger; sleep 60"))
    check(done, PANICKED, error="Kernel panic")


def test_a_guest_that_does_not_end_is_given_up() -> None:
    done = vm("--timeout", "25", command=shell("while :; do echo alive; sleep 1; done"))
    check(done, HANG, error="Show Blocked State")
    assert "alive" in done.stdout


def test_a_silent_guest_is_given_up() -> None:
    check(vm("--silence", "10", command=["sleep", "1000"]), SILENCE)


def test_a_guest_that_goes_away_without_a_verdict_is_a_failure() -> None:
    check(vm(command=shell("echo b >/proc/sysrq-trigger; sleep 60")), NO_VERDICT)


def test_a_warning_in_the_kernel_log_fails_a_command_that_succeeded() -> None:
    done = vm(command=shell("echo 'WARNING: possible circular locking' >/dev/kmsg"))
    check(done, BAD_LOG, error="possible circular")


def test_a_warning_in_the_kernel_log_keeps_the_status_of_a_command_that_failed() -> None:
    done = vm(command=shell("echo 'BUG: sleeping function called' >/dev/kmsg; exit 3"))
    check(done, 3, error="sleeping function")


def test_expect_log_accepts_a_warning_and_its_trace() -> None:
    script = "echo 'WARNING: this is mine' >/dev/kmsg; echo 'Call Trace:' >/dev/kmsg"
    options = ("--expect-log", "WARNING: .*mine", "--allow-log", "never seen")
    check(vm(*options, command=shell(script)), 0)


def test_expect_log_fails_when_the_line_does_not_come() -> None:
    done = vm("--expect-log", "it never comes", command=["true"])
    check(done, BAD_LOG, error="it never comes")


REPORT_AN_ERROR = """
set -e
mkfs.ext4 -q /dev/vda
mkdir /mnt/t
mount /dev/vda /mnt/t
echo mine >/sys/fs/ext4/vda/trigger_fs_error
"""


def test_forbid_damage_fails_when_a_filesystem_reports_an_error() -> None:
    done = vm("--disk", "64M", "--forbid-damage", command=shell(REPORT_AN_ERROR))
    check(done, BAD_LOG, error="unexpected in the kernel log: .*EXT4-fs error .*mine")
    check(vm("--disk", "64M", command=shell(REPORT_AN_ERROR)), 0)


FREEZE_AND_BLOCK = """
set -e
mkfs.ext4 -q /dev/vda
mkdir /mnt/t
mount /dev/vda /mnt/t
echo 4 >/proc/sys/kernel/hung_task_timeout_secs
fsfreeze -f /mnt/t
touch /mnt/t/blocked &
"""


def test_a_task_that_is_blocked_forever_is_found() -> None:
    done = vm("--disk", "64M", command=shell(FREEZE_AND_BLOCK + "sleep 12"))
    check(done, BAD_LOG, error="INFO: task touch")


def test_a_filesystem_left_frozen_does_not_block_the_end() -> None:
    check(vm("--disk", "64M", command=shell(FREEZE_AND_BLOCK + "exit 5")), 5)


def stop(number: int) -> tuple[int, list[int]]:
    """Stops a run by the signal. Returns its exit status and its QEMUs that are still alive."""
    words = ["run", "--kernel", KERNEL, "--flavour", "stock", "--", *shell("echo up; sleep 1000")]
    # A shell makes its background jobs ignore SIGINT.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", *VM, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    assert process.stdout and process.stdout.readline() == b"up\n"
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "qemu"], stdout=subprocess.PIPE, text=True
    )
    qemus = [int(pid) for pid in found.stdout.split()]
    assert qemus
    process.send_signal(number)
    process.communicate()
    watchdog.cancel()
    time.sleep(1)
    return process.returncode, [pid for pid in qemus if is_alive(pid)]


def test_an_interrupted_run_leaves_no_qemu_behind() -> None:
    assert stop(signal.SIGINT) == (130, [])


def test_a_killed_run_leaves_no_qemu_behind() -> None:
    assert stop(signal.SIGKILL) == (-signal.SIGKILL, [])


def test_no_root_is_needed(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        check(vm(command=["true"]), 0)
        return
    nobody = pwd.getpwnam("nobody")
    image_path = image.build(KERNEL, "stock")
    place = Path(f"/var/tmp/libfreeze-vm-{os.getpid()}")
    place.mkdir()
    try:
        # The checkout itself may be where only root can go.
        cache, checkout = place / "cache", place / "checkout"
        for part in ("patches", "tests/overhead", "tests/support", "tests/vm"):
            shutil.copytree(ROOT / part, checkout / part)
        shutil.copy(TESTS / "__init__.py", checkout / "tests")
        shutil.copytree(image_path.parent, cache / "images" / image_path.parent.name)
        shutil.copytree(cache_dir("kvm"), cache / "kvm")
        subprocess.run(["chown", "-R", f"{nobody.pw_uid}:{nobody.pw_gid}", place], check=True)
        done = subprocess.run(
            [
                *VM,
                *["run", "--kernel", KERNEL, "--flavour", "stock", "--"],
                *shell("id -u; cat /proc/1/cmdline >/dev/null"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            cwd=checkout,
            env=dict(os.environ, LIBFREEZE_CACHE=str(cache), HOME=str(place)),
            user=nobody.pw_uid,
            group=nobody.pw_gid,
            extra_groups=[],
        )
        check(done, 0, out="0\n")
    finally:
        shutil.rmtree(place)


@pytest.fixture
def missing_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A supported kernel that is not in the cache, and whose pinned source is not available."""

    def download(release: str, packages: Sequence[str], directory: Path) -> list[Path]:
        raise apt_fetch.Unavailable(f"{release} has no {packages[0]}")

    base = tmp_path / "patches/9.9/BASE"
    base.parent.mkdir(parents=True)
    base.write_text("package: linux-source-9.9\n\nversion: 9.9.1-1\nrelease: bookworm\nsha256: 0\n")
    monkeypatch.setattr(source, "PATCHES", tmp_path / "patches")
    monkeypatch.setattr(apt_fetch, "download", download)
    monkeypatch.setenv("LIBFREEZE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KERNEL_SRC", raising=False)
    return "9.9"


def test_a_kernel_dropped_by_the_archive_is_reported(
    missing_kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt_fetch, "versions", lambda release, package: [])
    with pytest.raises(source.Dropped, match="neither a pinned"):
        source.describe(missing_kernel)


def test_an_archive_that_cannot_be_reached_is_reported(
    missing_kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt_fetch, "mirrors", lambda release: [])
    with pytest.raises(source.Failure, match="no archive can be reached"):
        source.describe(missing_kernel)
