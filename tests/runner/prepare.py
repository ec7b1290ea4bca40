# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything before the suites: packages, the build, the kernels."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support import catch2
from tests.support.paths import BUILD, ROOT, SUPPORT

from .child import follow, last_lines, running
from .screen import Screen, clock
from .table import LOGS, PYTHON, Suite, module


def step(name: str, command: Sequence[str], screen: Screen, **env: str) -> bool:
    """Runs a command with its last line on the screen and its output in a log."""
    log = LOGS / f"{name}.log"
    began = time.monotonic()

    def on_tick() -> None:
        said = next(iter(last_lines(log, 1)), "").strip()
        screen.status(f"{name}  {clock(time.monotonic() - began)}  {said}")

    try:
        with running(command, log, **env) as child:
            status = follow(child, on_tick)
    except FileNotFoundError:
        screen.say(f"{name} failed: {command[0]} is not installed")
        return False
    screen.clear()
    if status != 0:
        screen.say("\n".join(last_lines(log, 20)))
        screen.say(f"{name} failed ({' '.join(command)}); complete log: {log}")
    return status == 0


def packages(suites: Sequence[Suite]) -> bool:
    sets = sorted({name for suite in suites for name in suite.packages})
    setup = [str(SUPPORT / "setup"), *sets]
    return subprocess.run(setup, check=False).returncode == 0


def build(screen: Screen) -> bool:
    """Configures and compiles, with Catch2 3 from wherever this Debian has it."""
    try:
        where = catch2.pkg_config_path()
    except catch2.Unavailable as why:
        screen.say(f"catch2: {why}")
        return False
    configured = (BUILD / "build.ninja").exists()
    if not configured or not (BUILD / "tests").exists():
        again = ["--reconfigure"] if configured else []
        # Without the option, meson keeps the path that it saw first.
        options = ["-Dtests=enabled", f"-Dpkg_config_path={where}"]
        command = ["meson", "setup", *again, *options, str(BUILD), str(ROOT)]
        if not step("meson-setup", command, screen, PKG_CONFIG_PATH=where):
            return False
    return step("compile", ["meson", "compile", "-C", str(BUILD)], screen, PKG_CONFIG_PATH=where)


def fetch_programs(suites: Sequence[Suite], screen: Screen) -> None:
    """qemu-ga, for suites that have no network in the virtual machine and fail without it."""
    if any(suite.suite == "compat" for suite in suites):
        step("qemu-ga", module("tests.compat.fetch_qemu_ga"), screen)


def images(suites: Sequence[Suite]) -> list[tuple[str, str]]:
    """Kernels and flavours, in the order in which they are needed."""
    return list(dict.fromkeys(image for suite in suites for image in suite.images))


@contextmanager
def kernels_built_ahead(suites: Sequence[Suite]) -> Iterator["subprocess.Popen[bytes] | None"]:
    """Builds the kernels while suites that need none run. A suite whose kernel is not ready waits
    for it, and reports a build that fails."""
    wanted = images(suites)
    if not wanted:
        yield None
        return
    build = f"nice -n 19 {PYTHON} -B -m tests.vm build --kernel %s --flavour %s"
    script = "; ".join(build % image for image in wanted)
    with running(["sh", "-c", script], LOGS / "kernels.log") as builder:
        yield builder
