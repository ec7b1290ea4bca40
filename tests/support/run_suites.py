# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds the tree, runs the test suites and sums up their TAP; tests/run calls it."""

import argparse
import contextlib
import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import kernel_table
import tap

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LIBFREEZE_BUILD") or ROOT / "build").resolve()
LOGS = BUILD / "test-logs"
CACHE = Path(
    os.environ.get("LIBFREEZE_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "libfreeze"
)
TIMES = CACHE / "test-times.json"
HEARTBEAT = 60  # seconds between two signs of life where there is no terminal


@dataclass(frozen=True)
class Traits:
    """What is known beforehand of a suite: seconds it takes cold, when to give it up."""

    expected: int
    deadline: int
    packages: tuple[str, ...] = ("build", "tests")
    full_packages: tuple[str, ...] = ()  # with --full, in addition
    takes_full: bool = False  # only a suite that has a longer form knows the option
    takes_kernels: bool = False
    only_full: bool = False  # takes so long that it runs with --full, or when named
    quiet: bool = False  # it compares times, so no kernel is built meanwhile
    full_deadline: int = 0  # with --full; not given: twice the other


# In the order in which they run: what fails fast comes first.
KNOWN = {
    "run-selftest": Traits(20, 120, ()),
    # clang-tidy looks at how the files are compiled
    "style": Traits(15, 300, ("style",), ("lint", "build", "tests"), takes_full=True),
    "unit": Traits(10, 300),
    "instrumented": Traits(
        75, 1500, ("build", "tests"), ("lint", "vm"), takes_full=True
    ),
    "host": Traits(190, 600, ("build", "tests", "vm")),
    "guardians": Traits(40, 600, ("build", "tests", "vm")),
    "tool": Traits(180, 900, ("build", "tests", "vm")),
    "consumer": Traits(60, 600),
    "bench": Traits(70, 900, ("build", "tests", "vm"), takes_full=True, quiet=True),
    "demo": Traits(270, 2400, ("build", "kernel", "vm"), takes_full=True),
    "examples": Traits(120, 1800, ("build", "tests", "kernel", "vm")),
    "mutants": Traits(
        2400, 10800, ("build", "tests", "kernel", "vm"), takes_kernels=True, only_full=True
    ),
    "vm": Traits(
        2110, 4800, ("build", "tests", "kernel", "vm"), takes_full=True, takes_kernels=True,
        full_deadline=36000,
    ),
    # Last: what waits in the others leaves time to build kernels, and this one does not wait.
    "patches": Traits(
        105, 3600, ("kernel", "tests", "vm"), takes_full=True, takes_kernels=True
    ),
}
OTHER = Traits(60, 1800, takes_full=True)


@dataclass
class Outcome:
    suite: str
    reader: tap.Reader = field(default_factory=tap.Reader)
    seconds: float = 0.0


class Screen:
    """One live line on a terminal; a sign of life now and then elsewhere."""

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


class Lines:
    """Cuts a stream of bytes into lines; \\r ends a line as well, for progress."""

    def __init__(self, breaks: bytes) -> None:
        self.breaks = re.compile(b"[" + breaks + b"]")
        self.rest = b""

    def cut(self, data: bytes) -> list[str]:
        *done, self.rest = self.breaks.split(self.rest + data)
        return [line.decode(errors="replace") for line in done]

    def last(self) -> list[str]:
        rest, self.rest = self.rest, b""
        return [rest.decode(errors="replace")] if rest else []


def is_running(group: int) -> bool:
    """Whether a process of that group is left; a zombie is none."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = file.read_text().rsplit(")", 1)[1].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False


def end_group(process: subprocess.Popen, patience: float) -> None:
    """Ends all of the group that a process leads, and returns when they have ended; a task in D
    state outlives this and is left to itself."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if not is_running(process.pid):
                process.poll()
                return
            time.sleep(0.1)


class Child:
    """A child in a process group of its own, that is given up and never waited for in vain."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("wb")
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.process.stdout, selectors.EVENT_READ, Lines(b"\n"))
        self.selector.register(self.process.stderr, selectors.EVENT_READ, Lines(b"\r\n"))

    def read(self, wait: float):
        """Yields (is_stdout, line) for what comes within `wait` seconds."""
        if not self.selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(wait)
            return
        for key, _ in self.selector.select(wait):
            if data := key.fileobj.read(65536):
                self.log.write(data)
                self.log.flush()
                lines = key.data.cut(data)
            else:
                self.selector.unregister(key.fileobj)
                lines = key.data.last()
            for line in lines:
                yield key.fileobj is self.process.stdout, line

    def ended(self) -> bool:
        """True when the process is gone; a grandchild may still hold its pipes."""
        return self.process.poll() is not None

    def drained(self) -> bool:
        return not self.selector.get_map()

    def kill(self) -> None:
        end_group(self.process, 5)
        # Popen must not complain of, or wait for, a child that cannot die.
        self.process.returncode = self.process.returncode or -signal.SIGKILL

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what the suite left running
        self.selector.close()
        self.log.close()


def follow(child: Child, deadline: float, on_line, on_tick) -> int | None:
    """Runs the child to its end; its exit status, or None when it was given up."""
    started = time.monotonic()
    drain_until = None
    try:
        while True:
            for is_stdout, line in child.read(0.5):
                on_line(is_stdout, line)
            on_tick(time.monotonic() - started)
            if child.ended():
                drain_until = drain_until or time.monotonic() + 5
                if child.drained() or time.monotonic() > drain_until:
                    return child.process.returncode
            elif time.monotonic() - started > deadline:
                child.kill()
                return None
    except BaseException:
        child.kill()
        raise
    finally:
        child.close()


def environment_for_children() -> dict[str, str]:
    environment = dict(os.environ, LIBFREEZE_BUILD=str(BUILD), LC_ALL="C.UTF-8")
    environment["PATH"] = environment.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"
    return environment


def run_step(name: str, command: list[str], screen: Screen, environment: dict[str, str]) -> bool:
    """A step before the suites. Its output goes to the log, its last words to the screen."""
    log = LOGS / f"{name}.log"
    tail: list[str] = []

    def on_line(_: bool, line: str) -> None:
        tail.append(line)
        del tail[:-20]

    def on_tick(seconds: float) -> None:
        screen.status(f"{name}  {clock(seconds)}  {tail[-1].strip() if tail else ''}")

    status = follow(Child(command, log, environment), 1800, on_line, on_tick)
    screen.clear()
    if status != 0:
        screen.say("\n".join(tail))
        screen.say(f"{name} failed ({' '.join(command)}); all of its output: {log}")
    return status == 0


def build(screen: Screen, environment: dict[str, str]) -> bool:
    """Configures and compiles with meson, with Catch2 3 from wherever this Debian has it."""
    catch2 = ROOT / "tests/support/catch2"
    if catch2.exists():
        found = subprocess.run([catch2], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False)
        if found.returncode != 0:
            screen.say("tests/support/catch2 failed; see above")
            return False
        environment["PKG_CONFIG_PATH"] = found.stdout.strip()
    if not (BUILD / "tests").exists():
        again = ["--reconfigure"] if (BUILD / "build.ninja").exists() else []
        where = environment.get("PKG_CONFIG_PATH", "")  # meson would keep what it was at first
        command = ["meson", "setup", *again, "-Dtests=enabled", f"-Dpkg_config_path={where}",
                   str(BUILD), str(ROOT)]
        if not run_step("meson-setup", command, screen, environment):
            return False
    return run_step("compile", ["meson", "compile", "-C", str(BUILD)], screen, environment)


def run_suite(outcome: Outcome, title: str, expected: float, arguments, screen, environment):
    suite, reader = outcome.suite, outcome.reader
    traits = KNOWN.get(suite, OTHER)
    full = arguments.full and traits.takes_full
    options = ["--full"] if full else []
    if traits.takes_kernels:
        options += [word for kernel in arguments.kernel for word in ("--kernel", kernel)]
    usual = (traits.full_deadline or 2 * traits.deadline) if full else traits.deadline
    deadline = arguments.deadline or usual
    progress = ""
    reported = 0

    def on_line(is_stdout: bool, line: str) -> None:
        nonlocal progress
        if is_stdout:
            reader.feed(line)
        elif line.strip():
            progress = line.strip()
        if arguments.verbose:
            screen.say("    " + line)

    def on_tick(seconds: float) -> None:
        nonlocal reported
        for failure in reader.failures[reported:]:
            screen.say(f"  FAILED {suite}: {failure.name}")
        reported = len(reader.failures)
        screen.status(
            f"{title}  {clock(seconds)} of about {clock(expected)}  "
            f"{reader.passed} passed, {reported} failed  {progress}"
        )

    command = [str(ROOT / "tests" / suite / "suite"), *options]
    started = time.monotonic()
    try:
        child = Child(command, LOGS / f"{suite}.log", environment)
        status = follow(child, deadline, on_line, on_tick)
        if status is None:
            reader.breach(f"given up after {clock(deadline)}; last progress: {progress or 'none'}")
    except OSError as error:
        reader.breach(f"cannot run {command[0]}: {error.strerror}")
        status = None
    reader.finish(status)
    outcome.seconds = time.monotonic() - started
    on_tick(outcome.seconds)
    screen.say(
        f"{title}  {reader.passed} passed, {len(reader.failures)} failed, "
        f"{len(reader.skips)} skipped  {clock(outcome.seconds)}"
    )


def load_times() -> dict[str, float]:
    try:
        return {str(k): float(v) for k, v in json.loads(TIMES.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def save_times(times: dict[str, float]) -> None:
    """Only an estimate is lost when this fails, so it may."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = TIMES.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(times, indent=1, sort_keys=True) + "\n")
        fresh.replace(TIMES)
    except OSError:
        pass


def time_key(suite: str, arguments) -> str:
    return " ".join([suite, *(["--full"] if arguments.full else []), *arguments.kernel])


def all_suites() -> list[str]:
    """The known ones, there or not: one that is lost must fail, not vanish."""
    found = {path.parent.name for path in (ROOT / "tests").glob("*/suite")}
    return [*KNOWN, *sorted(found - set(KNOWN))]


def kernels() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "patches").glob("*/BASE"))


def wanted(suite: str, arguments) -> bool:
    if arguments.suites:
        return suite in arguments.suites
    return arguments.full or not KNOWN.get(suite, OTHER).only_full


def summary(outcomes: list[Outcome], screen: Screen) -> None:
    width = max(len(outcome.suite) for outcome in outcomes)
    screen.say()
    screen.say(f"{'suite':{width}}  passed  failed  skipped   time")
    for outcome in outcomes:
        reader = outcome.reader
        screen.say(
            f"{outcome.suite:{width}}  {reader.passed:6}  {len(reader.failures):6}  "
            f"{len(reader.skips):7}  {clock(outcome.seconds):>5}"
        )
    for outcome in outcomes:
        if table := kernel_table.lines(outcome.reader.results):
            screen.say("\n".join(["", f"{outcome.suite}, by kernel:", *table]))
    for outcome in outcomes:
        for skip in outcome.reader.skips:
            screen.say(f"skipped {outcome.suite}: {skip.name}: {skip.diagnostics[0]}")
    for outcome in outcomes:
        for failure in outcome.reader.failures:
            screen.say(f"FAILED {outcome.suite}: {failure.name}")
            for line in failure.diagnostics:
                screen.say(f"    {line}")
        if outcome.reader.failures and (LOGS / f"{outcome.suite}.log").exists():
            screen.say(f"    all of its output: {LOGS / (outcome.suite + '.log')}")


def close(outcomes: list[Outcome]) -> int:
    """Prints the closing line, the last of all, and returns the exit status that agrees."""
    passed = sum(outcome.reader.passed for outcome in outcomes)
    failed = sum(len(outcome.reader.failures) for outcome in outcomes)
    skipped = sum(len(outcome.reader.skips) for outcome in outcomes)
    sys.stderr.flush()
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 0 if failed == 0 and passed > 0 else 1


def failed_step(name: str) -> Outcome:
    outcome = Outcome(name)
    outcome.reader.breach(f"{name} failed, so no suite ran")
    return outcome


def prepare(suites: list[str], arguments, screen: Screen, environment) -> Outcome | None:
    """Packages and the build; None, or the step that failed."""
    sets = {name for suite in suites for name in KNOWN.get(suite, OTHER).packages}
    if arguments.full:
        sets |= {name for suite in suites for name in KNOWN.get(suite, OTHER).full_packages}
    if sets:
        setup = subprocess.run([ROOT / "tests/support/setup", *sorted(sets)], check=False)
        if setup.returncode != 0:
            return failed_step("setup")
    if "build" in sets and not arguments.no_build and not build(screen, environment):
        return failed_step("build")
    return None


@contextlib.contextmanager
def building_ahead(suites: list[str], kernels: list[str], environment):
    """The kernels that will be needed, built while the suites before that mostly wait. Yields the
    process group that does it, or None."""
    if not any("kernel" in KNOWN.get(suite, OTHER).packages for suite in suites):
        yield None
        return
    LOGS.mkdir(parents=True, exist_ok=True)
    log = (LOGS / "build-ahead.log").open("wb")
    builder = subprocess.Popen(
        [ROOT / "tests/vm/build-ahead", *kernels],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
    )
    try:
        yield builder.pid
    finally:
        end_group(builder, 10)


@contextlib.contextmanager
def standing_still(group: int | None):
    """Stops a process group meanwhile."""
    def tell(number: int) -> None:
        if group:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)

    tell(signal.SIGSTOP)
    try:
        yield
    finally:
        tell(signal.SIGCONT)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="default: all; see --list")
    parser.add_argument("--full", action="store_true", help="the long form, where there is one")
    parser.add_argument("--kernel", action="append", default=[], choices=kernels(),
                        help="try the patches on this Linux only (may be given again)")
    parser.add_argument("--list", action="store_true", help="list the suites and their times")
    parser.add_argument("-v", "--verbose", action="store_true", help="show all of the output")
    parser.add_argument("--no-build", action="store_true", help="take the build directory as it is")
    parser.add_argument("--deadline", type=float, metavar="S", help="give each suite up after S s")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.suites) - set(all_suites())
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(all_suites())}")
    return arguments


def interrupt(number: int, frame) -> None:
    raise KeyboardInterrupt


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    suites = [suite for suite in all_suites() if wanted(suite, arguments)]
    times = load_times()
    expected = {
        suite: times.get(time_key(suite, arguments), KNOWN.get(suite, OTHER).expected)
        for suite in suites
    }
    if arguments.list:
        for suite in suites:
            print(f"{suite:14} about {clock(expected[suite])}")
        return 0

    screen = Screen()
    environment = environment_for_children()
    total = clock(sum(expected.values()))
    screen.say(f"Suites: {', '.join(suites)}; about {total} (min:s) in all.")
    outcomes: list[Outcome] = []
    try:
        if broken := prepare(suites, arguments, screen, environment):
            outcomes.append(broken)
            return close(outcomes)
        with building_ahead(suites, arguments.kernel, environment) as builder:
            for index, suite in enumerate(suites, 1):
                title = f"[{index}/{len(suites)}] {suite}"
                outcome = Outcome(suite)
                outcomes.append(outcome)
                quiet = KNOWN.get(suite, OTHER).quiet
                with standing_still(builder if quiet else None):
                    run_suite(outcome, title, expected[suite], arguments, screen, environment)
                if not outcome.reader.failures:
                    times[time_key(suite, arguments)] = round(outcome.seconds, 1)
        save_times(times)
    except KeyboardInterrupt:
        outcomes.append(Outcome("tests/run"))
        outcomes[-1].reader.breach("interrupted")
        summary(outcomes, screen)
        close(outcomes)
        return 130
    summary(outcomes, screen)
    return close(outcomes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
