# SPDX-License-Identifier: LGPL-2.1-or-later
"""Boots an image in QEMU, runs a command there, brings back what it said."""

import ctypes
import hashlib
import os
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT, cache_dir

from .common import VM, Failure, say
from .kernel_log import KernelLog

QEMU = "qemu-system-x86_64"
SCRATCH = ("/tmp", "/run", "/mnt", "/var/tmp")
PANICKED, HANG, SILENCE, NO_VERDICT, BAD_LOG, BROKEN = 120, 121, 122, 123, 124, 125
KEEP_LOGS = 100
# The emulated TSC is the host's, at a frequency that the guest can only measure
# while the host leaves it alone: on a busy one its clock would then run many
# times too fast. The HPET's time is right whatever the load.
EMULATED_CPU = "max,-tsc"
PR_SET_PDEATHSIG = 1
COMMAND_LINE = [
    "console=ttyS0",
    "loglevel=7",
    "printk.devkmsg=on",
    "root=rootfs",
    "rootfstype=9p",
    "rootflags=trans=virtio,version=9p2000.L,msize=512000,cache=loose",
    "ro",
    "panic=-1",
    "oops=panic",
    "panic_on_warn=0",
    "nokaslr",
    "random.trust_cpu=on",
    # An emulated CPU on a busy machine is slow, not stuck.
    "no_timer_check",
    "sysctl.kernel.watchdog_thresh=60",
    "rcupdate.rcu_cpu_stall_timeout=120",
    "workqueue.watchdog_thresh=120",
]


@dataclass
class Job:
    """What to run in the guest, and the limits (in seconds and MiB)."""

    image: Path
    command: Sequence[str]
    timeout: float = 600
    silence: float = 180
    memory: int = 1024
    cpus: int = 2
    disks: Sequence[int] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    append: Sequence[str] = ()
    accel: str | None = None


class Verdict(NamedTuple):
    """How a run ended: an exit status and, if it is not the command's, the reason."""

    status: int
    why: str = ""


Sink = Callable[[bytes], object]


class Output:
    """Passes the command's output on, up to the token that ends it."""

    def __init__(self, token: str, sink: Sink) -> None:
        self.token, self.sink = token.encode() + b"\n", sink
        self.held, self.ended = b"", False

    def feed(self, data: bytes) -> None:
        if self.ended:
            return
        data = self.held + data
        before, token, _ = data.partition(self.token)
        if token:
            self.ended, self.held = True, b""
        else:
            keep = next(
                (n for n in range(len(self.token) - 1, 0, -1) if data.endswith(self.token[:n])), 0
            )
            before, self.held = data[: len(data) - keep], data[len(data) - keep :]
        self.sink(before)

    def close(self) -> None:
        self.sink(self.held)
        self.held = b""


def to_stdout(data: bytes) -> None:
    if data:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def kept_paths() -> list[str]:
    """What the job needs of the places that become scratch space in the guest."""
    wanted = [str(ROOT), os.environ.get("LIBFREEZE_BUILD", "")]
    return [path for path in wanted if any(path.startswith(place + "/") for place in SCRATCH)]


def write_job(directory: Path, job: Job, token: str) -> None:
    """The files that the guest's init reads."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in job.env.items())
    command = " ".join(map(shlex.quote, job.command))
    (directory / "command").write_text(
        f"{exports}cd {shlex.quote(str(ROOT))} || exit 125\nexec {command}\n"
    )
    (directory / "token").write_text(token + "\n")
    (directory / "kept").write_text("".join(path + "\n" for path in kept_paths()))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Guest:
    """One QEMU, its channels and its files."""

    def __init__(self, job: Job, directory: Path, console: Path) -> None:
        self.job, self.console = job, console
        self.token = f"<libfreeze-vm {secrets.token_hex(16)}>"
        (directory / "job").mkdir()
        write_job(directory / "job", job, self.token)
        self.ports: dict[str, socket.socket] = {}
        far = [self.port(name) for name in ("output", "verdict", "control")]
        arguments = self.arguments(directory, far)
        self.log = directory / "qemu.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
                pass_fds=[end.fileno() for _, end in far],
            )
        for _, end in far:
            end.close()

    def port(self, name: str) -> tuple[str, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        self.ports[name] = near
        return name, far

    def arguments(self, directory: Path, far: list[tuple[str, socket.socket]]) -> list[str]:
        job = self.job
        append = [*COMMAND_LINE, f'init="{VM}/guest/init"', *job.append]
        accel = job.accel or accelerator(job.image)
        command = [
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-machine",
            "q35",
            "-accel",
            accel,
            "-cpu",
            "max" if accel == "kvm" else EMULATED_CPU,
            "-smp",
            str(job.cpus),
            "-m",
            str(job.memory),
            "-kernel",
            str(job.image),
            "-append",
            " ".join(append),
            "-chardev",
            f"file,id=console,path={self.console}",
            "-serial",
            "chardev:console",
            "-device",
            "virtio-rng-pci",
            "-device",
            "virtio-serial-pci",
        ]
        for name, end in far:
            command += [
                "-chardev",
                f"socket,id={name},fd={end.fileno()}",
                "-device",
                f"virtserialport,chardev={name},name={name}",
            ]
        for tag, path in (("rootfs", "/"), ("job", directory / "job")):
            command += [
                "-fsdev",
                f"local,id={tag},path={path},security_model=none,readonly=on,multidevs=remap",
                "-device",
                f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
            ]
        for number, size in enumerate(job.disks):
            disk = directory / f"disk{number}"
            with open(disk, "wb") as file:
                file.truncate(size)
            command += [
                "-drive",
                f"file={disk},if=none,id=disk{number},format=raw,cache=unsafe,discard=unmap",
                "-device",
                f"virtio-blk-pci,drive=disk{number},serial=disk{number}",
            ]
        return command

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def console_size(self) -> int:
        return self.console.stat().st_size if self.console.exists() else 0

    def console_has(self, text: bytes) -> bool:
        return text in self.console.read_bytes()


class Watch:
    """Follows a guest to its end and says how it ended."""

    def __init__(self, guest: Guest, sink: Sink) -> None:
        self.guest, self.job = guest, guest.job
        self.output = Output(guest.token, sink)
        self.verdict = b""
        self.began = self.heard = time.monotonic()
        self.console_seen = 0

    def follow(self) -> Verdict:
        while True:
            self.listen()
            ended = self.ending()
            if ended:
                self.output.close()
                return ended

    def listen(self) -> None:
        """Take what the ports bring; wait for it a moment."""
        ports = self.guest.ports
        ready, _, _ = select.select([ports["output"], ports["verdict"]], [], [], 0.2)
        for port in ready:
            try:
                data = port.recv(65536)
            except OSError:
                data = b""
            if not data:
                time.sleep(0.05)
                continue
            self.heard = time.monotonic()
            if port is ports["verdict"]:
                self.verdict += data
            else:
                self.output.feed(data)
        size = self.guest.console_size()
        if size != self.console_seen:
            self.console_seen, self.heard = size, time.monotonic()

    def ending(self) -> Verdict | None:
        if self.verdict.endswith(b"\n") and self.output.ended:
            if self.guest.console_has(b"libfreeze-vm: end"):
                return self.judge()
        if self.guest.process.poll() is not None:
            self.listen()
            return self.died()
        now = time.monotonic()
        if now - self.began > self.job.timeout:
            return self.give_up(HANG, f"no end after {self.job.timeout} s (--timeout)")
        if now - self.heard > self.job.silence:
            return self.give_up(SILENCE, f"the guest was silent for {self.job.silence} s")
        return None

    def judge(self) -> Verdict:
        words = self.verdict.split()
        if len(words) == 2 and words[0] == b"exit" and words[1].isdigit():
            return Verdict(int(words[1]))
        return Verdict(NO_VERDICT, f"not a verdict: {self.verdict!r}")

    def died(self) -> Verdict:
        log = self.guest.log.read_text(errors="replace").strip()
        if self.guest.process.returncode:
            return Verdict(BROKEN, f"QEMU failed ({self.guest.process.returncode}): {log}")
        if KernelLog(self.guest.console).panicked():
            return Verdict(PANICKED, "the guest's kernel panicked")
        return Verdict(NO_VERDICT, f"the guest went away without a verdict {log}".strip())

    def give_up(self, status: int, why: str) -> Verdict:
        """Ask the guest who is blocked, for the log, and leave it."""
        try:
            self.guest.ports["control"].send(b"w\n")
            time.sleep(2)
        except OSError:
            pass
        return Verdict(status, why)


def accelerator(image: Path) -> str:
    """KVM where a probe boot shows that a guest really runs on it, else TCG."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg,thread=multi"
    version = subprocess.run([QEMU, "--version"], stdout=subprocess.PIPE, check=True).stdout
    machine = " ".join(os.uname()).encode()
    name = hashlib.sha256(version + machine).hexdigest()[:16]
    record = cache_dir("kvm") / name
    if not record.exists():
        say("trying KVM (20 s at most)")
        job = Job(image, ["true"], timeout=20, silence=20, accel="kvm")
        verdict, _ = run(job, sink=lambda data: None)
        record.write_text("yes\n" if verdict.status == 0 else "no\n")
        say("KVM works" if verdict.status == 0 else "KVM does not work here: emulating")
    return "kvm" if record.read_text() == "yes\n" else "tcg,thread=multi"


def new_console() -> Path:
    """A file for the console; the oldest ones make room."""
    logs = cache_dir("logs")
    for old in sorted(logs.glob("kernel-*.log"))[:-KEEP_LOGS]:
        old.unlink(missing_ok=True)
    return logs / time.strftime(f"kernel-%Y%m%d-%H%M%S-{os.getpid()}-{secrets.token_hex(2)}.log")


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A directory for one run; what runs that were killed have left is removed."""
    runs = cache_dir("run")
    for left in runs.glob("*-*"):
        if not Path("/proc", left.name.split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"{os.getpid()}-", dir=runs)


def run(job: Job, sink: Sink = to_stdout) -> tuple[Verdict, Path]:
    """Run the job; its verdict (kernel log not judged yet) and the console's path."""
    if not shutil.which(QEMU):
        raise Failure(f"no {QEMU}: install the package qemu-system-x86 (tests/support/setup vm)")
    console = new_console()
    console.touch()
    with scratch() as name:
        guest = Guest(job, Path(name), console)
        try:
            return Watch(guest, sink).follow(), console
        finally:
            guest.kill()
