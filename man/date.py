# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints the date of the manual pages: of SOURCE_DATE_EPOCH, of the last commit, or of NEWS.md."""

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def seconds() -> int:
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(epoch)
    if (ROOT / ".git").exists():  # otherwise the sources may be inside another repository
        command = ["git", "-c", f"safe.directory={ROOT}", "log", "-1", "--format=%ct"]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
            return int(done.stdout)
        except (OSError, subprocess.CalledProcessError, ValueError):
            pass
    return int((ROOT / "NEWS.md").stat().st_mtime)


print(datetime.fromtimestamp(seconds(), UTC).strftime("%Y-%m-%d"))
