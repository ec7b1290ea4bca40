# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every part of the harness needs: errors, messages, locks."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path

VM = Path(__file__).resolve().parent


class Failure(Exception):
    """What went wrong, in words for the user."""


def say(message: object) -> None:
    print(f"vm: {message}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on path; says so when another process has it."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that builds the same ({path.name})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def git_env(tree: Path) -> dict[str, str]:
    """An environment in which git does not take tree for part of a repository."""
    return dict(os.environ, GIT_CEILING_DIRECTORIES=str(tree.parent))
