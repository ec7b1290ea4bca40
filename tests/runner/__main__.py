# SPDX-License-Identifier: LGPL-2.1-or-later
"""Install what is missing, build, and run a tier of test suites, or those named.

The last line is `N passed, N failed, N skipped`, and the exit status agrees with it: 0 if
something passed and nothing failed, 1 otherwise, 2 for wrong usage, 130 when interrupted."""

import argparse
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.support.paths import BUILD, cache_dir

from . import prepare, table
from .child import follow, last_lines, running
from .results import Outcome, close, failed, judge, summary
from .screen import Screen, clock
from .table import LOGS, Suite

TIMES = "test-times.json"
# Most of a suite is waiting: for deadlines, for guests to boot.
AT_ONCE = 3
# How much sooner several at once end than one after the other; measured.
GAIN = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NEEDED_MIB = 500  # for the build; a kernel build reports by itself


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("suites", nargs="*", metavar="SUITE", help="default: all of the tier; see --list")
    tier = parser.add_mutually_exclusive_group()
    tier.add_argument("--all", action="store_true", help="CI's tier: all kernels, all suites")
    tier.add_argument("--full", action="store_true", help="everything, in its longest form: hours")
    add(
        "--kernel",
        action="append",
        default=[],
        choices=sorted(table.KERNELS),
        help="of suites in virtual machines, those on this Linux only (may be given again)",
    )
    add("--list", action="store_true", help="list the suites of the tier and their times")
    add("-v", "--verbose", action="store_true", help="show all output")
    arguments = parser.parse_args(argv)
    arguments.tier = "full" if arguments.full else "all" if arguments.all else "quick"
    if not arguments.kernel and (local := os.environ.get("KERNEL_SRC")):
        series = series_of(Path(local))
        if series not in table.KERNELS:
            known = ", ".join(table.KERNELS)
            refuse(f"KERNEL_SRC={local} is not Linux {known}: choose the patches with --kernel")
        arguments.kernel = [series]
    booted = {kernel for suite in select(arguments) for kernel in suite.kernels}
    if not arguments.suites and (unused := sorted(set(arguments.kernel) - booted)):
        refuse(f"this tier has no suite on Linux {', '.join(unused)}: add --all")
    return arguments


def series_of(tree: Path) -> str:
    """The major and minor version in a kernel's Makefile, such as 6.12; empty if unknown."""
    try:
        text = (tree / "Makefile").read_text()
    except OSError:
        return ""
    found = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)$", text, re.MULTILINE))
    return ".".join(found.values())


def refuse(why: str) -> NoReturn:
    """Wrong usage, in one line."""
    print(f"tests/run: {why}", file=sys.stderr)
    sys.exit(2)


def select(arguments: argparse.Namespace) -> list[Suite]:
    """The suites of the tier. One that is named and not in it comes from the next tier."""
    if unknown := sorted(set(arguments.suites) - set(table.names())):
        refuse(f"no suite {', '.join(unknown)}; there are {', '.join(table.names())}")
    found: list[Suite] = []
    for tier in table.TIERS[table.TIERS.index(arguments.tier) :]:
        # With --kernel, the next tier may have it on another of these kernels.
        def what(suite: Suite) -> object:
            return suite.suite, frozenset(suite.kernels if arguments.kernel else ())

        have = {what(suite) for suite in found}
        for suite in table.suites():
            wanted = suite.suite in arguments.suites or not arguments.suites
            on_kernel = not arguments.kernel or suite.kernels <= set(arguments.kernel)
            if tier in suite.tiers and wanted and on_kernel and what(suite) not in have:
                found.append(suite)
        if not arguments.suites:
            break
    if not found:
        refuse(f"{', '.join(arguments.suites)} has nothing for {', '.join(arguments.kernel)}")
    return found


class Times:
    """How long each suite took when most of it last passed, for the estimate."""

    def __init__(self) -> None:
        try:
            times = json.loads((cache_dir() / TIMES).read_text())
            self.seconds = {str(name): float(seconds) for name, seconds in times.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self.seconds = {}

    def of(self, suite: Suite) -> float:
        return self.seconds.get(suite.title, suite.seconds)

    def remember(self, outcomes: Sequence[Outcome]) -> None:
        """Only an estimate is lost when this fails."""
        for outcome in outcomes:
            reader = outcome.reader
            if not reader.failures and reader.passed > len(reader.skips):
                self.seconds[outcome.name] = round(outcome.seconds, 1)
        try:
            text = json.dumps(self.seconds, indent=1, sort_keys=True)
            (cache_dir() / TIMES).write_text(text + "\n")
        except OSError:
            pass


def running_for(suite: Suite) -> float:
    """Seconds since the suite began; 0 if it has not."""
    try:
        return time.time() - suite.file(".began").stat().st_mtime
    except OSError:
        return 0.0


def last_said(suite: Suite) -> str:
    """Its last line that is not a diagnostic."""
    lines = [line for line in last_lines(suite.file(".log"), 20) if not line.startswith("#")]
    return lines[-1].strip() if lines else ""


class Run:
    """The suites of one run, and their outcomes."""

    def __init__(self, suites: list[Suite], verbose: bool) -> None:
        self.suites, self.verbose = suites, verbose
        self.screen, self.times = Screen(), Times()
        self.outcomes: list[Outcome] = []
        self.began = time.monotonic()

    def left(self) -> float:
        """Seconds, by how long each suite took when it last passed."""
        done = {outcome.name for outcome in self.outcomes}
        total = 0.0
        for suite in self.suites:
            if suite.title not in done:
                total += max(0.0, self.times.of(suite) - running_for(suite))
        return total / GAIN

    def take(self, waiting: list[Suite]) -> None:
        """Counts the suites that have ended since the last look."""
        for suite in [suite for suite in waiting if suite.file(".status").exists()]:
            waiting.remove(suite)
            outcome = judge(suite)
            self.outcomes.append(outcome)
            if self.verbose:
                self.screen.say(suite.file(".log").read_text(errors="replace"))
            for failure in outcome.reader.failures:
                self.screen.say(f"  FAILED {suite.title}: {failure.name}")
            number = f"[{len(self.outcomes)}/{len(self.suites)}]"
            self.screen.say(f"{number} {outcome.line()}; about {clock(self.left())} left")

    def status(self, waiting: list[Suite]) -> None:
        said = [f"{suite.title}: {line}" for suite in waiting if (line := last_said(suite))]
        failures = sum(len(outcome.reader.failures) for outcome in self.outcomes)
        self.screen.status(
            f"{clock(time.monotonic() - self.began)}, about {clock(self.left())} left, "
            f"{failures} failed; {'; '.join(said)}"
        )

    def run(self, suites: list[Suite], name: str) -> None:
        """Runs some of the suites by `meson test`."""
        waiting = list(suites)
        for suite in suites:
            for suffix in (".began", ".log", ".tap", ".status"):
                suite.file(suffix).unlink(missing_ok=True)
        meson = ["meson", "test", "-C", str(BUILD), "--no-rebuild", "--logbase", name]
        meson += ["--num-processes", str(AT_ONCE), *(suite.title for suite in suites)]

        def on_tick() -> None:
            self.take(waiting)
            self.status(waiting)

        log = LOGS / f"meson-{name}.log"
        with running(meson, log, MALLOC_PERTURB_="0") as child:
            try:
                status = follow(child, on_tick)
            finally:
                self.take(waiting)
        for suite in waiting:  # a suite that is lost must fail, not vanish
            why = f"meson test ended with status {status} and did not run it to its end"
            self.outcomes.append(failed(suite.title, why, last_lines(log, 10)))
        failures = any(outcome.reader.failures for outcome in self.outcomes)
        if status != 0 and not failures:
            why = f"meson test ended with status {status}, although no test failed"
            self.outcomes.append(failed("meson", why, last_lines(log, 10)))

    def run_all(self) -> None:
        with prepare.kernels_built_ahead(self.suites) as builder:
            # Suites without a kernel first, while kernels are built. Suites that measure come last,
            # when no kernel is built.
            for name, suites in (
                ("host", [s for s in self.suites if not s.images and not s.exclusive]),
                ("guests", [s for s in self.suites if s.images and not s.exclusive]),
            ):
                if suites:
                    self.run(suites, name)
            if builder and (alone := [s for s in self.suites if s.exclusive]):
                follow(builder, lambda: self.screen.status(f"kernels, before {alone[0].title}"))
        if alone := [s for s in self.suites if s.exclusive]:
            self.run(alone, "exclusive")


@contextmanager
def locked() -> Iterator[bool]:
    """Whether no other tests/run uses the build directory; two would mix their results."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with open(LOGS / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def prepared(run: Run) -> bool:
    """Whether suites can run. What went wrong is among the outcomes."""
    free = shutil.disk_usage(BUILD).free >> 20
    if free < NEEDED_MIB:
        why = f"no disk space: {BUILD} has {free} MiB left, and the build takes {NEEDED_MIB}"
        run.outcomes.append(failed("setup", why))
        return False
    if not prepare.packages(run.suites):
        # Suites that do not need them can run.
        run.outcomes.append(failed("setup", "packages are missing; see above which"))
    if not prepare.build(run.screen):
        run.outcomes.append(failed("build", "the tree does not build, so no suite ran"))
        return False
    prepare.fetch_programs(run.suites, run.screen)
    return True


def interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:  # ending what runs takes some seconds
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def perform(run: Run) -> int:
    try:
        with locked() as alone:
            if not alone:
                run.outcomes.append(failed("setup", f"another tests/run uses {BUILD}"))
            elif prepared(run):
                run.run_all()
                run.times.remember(run.outcomes)
    except KeyboardInterrupt:
        run.outcomes.append(failed("tests/run", "interrupted"))
        summary(run.suites, run.outcomes, run.screen)
        close(run.outcomes)
        return 130
    except OSError as error:  # such as a full disk, or a build directory of another user
        run.outcomes.append(failed("tests/run", str(error)))
    summary(run.suites, run.outcomes, run.screen)
    return close(run.outcomes)


def main(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)
    run = Run(select(arguments), arguments.verbose)
    if arguments.list:
        for suite in run.suites:
            print(f"{suite.suite:12}  {suite.title:44}  about {clock(run.times.of(suite))}")
        return 0
    names = ", ".join(dict.fromkeys(suite.suite for suite in run.suites))
    kernels = any(suite.images for suite in run.suites)
    run.screen.say(
        f"Suites: {len(run.suites)} ({names}), about {clock(run.left())} (min:s)"
        + (", and up to 5 min for each kernel that is not in the cache" if kernels else "")
    )
    return perform(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
