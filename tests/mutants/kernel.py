# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernels with one bug each: KERNEL/*.patch go on top of the series."""

import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutant import Mutant, Outcome, Where, find, judge, judge_unmutated, run_tap
from tests.support.paths import BUILD, cache_dir
from tests.support.process import Word
from tests.support.tap import Writer
from tests.vm import image, source
from tests.vm.common import Failure, locked

FLAVOUR = "patched-all"  # some mutants are about f2fs or JFS
ABI = BUILD / "tests/kernel/freeze-abi"
MOST_GLOBS = 64  # that freeze-abi accepts
PYTHON = (sys.executable, "-B", "-m")
GUEST_TIMEOUT = 900  # seconds, after which tests.vm ends the guest


def command(where: Where, tests: Sequence[str]) -> tuple[list[Word], list[str]]:
    """The command that runs in the guest, and the sizes of its disks."""
    program, filesystem = where
    on_disk = ("--fs", filesystem, "/dev/vda")
    if program == "abi":
        only = [word for test in tests for word in ("--only", test)]
        return [ABI, *(only if len(tests) <= MOST_GLOBS else []), *on_disk], ["4G"]
    if program == "model":
        return [BUILD / "tests/kernel/model/freeze-model", "--seed", "1", *on_disk], ["4G"]
    if program == "stress":
        return [BUILD / "tests/stress/freeze-stress", *on_disk], ["4G"]
    if program == "overhead":
        return [BUILD / "tests/overhead/freeze-time", *on_disk, "/dev/vdb"], ["1G", "1G"]
    suite = ("tests.support.pytest_tap", f"tests/{program}")
    return [*PYTHON, *suite, "--fs", filesystem, "--disk", "/dev/vda"], ["8G"]


def run(kernel: str, bzimage: Path, where: Where, tests: Sequence[str]) -> Outcome:
    words, sizes = command(where, tests)
    vm: list[Word] = [*PYTHON, "tests.vm", "run", "--kernel", kernel, "--flavour", FLAVOUR]
    vm += ["--image", bzimage, "--timeout", GUEST_TIMEOUT, "--silence", 300]
    vm += [word for size in sizes for word in ("--disk", size)]
    return run_tap(
        *vm, "--", *words, seconds=GUEST_TIMEOUT + 300, env={"LIBFREEZE_BUILD": str(BUILD)}
    )


def judge_names(tap: Writer, kernels: Sequence[str]) -> None:
    """Every named test of freeze-abi exists. Also notes those that no mutant makes fail."""
    done = subprocess.run([ABI, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    existing = [line.split()[0] for line in done.stdout.splitlines()]
    named = {
        test
        for kernel in kernels
        for mutant in find(kernel)
        for where, tests in mutant.tests.items()
        if where.program == "abi"
        for test in tests
    }
    unknown = sorted(named.difference(existing))
    tap.point(not unknown, "mutants: each test of freeze-abi that one names exists", unknown)
    if unnamed := [name for name in existing if name not in named]:
        tap.note(f"named by no mutant: {', '.join(unnamed)}")


def test_kernel(tap: Writer, kernel: str, mutants: Sequence[Mutant]) -> None:
    """Uses one tree, which is built again for each mutant while the tests of the last one run."""
    work = cache_dir("mutants") / kernel
    log = cache_dir("logs") / f"build-{kernel}-mutant.log"

    def build(name: str) -> functools.partial[Outcome]:
        kept = Path(scratch, name)
        shutil.copy(image.build_tree(work, None, kernel, FLAVOUR, log), kept)
        return functools.partial(run, kernel, kept)

    with (
        locked(work.with_name(f"{kernel}.lock")),
        tempfile.TemporaryDirectory() as scratch,
        ThreadPoolExecutor(2) as pool,
    ):
        tree = source.describe(kernel).tree
        source.patched_copy(tree, work, source.patches(kernel), link=True)
        jobs = [pool.submit(judge_unmutated, tap, kernel, mutants, build("none"))]
        for mutant in mutants:
            if not source.apply(work, [mutant.path]):
                tap.point(False, f"{mutant.name}: applies to the patched kernel")
                continue
            try:
                jobs.append(pool.submit(judge, tap, mutant, build(mutant.path.stem)))
            except Failure as why:
                tap.point(False, f"{mutant.name}: builds", why)
            source.apply(work, [mutant.path], "--reverse")
        for job in jobs:
            job.result()
        shutil.rmtree(work)


def test(tap: Writer, kernels: Sequence[str], names: Sequence[str]) -> None:
    judge_names(tap, source.kernels())
    found = {kernel: find(kernel, names) for kernel in kernels}
    programs = {where.program for mutants in found.values() for m in mutants for where in m.tests}
    if "compat" in programs:
        subprocess.run([*PYTHON, "tests.compat.fetch_qemu_ga"], stdout=subprocess.DEVNULL)
    for kernel, mutants in found.items():
        try:
            if mutants:
                test_kernel(tap, kernel, mutants)
        except Failure as why:
            tap.point(False, f"{kernel}: {why}")
