# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guardians and libraries with one bug each: the patches of guardian/ and library/."""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutant import Mutant, Outcome, Where, find, judge, judge_unmutated, run_tap
from tests.support import volumes
from tests.support.paths import BUILD, GUARDIAN, ROOT
from tests.support.tap import Writer

SOURCES = Path("libfreeze")
UNIT_TESTS = "tests/unit/unit-tests"
AT_ONCE = 8  # the tests mostly wait for deadlines
TIMEOUT = 600  # seconds
CAP_SYS_RESOURCE = 24


class BuildFailed(Exception):
    """A mutant does not apply or build."""


def call(*words: str | Path, cwd: Path) -> str:
    # git must not take the directory for a part of a repository.
    env = {**os.environ, "GIT_CEILING_DIRECTORIES": str(cwd.parent)}
    done = subprocess.run(
        words,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise BuildFailed(f"{shlex.join(map(str, words))}: {done.stdout}")
    return done.stdout


def mutated_sources(work: Path, mutant: Mutant) -> tuple[Path, list[Path]]:
    """A directory with the sources and the mutant's bug, and the files that have it."""
    tree = work / mutant.path.stem
    shutil.copytree(ROOT / SOURCES, tree / SOURCES)
    call("git", "apply", mutant.path, cwd=tree)
    changed = re.findall(r"^\+\+\+ b/(.*)$", mutant.path.read_text(), re.MULTILINE)
    return tree, [Path(name) for name in changed]


# Guardians ---------------------------------------------------------------------


def build_guardian(work: Path, mutant: Mutant) -> Path:
    tree, [source] = mutated_sources(work, mutant)
    program = tree / "libfreeze-guardian"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-O2", "-Wall", "-Werror", f"-I{ROOT}/include"]
    call(*compiler, *flags, source, "-o", program, cwd=tree)
    return program


def run_host(program: Path, where: Where, tests: Sequence[str]) -> Outcome:
    cases = [word for test in tests for word in ("--case", test)]
    suite = (sys.executable, "-B", "-m", "tests.support.pytest_tap", "tests/host")
    options = ("--fs", where.filesystem, "--guardian", program)
    try:
        return run_tap(*suite, *options, *cases, seconds=TIMEOUT)
    finally:
        if program != GUARDIAN:
            end_all(program)


def end_all(program: Path) -> None:
    """A guardian with a bug may wait forever."""
    for entry in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == os.fspath(program):
                os.kill(int(entry.parent.name), signal.SIGKILL)


# Libraries ---------------------------------------------------------------------


def build_library(work: Path, mutant: Mutant) -> Path:
    """The unit tests, linked with the changed objects in front of the library."""
    tree, sources = mutated_sources(work, mutant)
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    objects = []
    for source in sources:
        [entry] = [
            entry
            for entry in commands
            if Path(entry["directory"], entry["file"]).resolve() == ROOT / source
        ]
        target = tree / f"{source.stem}.o"
        changed = {entry["file"]: tree / source, entry["output"]: target}
        words = [changed.get(word, word) for word in shlex.split(entry["command"])]
        call(*words, cwd=BUILD)
        objects.append(target)
    *_, link = call("ninja", "-t", "commands", UNIT_TESTS, cwd=BUILD).splitlines()
    before, after = link.split(f" -o {UNIT_TESTS} ")
    program = tree / "unit-tests"
    call(*shlex.split(before), "-o", program, *objects, *shlex.split(after), cwd=BUILD)
    return program


def run_unit(program: Path, where: Where, tests: Sequence[str]) -> Outcome:
    specs = (re.sub(r"([\\,\[\]])", r"\\\1", test) for test in tests)
    return run_tap(program, "--reporter", "tap-cases", ",".join(specs), seconds=TIMEOUT)


# Both --------------------------------------------------------------------------

KINDS = {
    "guardian": (build_guardian, run_host, GUARDIAN),
    "library": (build_library, run_unit, BUILD / UNIT_TESTS),
}


def offered() -> list[str]:
    """What a mutant may need so that its bug shows."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    has_capability = found and int(found[1], 16) >> CAP_SYS_RESOURCE & 1
    return [
        *(["CAP_SYS_RESOURCE"] if has_capability else []),
        *([] if volumes.has_timeouts() else ["a kernel without timeouts"]),
    ]


def test_mutant(tap: Writer, kind: str, work: Path, mutant: Mutant) -> None:
    build, run, _ = KINDS[kind]
    try:
        program = build(work, mutant)
    except BuildFailed as why:
        tap.point(False, f"{mutant.name}: builds", why)
        return
    judge(tap, mutant, functools.partial(run, program))


def test(tap: Writer, kind: str, names: Sequence[str]) -> None:
    _, run, unmutated = KINDS[kind]
    if kind == "guardian" and (why := volumes.why_no_loop_devices()):
        tap.skip("guardian mutants: all of them", why)
        return
    here = offered()
    with (
        tempfile.TemporaryDirectory(prefix="libfreeze-mutants.") as work,
        ThreadPoolExecutor(AT_ONCE if kind == "guardian" else 2) as pool,
    ):
        possible, jobs = [], []
        for mutant in find(kind, names):
            if mutant.needs and mutant.needs not in here:
                tap.skip(mutant.name, f"needs {mutant.needs}")
                continue
            possible.append(mutant)
            jobs.append(pool.submit(test_mutant, tap, kind, Path(work), mutant))
        run_it = functools.partial(run, unmutated)
        jobs.append(pool.submit(judge_unmutated, tap, kind, possible, run_it))
        for job in jobs:
            job.result()
