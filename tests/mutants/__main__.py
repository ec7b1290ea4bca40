# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shows that the tests would find bugs. Each *.patch in this directory is a mutant, one deliberate
bug. The tests that it names must fail on it, and pass without it.

    python3 -B -m tests.mutants guardian|library [NAME]...
    python3 -B -m tests.mutants kernel [--kernel K]... [NAME]...

The guardian's need root and loop devices, the kernel's a virtual machine."""

import argparse
import sys

from tests.mutants import kernel, programs
from tests.mutants.mutant import find
from tests.support.tap import Writer
from tests.vm import source


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["kernel", *programs.KINDS])
    parser.add_argument("--kernel", action="append", choices=source.kernels())
    parser.add_argument("names", nargs="*", metavar="NAME", help="the name of a patch file")
    args = parser.parse_args()
    kernels = args.kernel or source.kernels()
    kinds = kernels if args.kind == "kernel" else [args.kind]
    known = {mutant.path.stem for kind in kinds for mutant in find(kind)}
    if unknown := sorted({*args.names} - known):
        parser.error(f"no such mutant of {', '.join(kinds)}: {', '.join(unknown)}")
    tap = Writer()
    if args.kind == "kernel":
        kernel.test(tap, kernels, args.names)
    else:
        programs.test(tap, args.kind, args.names)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
