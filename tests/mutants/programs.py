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
from tests.support.paths import BUILD, ROOT
from tests.support.tap import Writer

SOURCES = Path("libfreeze")
LIBRARY = BUILD / "libfreeze/libfreeze.so"
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
    tree, _ = mutated_sources(work, mutant)
    program = tree / "libfreeze-guardian"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-O2", f"-I{ROOT}/include"]
    sources = sorted((tree / SOURCES / "guardian").glob("*.c"))
    call(*compiler, *flags, *sources, "-o", program, "-pthread", cwd=tree)
    return program


def end_all(program: Path) -> None:
    """A guardian with a bug may wait forever."""
    for entry in Path("/proc").glob("[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == os.fspath(program):
                os.kill(int(entry.parent.name), signal.SIGKILL)


# Libraries ---------------------------------------------------------------------


def build_library(work: Path, mutant: Mutant) -> Path:
    """Links the library again, with the changed objects."""
    tree, sources = mutated_sources(work, mutant)
    commands = json.loads((BUILD / "compile_commands.json").read_text())
    changed: dict[str, str | Path] = {}
    for source in sources:
        [entry] = [
            entry
            for entry in commands
            if Path(entry["directory"], entry["file"]).resolve() == ROOT / source
        ]
        target = tree / f"{source.stem}.o"
        own = {entry["file"]: tree / source, entry["output"]: target}
        call(*(own.get(word, word) for word in shlex.split(entry["command"])), cwd=BUILD)
        changed[entry["output"]] = target
    name = str(LIBRARY.resolve().relative_to(BUILD))
    *_, link = call("ninja", "-t", "commands", name, cwd=BUILD).splitlines()
    changed[name] = tree / LIBRARY.resolve().name
    call(*(changed.get(word, word) for word in shlex.split(link)), cwd=BUILD)
    return Path(changed[name])


# Both --------------------------------------------------------------------------

BUILDS = {"guardian": build_guardian, "library": build_library}
KINDS = tuple(BUILDS)


def run_host(kind: str, mutated: Path | None, where: Where, tests: Sequence[str]) -> Outcome:
    """Runs cases of tests/host, with a mutated guardian or library in place of the real one."""
    cases = [word for test in tests for word in ("--case", test)]
    suite = (sys.executable, "-B", "-m", "tests.support.pytest_tap", "tests/host")
    options: list[str | Path] = [f"--{kind}", mutated] if mutated else []
    try:
        return run_tap(*suite, "--fs", where.filesystem, *options, *cases, seconds=TIMEOUT)
    finally:
        if mutated and kind == "guardian":
            end_all(mutated)


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
    try:
        mutated = BUILDS[kind](work, mutant)
    except BuildFailed as why:
        tap.point(False, f"{mutant.name}: builds", why)
        return
    judge(tap, mutant, functools.partial(run_host, kind, mutated))


def test(tap: Writer, kind: str, names: Sequence[str]) -> None:
    if why := volumes.why_no_loop_devices():
        tap.skip(f"{kind} mutants: all of them", why)
        return
    here = offered()
    with (
        tempfile.TemporaryDirectory(prefix="libfreeze-mutants.") as work,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        possible, jobs = [], []
        for mutant in find(kind, names):
            if mutant.needs and mutant.needs not in here:
                tap.skip(mutant.name, f"needs {mutant.needs}")
                continue
            possible.append(mutant)
            jobs.append(pool.submit(test_mutant, tap, kind, Path(work), mutant))
        unmutated = functools.partial(run_host, kind, None)
        jobs.append(pool.submit(judge_unmutated, tap, kind, possible, unmutated))
        for job in jobs:
            job.result()
