# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guardian answers while its FITHAW blocks on a suspended device."""

import os
import time
from pathlib import Path

from tests.guardian.client import (
    EXTEND,
    FROZEN,
    RESULT,
    THAW,
    Connection,
    Filesystem,
    Message,
)
from tests.stacks.conftest import Bases
from tests.stacks.stack import Stack
from tests.support.paths import GUARDIAN
from tests.support.process import must
from tests.support.volumes import blocked_by_freeze, start_writer

TIMEOUT = 60_000
BOUND = 2.0  # seconds, for an emulated machine; the contract is 0.05


def took(connection: Connection) -> None:
    print(f"{1000 * connection.took:.1f} ms")
    assert connection.took < BOUND


def test_guardian_answers_while_its_thaw_blocks(stack: Stack, bases: Bases, work: Path) -> None:
    device = stack.linear(stack.loop(bases.xfs, 64), 48)
    top = stack.filesystem("ext4", device)
    fs = Filesystem(top, Path(os.environ["LIBFREEZE_RUNTIME_DIR"]), GUARDIAN)
    holder = fs.freeze(TIMEOUT, 1)
    must("dmsetup", "suspend", "--nolockfs", "--noflush", device)
    try:
        holder.send(Message(THAW))
        time.sleep(0.5)
        assert not holder.is_ready(), "the thaw does not block"
        other = fs.find()
        state, holders, _ = other.list()
        took(other)
        assert (state.state, [entry.id for entry in holders]) == (FROZEN, [1])
        assert other.ask(Message(EXTEND, id=1, timeout_ms=TIMEOUT)).type == RESULT
        took(other)
        other.begin_freeze(TIMEOUT, 2)  # answers PENDING
        took(other)
        assert not holder.is_ready()
    finally:
        must("dmsetup", "resume", device)
    assert holder.receive_answer(RESULT).error == 0
    assert other.finish_freeze() == 0
    writer = start_writer(top)
    blocked_by_freeze(writer)
    assert other.thaw() == 0
    assert writer.finish().status == 0
