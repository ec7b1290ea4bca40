# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the unit tests in more builds, in directories next to LIBFREEZE_BUILD: with gcc's address
sanitizer, whose findings end the program.

With --full also with the thread sanitizer, with the long unit tests, as C++20 by clang++, the host
tests with the sanitizers (root and loop devices), and a measurement of the library's coverage."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.paths import BUILD, ROOT
from tests.support.tap import Writer, stream

# The optimization with which building and running take the least time together.
SANITIZERS = {
    "addresses": ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=0"],
    "threads": ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1"],
}
CLANG = {"CC": "clang", "CXX": "clang++"}
STRICT = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1"}
UNIT_TESTS = ("unit-tests", "guardian-tests")
HOST_TESTS = ("host-tests", "libfreeze-guardian")
MIN_COVERAGE = 95  # percent of the lines of library and guardian


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    )


def pkg_config_path() -> str:
    """As in LIBFREEZE_BUILD, so that the same Catch2 is found."""
    options = json.loads(run("meson", "introspect", "--buildoptions", BUILD).stdout)
    return next(",".join(item["value"]) for item in options if item["name"] == "pkg_config_path")


def build(
    tap: Writer, kind: str, options: Sequence[str], targets: Sequence[str], **environment: str
) -> Path | None:
    """The build directory. If the build fails, that is a point."""
    into = BUILD.with_name(f"{BUILD.name}-{kind}")
    setup = [
        "-Dtests=enabled",
        "-Dtool=false",
        "-Dexamples=false",
        "-Dwerror=true",
        f"-Dpkg_config_path={pkg_config_path()}",
        *options,
    ]
    done = None
    if not (into / "build.ninja").exists():
        done = run("meson", "setup", *setup, into, ROOT, **environment)
    if not done or not done.returncode:
        done = run("meson", "compile", "-C", into, *targets)
    if done.returncode:
        tap.point(False, f"{kind}: it builds", done.stdout[-3000:])
        return None
    return into


def run_units(tap: Writer, kind: str, into: Path, full: bool) -> None:
    fold = tap.fold(f"{kind}: unit")
    words = [str(into / "tests/unit/unit-tests"), "--reporter", "tap-cases"]
    if not full:
        words.append("~[long]")
    fold.finish(stream(words, fold.line, None, **STRICT))
    if full:
        fold = tap.fold(f"{kind}: guardian itself")
        words[0] = str(into / "tests/guardian/guardian-tests")
        fold.finish(stream(words, fold.line, None, **STRICT))


def run_host(tap: Writer, kind: str, into: Path) -> None:
    fold = tap.fold(f"{kind}: host")
    suite = [sys.executable, "-B", "-m", "tests.support.pytest_tap", "tests/host", "--fs", "ext4"]
    fold.finish(stream(suite, fold.line, None, LIBFREEZE_BUILD=str(into), **STRICT))


def uncovered(report: str) -> tuple[float, list[str]]:
    """The percentage of covered lines, and the lines that were not run: 'file: 3, 4'."""
    count, missed = 0, {}
    for file in json.loads(report)["files"]:
        lines = [line for line in file["lines"] if not line.get("gcovr/noncode")]
        count += len(lines)
        missed[file["file"]] = [str(line["line_number"]) for line in lines if not line["count"]]
    listed = [f"{file}: {', '.join(numbers)}" for file, numbers in missed.items() if numbers]
    return 100 - 100 * sum(map(len, missed.values())) / max(count, 1), listed


def measure_coverage(tap: Writer) -> None:
    kind = "coverage"
    options = ["-Db_coverage=true", "-Dbuildtype=debug"]
    into = build(tap, kind, options, (*UNIT_TESTS, *HOST_TESTS))
    if not into:
        return
    for data in into.rglob("*.gcda"):
        data.unlink()
    run_units(tap, kind, into, full=True)
    run_host(tap, kind, into)
    only = ("--filter", f"{ROOT}/libfreeze/.*[.](cpp|c)")
    done = run("gcovr", "--root", ROOT, *only, "--json", "-", "--object-directory", into, into)
    percent, missed = uncovered(done.stdout)
    name = f"{kind}: the tests cover {MIN_COVERAGE} % of the library's lines"
    tap.point(percent >= MIN_COVERAGE, name)
    tap.note("\n".join([f"{percent:.1f} %; not covered:", *missed]))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="instrumented",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="all of it")
    full = parser.parse_args().full
    tap = Writer()
    for kind, options in SANITIZERS.items():
        if not full and kind != "addresses":
            tap.skip(f"{kind}: all of it", "only with --full")
            continue
        if into := build(tap, kind, options, (*UNIT_TESTS, *(HOST_TESTS if full else ()))):
            run_units(tap, kind, into, full)
            if full:
                run_host(tap, kind, into)
    if full:
        if into := build(tap, "clang", ["-Dcpp_std=c++20"], UNIT_TESTS, **CLANG):
            run_units(tap, "clang", into, full)
        measure_coverage(tap)
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
