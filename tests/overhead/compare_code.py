# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares what the compiler makes of the path that every write takes, without and with the
patches.

tests.vm.image keeps objects next to an image: those in which a write begins, and freeze_sizes.o.
sb_start_write() and the like call __percpu_down_read() when a freeze is under way. Every function
that calls it, itself or through one of them that the compiler did not inline, must have the same
instructions in both kernels. Only a function that itself freezes or thaws, as an ioctl may, can
differ, and only in how it calls that."""

import difflib
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.tap import Writer

SLOW_PATH = "__percpu_down_read"
FUNCTION = re.compile(r"^<(.+)>:$")
# Inline functions that a compiler may have left as functions to save space.
HELPER = re.compile(
    r"(?:percpu_down_read\w*|\w*sb_start_\w+|file_start_write\w*|kiocb_start_write)(?:\.\w+)*$"
)
# Code in a separate section moves when something else in the file changes.
PLACE = re.compile(
    r"(\.(?:rodata|data|bss|text|init|exit|altinstr|discard|smp_locks|static_call)"
    r"[\w.]*|__\w+_(?:table|entry|array)|\.LC\d+)([+-]0x[0-9a-f]+)?"
)
FREEZING = re.compile(r"R_X86_64_\w+ (?:freeze|thaw)_\w+")
FEWEST = 20  # functions in which a write begins; with fewer, they were not found

Code = dict[str, list[str]]  # the instructions of each function
Paths = Mapping[tuple[str, str], list[str]]  # the same by file and function


def functions(path: Path) -> Code:
    """The functions of an object, without addresses."""
    listing = subprocess.run(
        ["objdump", "-dr", "--no-show-raw-insn", "--no-addresses", path],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    found: Code = {}
    lines: list[str] | None = None
    for line in listing.splitlines():
        if match := FUNCTION.match(line):
            # Two static functions of one file may have the same name.
            lines = found.setdefault(match[1], [])
        elif lines is not None and line.startswith("\t"):
            lines.append(PLACE.sub(r"\1", " ".join(line.split())))
    return found


def callers(code: Code, name: str) -> set[str]:
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?![\w.])")
    return {function for function, lines in code.items() if any(map(word.search, lines))}


def write_paths(directory: Path) -> Paths:
    """All functions that may wait for a thaw to write."""
    found = {}
    for path in sorted(directory.rglob("*.o")):
        code = functions(path)
        names: set[str] = set()
        news = {SLOW_PATH}
        while news:
            calling = {caller for name in news for caller in callers(code, name)} - names
            names |= calling
            news = {name for name in calling if HELPER.match(name)}
        found.update({(str(path.relative_to(directory)), name): code[name] for name in names})
    return found


def first_difference(stock: Sequence[str], patched: Sequence[str]) -> str:
    for number, (one, other) in enumerate(zip(stock, patched)):
        if one != other:
            return f"instruction {number}: {one} | {other}"
    return f"{len(stock)} instructions | {len(patched)}"


def without_targets(name: str, lines: Sequence[str]) -> list[str]:
    """The target of a jump within the function moves when anything before it changes."""
    return [line.split("<" + name + "+")[0] for line in lines]


def differs(name: str, stock: Sequence[str], patched: Sequence[str]) -> bool:
    """Whether more differs than how the function calls what freezes and thaws."""
    if stock == patched:
        return False
    stock, patched = without_targets(name, stock), without_targets(name, patched)
    matcher = difflib.SequenceMatcher(None, stock, patched, autojunk=False)
    for hunk in matcher.get_grouped_opcodes(1):
        (_, stock_start, _, patched_start, _), (_, _, stock_end, _, patched_end) = hunk[0], hunk[-1]
        for lines in stock[stock_start:stock_end], patched[patched_start:patched_end]:
            if not any(map(FREEZING.search, lines)):
                return True
    return False


def compare_code(tap: Writer, stock: Paths, patched: Paths) -> None:
    tap.point(
        min(len(stock), len(patched)) >= FEWEST,
        f"code: the functions in which a write begins were found: {len(stock)}",
        f"{len(stock)} in the stock kernel, {len(patched)} in the patched one",
    )
    changed = sorted(patched.keys() ^ stock.keys())
    tap.point(
        not changed,
        "code: the patches add none and remove none",
        "\n".join(f"{file}: {function}" for file, function in changed),
    )
    differ = [
        f"{file}: {function}: {first_difference(stock[key], patched[key])}"
        for key in sorted(stock.keys() & patched.keys())
        for file, function in [key]
        if differs(function, stock[key], patched[key])
    ]
    name = "code: the write path has the same instructions with and without the patches"
    tap.point(not differ, name, "\n".join(differ))


def sizes(directory: Path) -> dict[str, int]:
    """The sizes of the symbols in freeze_sizes.o."""
    listing = subprocess.run(
        ["nm", "--print-size", directory / "freeze_sizes.o"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return {name: int(size, 16) for _, size, _, name in map(str.split, listing.splitlines())}


def compare_sizes(tap: Writer, stock: dict[str, int], patched: dict[str, int]) -> None:
    size, where = "size_of_super_block", "offset_of_writers_lock"
    grown = patched[size] - stock[size]
    tap.point(
        grown <= 16,
        f"code: struct super_block has grown by {grown} bytes, from {stock[size]}",
        "two pointers are the limit",
    )
    tap.point(
        stock[where] == patched[where],
        "code: the patches do not move the lock that writers take",
        f"from {stock[where]} to {patched[where]}",
    )


def compare(tap: Writer, stock: Path, patched: Path) -> None:
    """The two are directories of objects."""
    compare_code(tap, write_paths(stock), write_paths(patched))
    compare_sizes(tap, sizes(stock), sizes(patched))
