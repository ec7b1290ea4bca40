# SPDX-License-Identifier: LGPL-2.1-or-later
"""The table of kernels and flavours at the end of tests/run, from the names of
the points: "6.12 stock ext4: ..." counts for the cell 6.12, stock."""

import re
from collections import Counter, defaultdict

CELL = re.compile(r"(\d+\.\d+) (\w+)\b.*?: ")


def cells(results):
    """{(kernel, column): Counter of results} of (name, result) pairs."""
    found = defaultdict(Counter)
    for name, result in results:
        if match := CELL.match(name):
            found[match[1], match[2]][result] += 1
    return found


def text(count):
    parts = [f"{count['passed']} passed", f"{count['failed']} FAILED",
             f"{count['skipped']} skipped"]
    return ", ".join(part for part in parts if not part.startswith("0 ")) or "-"


def lines(results):
    """The table, a line for each kernel; nothing when no name speaks of a kernel."""
    found = cells(results)
    kernels = list(dict.fromkeys(kernel for kernel, _ in found))
    columns = list(dict.fromkeys(column for _, column in found))
    rows = [["kernel", *columns]]
    rows += [[kernel, *(text(found[kernel, column]) for column in columns)]
             for kernel in kernels]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows] if kernels else []
