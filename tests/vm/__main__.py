#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build a kernel for the tests, or run a command on it in QEMU.

`run` boots the kernel with the host's own root filesystem (read-only, by 9p)
and fresh /tmp /run /mnt /var/tmp, and runs COMMAND there as root, in the
checkout. No root and no KVM are needed on the host. COMMAND's output comes
out here; the exit status is COMMAND's own, or
120 the guest panicked   121 no end within --timeout   122 silence
123 no verdict           124 unexpected lines in the kernel log
125 the harness itself failed."""

import argparse
import os
import re
import resource
import signal
import sys
import time

from vmlib import config, image, qemu
from vmlib.common import Failure, say
from vmlib.kernel_log import KernelLog

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    match = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"not a size: {text} (say 512M or 4G)")
    return int(match[1]) * UNITS[match[2]]


def setting(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"not NAME=VALUE: {text}")
    return name, value


def split(words):
    """What stands before and after the first `--`."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1:]


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["build", "run"])
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--flavour", choices=config.FLAVOURS, required=True)
    parser.add_argument("--image", metavar="BZIMAGE", help="boot this instead of building one")
    parser.add_argument("--timeout", type=float, default=600, metavar="S")
    parser.add_argument("--silence", type=float, default=180, metavar="S")
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--disk", type=size, action="append", default=[], metavar="SIZE",
                        help="an empty disk: /dev/vda, then /dev/vdb, ...")
    parser.add_argument("--env", type=setting, action="append", default=[], metavar="K=V")
    parser.add_argument("--expect-log", action="append", default=[], metavar="REGEX",
                        help="a kernel log line that must come")
    parser.add_argument("--allow-log", action="append", default=[], metavar="REGEX",
                        help="a kernel log line that may come")
    parser.add_argument("--forbid-log", action="append", default=[], metavar="REGEX",
                        help="a kernel log line that must not come, beside reports of bugs")
    parser.add_argument("--append", action="append", default=[], metavar="WORD",
                        help="one more word for the kernel's command line")
    parser.usage = "vm build|run [OPTION]... [-- COMMAND [ARG]...]"
    options, command = split(sys.argv[1:])
    args = parser.parse_args(options)
    args.command = command
    if (args.action == "run") != bool(args.command):
        parser.error("run needs a command, build takes none")
    return args


def environment(args):
    """The command's environment: the guest's own, ours, then what was asked for."""
    env = {"LIBFREEZE_VM": "1", "LIBFREEZE_KERNEL": args.kernel,
           "LIBFREEZE_FLAVOUR": args.flavour}
    if "LIBFREEZE_BUILD" in os.environ:
        env["LIBFREEZE_BUILD"] = os.environ["LIBFREEZE_BUILD"]
    return {**env, **dict(args.env)}


def quote(lines):
    for line in lines:
        print(f"  | {line}", file=sys.stderr)


def judge_log(verdict, log, args):
    """The exit status once the kernel log has been read."""
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


def run(args):
    job = qemu.Job(args.image or image.build(args.kernel, args.flavour), args.command,
                   timeout=args.timeout, silence=args.silence,
                   memory=args.memory,
                   cpus=args.cpus, disks=args.disk, env=environment(args),
                   append=args.append)
    began = time.monotonic()
    verdict, console = qemu.run(job)
    log = KernelLog(console)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(f"{time.monotonic() - began:.0f} s, of them {used.ru_utime + used.ru_stime:.0f} s of CPU")
    print(f"VM-kernel-log: {console}", file=sys.stderr, flush=True)
    if verdict.why:
        say(verdict.why)
        quote(log.last_words(25))
    return judge_log(verdict, log, args)


def interrupted(_number, _frame):
    raise KeyboardInterrupt


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    args = parse()
    try:
        if args.action == "run":
            return run(args)
        print(image.build(args.kernel, args.flavour))
        return 0
    except Failure as failure:
        say(failure)
        return qemu.BROKEN
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
