# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the PKG_CONFIG_PATH with which meson finds Catch2 3.

Debian 12 has Catch2 3 in its backports only. The package is unpacked into the cache; nothing is
installed."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import apt_fetch
from tests.support.apt_fetch import Unavailable as Unavailable
from tests.support.paths import cache_dir

PACKAGE = "libcatch2-dev"


def fetch(place: Path) -> None:
    release = platform.freedesktop_os_release().get("VERSION_CODENAME")
    if not release:
        raise Unavailable(
            "this is not a Debian release: install Catch2 3 so that pkg-config finds "
            "catch2-with-main"
        )
    print(f"catch2: downloading Catch2 3 of {release}-backports (about 600 kB)", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="catch2.", dir=place.parent) as scratch:
        unpacked = Path(scratch, "unpacked")
        [package] = apt_fetch.download(f"{release}-backports", [PACKAGE], Path(scratch))
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
        for module in unpacked.glob("usr/share/pkgconfig/catch2*.pc"):
            module.write_text(module.read_text().replace("=/usr", f"={place}/usr"))
        # In one step; if two processes do this, the first one wins.
        shutil.rmtree(place, ignore_errors=True)
        try:
            unpacked.rename(place)
        except OSError:
            if not place.exists():
                raise


def pkg_config_path() -> str:
    """What it has to be. Raises Unavailable."""
    path = os.environ.get("PKG_CONFIG_PATH", "")
    if not shutil.which("pkg-config"):
        raise Unavailable("pkg-config is not installed")
    if subprocess.run(["pkg-config", "--exists", "catch2-with-main >= 3"]).returncode == 0:
        return path
    place = cache_dir() / "catch2"
    modules = place / "usr/share/pkgconfig"
    if not (modules / "catch2-with-main.pc").exists():
        try:
            fetch(place)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Unavailable(f"cannot unpack Catch2 into {place}: {error}") from error
    return f"{modules}:{path}" if path else str(modules)


if __name__ == "__main__":
    try:
        print(pkg_config_path())
    except Unavailable as why:
        sys.exit(f"catch2: {why}")
