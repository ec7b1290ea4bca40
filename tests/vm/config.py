# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel flavours and the configuration of each."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from .common import VM, Failure

Options = dict[str, str | None]  # symbol: value; None: not set


class Flavour(NamedTuple):
    tree: str  # flavours with the same tree reuse what is compiled in it
    parts: int | None  # how many parts of the patches; None: all
    fragments: Sequence[str]
    variables: Sequence[str] = ()  # for make


# KASAN checks every access in these files only: those that freeze and thaw, and their callers.
# With all files, compiling and running take longer.
WATCHED_STEMS = "bdev buffer dm freeze gc ioctl super xfs_notify_failure xfs_super".split()
WATCHED = ["KASAN_SANITIZE=n", *(f"KASAN_SANITIZE_{stem}.o=y" for stem in WATCHED_STEMS)]

FLAVOURS = {
    "stock": Flavour("stock", 0, ["base"]),
    "stock-all": Flavour("stock", 0, ["base", "filesystems"]),
    "patched": Flavour("patched", None, ["base"]),
    "patched-all": Flavour("patched", None, ["base", "filesystems"]),
    "debug": Flavour("debug", None, ["base", "debug", "ext4-only"], WATCHED),
    "debug-all": Flavour("debug-all", None, ["base", "filesystems", "debug"]),
    # Part 1 alone, most of whose fixes are in the other filesystems, and parts 1 and 2.
    "part1": Flavour("part1", 1, ["base", "filesystems"]),
    "part2": Flavour("part2", 2, ["base"]),
    "touched": Flavour("touched", None, ["base", "filesystems", "touched"]),
}

LINE = re.compile(r"(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$")


def fragments(kernel: str, flavour: str) -> Iterator[str]:
    """The flavour's fragments, each followed by the kernel's own if there is one."""
    for name in FLAVOURS[flavour].fragments:
        yield name
        if (VM / "config" / f"{name}-{kernel}").exists():
            yield f"{name}-{kernel}"


def wanted(kernel: str, flavour: str) -> Options:
    """The requested options. Later fragments win."""
    options: Options = {}
    for name in fragments(kernel, flavour):
        for line in (VM / "config" / name).read_text().splitlines():
            match = LINE.match(line)
            if match:
                options[match[1]] = match[2]
            elif line.strip() and not line.startswith("#"):
                raise Failure(f"tests/vm/config/{name}: cannot parse: {line}")
    return options


def text(options: Options) -> str:
    return "".join(
        f"# {symbol} is not set\n" if value is None else f"{symbol}={value}\n"
        for symbol, value in options.items()
    )


def configure(
    make: Sequence[str], env: dict[str, str], objects: Path, kernel: str, flavour: str
) -> None:
    """Writes objects/.config and checks that every requested option is in it."""
    options = wanted(kernel, flavour)
    asked, configured = objects / "libfreeze.asked", objects / "libfreeze.config"
    if configured.exists() and configured.read_text() == text(options):
        return
    # Flavours share trees: until this ends well, .config may be another flavour's.
    configured.unlink(missing_ok=True)
    asked.write_text(text(options))
    done = subprocess.run(
        [*make, f"KCONFIG_ALLCONFIG={asked}", "allnoconfig"],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Failure(f"allnoconfig failed:\n{done.stdout}")
    lines = map(LINE.match, (objects / ".config").read_text().splitlines())
    have = {match[1]: match[2] for match in lines if match}
    wrong = [
        f"{symbol}: asked for {value or 'n'}, is {have.get(symbol) or 'n'}"
        for symbol, value in options.items()
        if have.get(symbol) != value
    ]
    if wrong:
        raise Failure("the kernel did not take these options:\n  " + "\n  ".join(wrong))
    asked.replace(configured)
