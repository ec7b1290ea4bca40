# SPDX-License-Identifier: LGPL-2.1-or-later
"""Puts Debian's qemu-ga into the build directory, before the virtual machine starts.

The package is unpacked, not installed: an installed agent would serve the hypervisor of this
machine, now or after the next boot."""

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import apt_fetch
from tests.support.paths import BUILD

FETCHED = BUILD / "tests/compat/qemu-ga"


def fetch() -> None:
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    with tempfile.TemporaryDirectory(prefix="libfreeze-qemu-ga.") as scratch:
        [package] = apt_fetch.download(release, ["qemu-guest-agent"], Path(scratch))
        subprocess.run(["dpkg-deb", "--extract", package, scratch], check=True)
        # It is in /usr/sbin or, in some releases, in /usr/bin.
        [program] = Path(scratch).glob("usr/*bin/qemu-ga")
        try:
            subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, check=True)
        except subprocess.CalledProcessError as error:
            raise apt_fetch.Unavailable(
                "Debian's qemu-ga does not run here: is qemu-system-x86 installed, which has the "
                "same libraries?"
            ) from error
        FETCHED.parent.mkdir(parents=True, exist_ok=True)
        part = FETCHED.with_suffix(".part")
        shutil.copy(program, part)
        part.rename(FETCHED)


def main() -> int:
    try:
        if not FETCHED.exists():
            fetch()
    except (apt_fetch.Unavailable, subprocess.CalledProcessError) as why:
        print(f"fetch_qemu_ga: {why}", file=sys.stderr)
        return 1
    print(FETCHED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
