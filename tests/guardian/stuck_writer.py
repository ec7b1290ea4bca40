# SPDX-License-Identifier: LGPL-2.1-or-later
"""A writer that no freeze can wait for: splice() from an empty pipe into a file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.process import Program, wait_until

SPLICE = """
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.splice(0, fd, 1)
"""


@contextmanager
def stuck_writer(directory: Path) -> Iterator[None]:
    """The writer continues at the end of the block."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as end:
        program = Program(sys.executable, "-c", SPLICE, directory / "stuck", stdin=end)
    try:
        assert wait_until(lambda: "pipe" in program.where()), "the writer does not wait"
        yield
    finally:
        os.write(writer, b"x")
        os.close(writer)
        program.finish()
