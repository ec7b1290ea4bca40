# SPDX-License-Identifier: LGPL-2.1-or-later
"""What every part of the harness needs: paths, the cache, locks, messages."""

import contextlib
import fcntl
import os
import pathlib
import subprocess
import sys

VM = pathlib.Path(__file__).resolve().parents[1]
CHECKOUT = VM.parents[1]
SUPPORT = CHECKOUT / "tests" / "support"
PATCHES = CHECKOUT / "patches"


class Failure(Exception):
    """What went wrong, in words for the user."""


def say(message):
    print(f"vm: {message}", file=sys.stderr, flush=True)


def cache_dir(*parts):
    """A directory of the cache, made if it is not there."""
    root = subprocess.run([SUPPORT / "cachedir"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()
    path = pathlib.Path(root, *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(path):
    """Hold an exclusive lock on path; say so when somebody else has it."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run that builds the same ({path.name})")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def git_env(tree):
    """An environment in which git does not take tree for part of a repository."""
    return dict(os.environ, GIT_CEILING_DIRECTORIES=str(pathlib.Path(tree).parent))
