# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build a kernel for the tests, or run a command on it in QEMU.

    python3 -m tests.vm source KERNEL            print the path of the pristine source
    python3 -m tests.vm build [OPTION]...        print the path of the kernel image
    python3 -m tests.vm run [OPTION]... -- COMMAND [ARG]...
    python3 -m tests.vm test [OPTION]... -- COMMAND [ARG]...

`run` boots the kernel with the host's own root filesystem (read-only, by 9p) and fresh /tmp /run
/mnt /var/tmp, and runs COMMAND there as root, in the checkout. It needs neither root nor KVM on
the host. It prints COMMAND's output; the exit status is COMMAND's own, or
120 the guest panicked   121 no end within --timeout   122 silence
123 no verdict           124 unexpected lines in the kernel log
125 the harness itself failed.

`test` does the same with a COMMAND that prints TAP, and adds a point for how the guest ended."""

import argparse
import collections
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from types import FrameType

from tests.support.tap import Writer, stream

from . import config, image, qemu, source
from .common import Failure, say
from .kernel_log import DAMAGE, KernelLog

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
# How many of the last lines on standard error are shown when a guest has failed.
LAST_LINES = 38
# A full disk, or a program that is missing or fails, is reported in one line, too.
ERRORS = (Failure, OSError, subprocess.SubprocessError)


def size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"not a size: {text} (say 512M or 4G)")
    return int(match[1]) * UNITS[match[2]]


def setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text}")
    return name, value


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("action", choices=["source", "build", "run", "test"])
    add("source", nargs="?", metavar="KERNEL")
    add("--kernel", default="6.12")
    add("--flavour", choices=config.FLAVOURS, default="patched")
    add("--image", metavar="BZIMAGE", help="boot this instead of building one")
    add("--timeout", type=float, default=600, metavar="S")
    add("--silence", type=float, default=180, metavar="S")
    add("--memory", type=int, default=1024, metavar="MIB")
    add("--cpus", type=int, default=2)
    add(
        "--disk",
        type=size,
        action="append",
        default=[],
        metavar="SIZE",
        help="an empty disk: /dev/vda, then /dev/vdb, ...",
    )
    add("--env", type=setting, action="append", default=[], metavar="K=V")
    for name, text in (
        ("--expect-log", "a kernel log line that must come"),
        ("--allow-log", "a kernel log line that may come"),
        ("--forbid-log", "a kernel log line that must not come, besides reports of bugs"),
    ):
        add(name, action="append", default=[], metavar="REGEX", help=text)
    add("--forbid-damage", action="store_true", help="forbid reports of damage and I/O errors")
    add("--append", action="append", default=[], metavar="WORD", help="for the kernel")
    add("--name", default="", help="of a test, as a prefix of its points")
    parser.usage = "vm source|build|run|test [OPTION]... [-- COMMAND [ARG]...]"
    at = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:at])
    args.options, args.command = words[1:at], words[at + 1 :]
    if (args.action in ("run", "test")) != bool(args.command):
        parser.error("run and test need a command after --, the others take none")
    if (args.action == "source") != bool(args.source):
        parser.error("source, and only that, takes a KERNEL without an option")
    if args.forbid_damage:
        args.forbid_log += DAMAGE
    return args


def environment(args: argparse.Namespace) -> dict[str, str]:
    """The command's environment: the guest's own, ours, then what was requested."""
    env = {"LIBFREEZE_VM": "1", "LIBFREEZE_KERNEL": args.kernel, "LIBFREEZE_FLAVOUR": args.flavour}
    if "LIBFREEZE_BUILD" in os.environ:
        env["LIBFREEZE_BUILD"] = os.environ["LIBFREEZE_BUILD"]
    return {**env, **dict(args.env)}


def quote(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"  | {line}", file=sys.stderr)


def judge_log(verdict: qemu.Verdict, log: KernelLog, args: argparse.Namespace) -> int:
    """The exit status after the kernel log has been read."""
    bad = log.unexpected(args.expect_log + args.allow_log, args.forbid_log)
    missing = log.missing(args.expect_log)
    if bad and not verdict.why:
        quote(log.around(bad[0], 25))
    for line in bad[:10]:
        say(f"unexpected in the kernel log: {line}")
    if len(bad) > 10:
        say(f"... and {len(bad) - 10} lines more")
    for text in missing:
        say(f"expected in the kernel log, but not there: {text}")
    if verdict.status in (0, 77) and (bad or missing):
        return qemu.BAD_LOG
    return verdict.status


def run(args: argparse.Namespace) -> int:
    job = qemu.Job(
        args.image or image.build(args.kernel, args.flavour),
        args.command,
        timeout=args.timeout,
        silence=args.silence,
        memory=args.memory,
        cpus=args.cpus,
        disks=args.disk,
        env=environment(args),
        append=args.append,
    )
    began = time.monotonic()
    verdict, console = qemu.run(job)
    log = KernelLog(console)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    say(f"{time.monotonic() - began:.0f} s, of which {cpu:.0f} s of CPU")
    print(f"VM-kernel-log: {console}", file=sys.stderr, flush=True)
    if verdict.why:
        say(verdict.why)
        quote(log.last_words(25))
    return judge_log(verdict, log, args)


def test(args: argparse.Namespace) -> int:
    """Passes the points of the guest's command on, and says how the guest ended."""
    tap = Writer()
    name = args.name or f"{args.kernel} {args.flavour}"
    fold = tap.fold(name)
    last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)

    def remember(line: str) -> None:
        last.append(line)
        print(line, file=sys.stderr)

    try:  # before the guest's time begins, and so that a missing source is a skip
        args.image = image.build(args.kernel, args.flavour)
    except source.Dropped as why:
        tap.skip(f"{name}: all of it", why)
        return tap.finish()
    except ERRORS as why:
        tap.point(False, f"{name}: there is a kernel", why)
        return tap.finish()
    program = [sys.executable, "-B", "-m", "tests.vm", "run"]
    status = stream([*program, *args.options, "--", *args.command], fold.line, remember)
    fold.finish(status if status in (0, 1) else None)
    tap.point(
        status in (0, 1),
        f"{name}: the guest ended well, its kernel log is clean",
        "\n".join([f"vm run: exit status {status}", *last]),
    )
    return tap.finish()


def interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    args = parse(sys.argv[1:])
    try:
        if args.action == "run":
            return run(args)
        if args.action == "test":
            return test(args)
        if args.action == "source":
            print(source.describe(args.source).tree)
        else:
            print(image.build(args.kernel, args.flavour))
        return 0
    except ERRORS as failure:
        say(failure)
        return qemu.BROKEN
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
