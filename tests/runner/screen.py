# SPDX-License-Identifier: LGPL-2.1-or-later
"""One live line on a terminal; elsewhere a sign of life now and then."""

import shutil
import sys
import time

HEARTBEAT = 60  # seconds between two signs of life without a terminal


class Screen:
    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.spoke = time.monotonic()

    def say(self, text: str = "") -> None:
        print(("\r\033[K" if self.live else "") + text, flush=True)
        self.spoke = time.monotonic()

    def status(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + text[:width], end="", flush=True)
        elif time.monotonic() - self.spoke >= HEARTBEAT:
            self.say("  ... " + text)

    def clear(self) -> None:
        if self.live:
            print("\r\033[K", end="", flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
