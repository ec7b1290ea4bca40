# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are: the checkout, the build directory, the cache."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SUPPORT = TESTS / "support"
PATCHES = ROOT / "patches"
BUILD = Path(os.environ.get("LIBFREEZE_BUILD") or ROOT / "build").resolve()
GUARDIAN = BUILD / "libfreeze/guardian/libfreeze-guardian"


def cache_dir(*parts: str) -> Path:
    """A directory in the cache; it is created if it does not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(os.environ.get("LIBFREEZE_CACHE") or Path(base, "libfreeze")).resolve()
    path = root.joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path
