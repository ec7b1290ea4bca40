# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: two filesystems on the disk, and what a test stacks on them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.stacks.stack import Stack
from tests.support.volumes import library_environment, thaw_all

SIZE = 1024  # MiB


class Bases(NamedTuple):
    """Two filesystems that depend on nothing but the disk."""

    xfs: Path
    ext4: Path


@pytest.fixture(scope="session")
def bases(disk: str, work: Path) -> Iterator[Bases]:
    os.environ.update(library_environment(work))
    with Stack(work) as stack:
        yield Bases(
            stack.filesystem("xfs", stack.linear(disk, SIZE)),
            stack.filesystem("ext4", stack.linear(disk, SIZE, start=SIZE)),
        )


@pytest.fixture
def stack(bases: Bases, work: Path) -> Iterator[Stack]:
    """Fails if the test left a filesystem frozen."""
    with Stack(work) as stack:
        yield stack
        left = [str(place) for place in (*bases, *stack.mountpoints) if thaw_all(place)]
        if left:
            pytest.fail(f"left frozen: {', '.join(left)}")
