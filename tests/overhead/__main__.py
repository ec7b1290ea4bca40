# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares a patched kernel with the stock one: the code of the write path, struct super_block, and
the time of a freeze. Prints TAP. Builds the two kernels if they are not in the cache."""

import argparse
import re
import sys
from pathlib import Path

from tests.overhead.compare_code import compare
from tests.runner.table import flavour_for
from tests.support.paths import BUILD
from tests.support.tap import Writer, stream
from tests.vm import image, source
from tests.vm.common import Failure

TIME = re.compile(r"# time (\S+) ([\d.]+)")
TICK = 4000  # microseconds for which a guest may stop now and then
FREEZE_TIME = BUILD / "tests/overhead/freeze-time"
VM = [sys.executable, "-B", "-m", "tests.vm", "run", "--forbid-damage"]
DISKS = ["--disk", "2G", "--disk", "2G"]


def objects(kernel: str, flavour: str) -> Path:
    """The directory with the kernel's objects, next to its image."""
    return image.build(kernel, flavour).parent / "objects"


def measure(tap: Writer, kernel: str, flavour: str, fs: str) -> dict[str, float]:
    """The microseconds of each step by its name."""
    times = {}
    fold = tap.fold(flavour)

    def on_line(line: str) -> None:
        fold.line(line)
        if match := TIME.match(line):
            times[match[1]] = float(match[2])

    guest = ["--kernel", kernel, "--flavour", flavour_for(fs, flavour), *DISKS, "--"]
    stock = ["--stock"] if flavour == "stock" else []
    program = [str(FREEZE_TIME), *stock, "--fs", fs, "/dev/vda", "/dev/vdb"]
    fold.finish(stream([*VM, *guest, *program], on_line, LIBFREEZE_BUILD=str(BUILD)))
    return times


def compare_times(tap: Writer, stock: dict[str, float], patched: dict[str, float]) -> None:
    """A first freeze writes and waits. What the patches add to that must not be noticeable."""
    for name in ("first-freeze", "first-freeze-of-dirty", "last-thaw"):
        if name in stock and name in patched:
            tap.point(
                patched[name] < 2 * stock[name] + TICK,
                f"{name}: {patched[name]:.0f} us, {stock[name]:.0f} us on the stock kernel",
            )
        else:
            tap.point(False, f"{name} was not measured")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--fs", default="ext4")
    args = parser.parse_args()
    tap = Writer()
    try:
        compare(tap, objects(args.kernel, "stock"), objects(args.kernel, "patched"))
        stock = measure(tap, args.kernel, "stock", args.fs)
        compare_times(tap, stock, measure(tap, args.kernel, "patched", args.fs))
    except source.Dropped as why:
        tap.skip(f"{args.kernel}: all of it", why)
    except Failure as why:
        tap.point(False, f"{args.kernel}: there are kernels to compare", why)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
