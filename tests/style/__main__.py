# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks the style of the tree, and prints TAP.

python3 -B -m tests.style [--full] [--strict] [CHECK]... [FILE]..."""

import argparse
import sys
from pathlib import Path

from tests.style.checks import CHECKS, FULL_CHECKS, Check, Files, Skip, Unavailable, committable
from tests.support.paths import ROOT
from tests.support.tap import Writer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -B -m tests.style",
        description="Checks the style of the tree, and prints TAP.",
        epilog=f"The checks are {', '.join([*CHECKS, *FULL_CHECKS])}.",
    )
    parser.add_argument("--full", action="store_true", help="also clang-tidy and Doxygen (minutes)")
    parser.add_argument(
        "--strict", action="store_true", help="a program that is not installed is a failure"
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CHECK|FILE",
        help="default: every check, and every file that is or could be committed",
    )
    return parser.parse_args()


def main() -> int:
    options = arguments()
    known = CHECKS | FULL_CHECKS
    chosen = [word for word in options.words if word in known]
    names = [word for word in options.words if word not in known]
    for name in names:
        if not Path(name).is_file():
            print(f"tests.style: {name} is neither a check nor a file", file=sys.stderr)
            return 2
    checks: dict[str, Check] = known if options.full else CHECKS
    if chosen:
        checks = {name: known[name] for name in chosen}

    try:
        files = Files(
            [str(Path(name).resolve().relative_to(ROOT)) for name in names] or committable()
        )
    except Skip as reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    tap = Writer()
    for name, check in checks.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            complaints = list(check(files))
        except Unavailable as reason:
            if options.strict:
                tap.point(False, name, reason)
            else:
                tap.skip(name, reason)
        except Skip as reason:
            tap.skip(name, reason)
        else:
            tap.point(not complaints, name, "\n".join(complaints))
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
