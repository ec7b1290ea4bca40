# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds ruff. Debian has it only in testing, whose programs need testing's C library as well."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import apt_fetch
from tests.support.paths import cache_dir

RELEASE = "forky"
PACKAGES = ["ruff", "libc6", "libgcc-s1"]


def fetch(place: Path) -> None:
    """Unpacks ruff and the libraries that it links. Raises apt_fetch.Unavailable."""
    with tempfile.TemporaryDirectory(prefix="ruff.", dir=place.parent) as scratch:
        unpacked = Path(scratch, "unpacked")
        for package in apt_fetch.download(RELEASE, PACKAGES, Path(scratch)):
            subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        unpacked.rename(place)


def ruff_command() -> list[str]:
    """How to run ruff: from PATH, otherwise from the cache, which is filled once."""
    if found := shutil.which("ruff"):
        return [found]
    place = cache_dir() / "ruff"
    if not place.exists():
        fetch(place)
    loader = next(place.glob("usr/lib/*/ld-linux-*.so.*"))
    return [str(loader), "--library-path", str(loader.parent), str(place / "usr/bin/ruff")]
