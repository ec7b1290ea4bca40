# SPDX-License-Identifier: LGPL-2.1-or-later
"""For each supported kernel: the series is the three patches; it applies and survives the round
trip; checkpatch, the compiler, sparse and kernel-doc are silent; and every step of it builds and
boots. Prints TAP."""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.paths import PATCHES, cache_dir
from tests.support.tap import Writer
from tests.vm import config, image, source
from tests.vm.common import VM, Failure, git_env

SUBJECTS = [
    "fs: make the freeze ioctls reference-counted",
    "xfs: remove the XFS-specific freeze ioctl definitions",
    "fs: add a timeout to the freeze ioctls",
]
STEPS = ["step1", "step2", "patched"]  # without --full, only the last one is compiled and built
SHOWN = 3000  # characters of a program's output that failed

Done = subprocess.CompletedProcess[str]


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    return subprocess.run(
        command,
        cwd=cwd,
        env=env,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


# The files ---------------------------------------------------------------


def header(patch: Path, name: str) -> str:
    """A header field of a patch file, with its folded lines joined."""
    match = re.search(rf"^{name}: (.*(?:\n .*)*)", patch.read_text(), re.MULTILINE)
    return match[1].replace("\n ", " ") if match else ""


def test_series(tap: Writer, kernel: str, patches: Sequence[Path]) -> None:
    subjects = [re.sub(r"^\[PATCH[^]]*\] ", "", header(patch, "Subject")) for patch in patches]
    tap.point(
        subjects == SUBJECTS,
        f"{kernel}: three patches, with the subjects of the series",
        f"found: {subjects}",
    )
    authors = {header(patch, "From").split(" <")[0] for patch in patches}
    signers = [
        line
        for patch in patches
        for line in patch.read_text().splitlines()
        if line.startswith("Signed-off-by:") and "libfreeze developers" not in line
    ]
    tap.point(
        authors == {"libfreeze developers"} and not signers,
        f"{kernel}: the project is the author, and nobody else signs",
        f"authors {authors}, signed off by {signers}",
    )
    cover = PATCHES / kernel / "COVER"
    tap.point(cover.exists() and cover.stat().st_size > 0, f"{kernel}: there is a cover letter")


def test_base(tap: Writer, kernel: str) -> None:
    pins = [word for pin in source.read_base(kernel)[1] for word in (pin.version, pin.sha256)]
    readme = (PATCHES / "README.md").read_text()
    missing = [pin for pin in pins if pin not in readme]
    tap.point(
        pins and not missing,
        f"{kernel}: the table in patches/README.md has the pins of BASE",
        f"not there: {missing}",
    )


def test_round_trip(tap: Writer, kernel: str) -> None:
    done = run(PATCHES / "refresh", "check", kernel)
    tap.point(
        done.returncode == 0,
        f"{kernel}: git am applies the patches to the pristine source, and unpack and export give "
        "the same bytes again",
        done.stdout[-SHOWN:],
    )


def test_checkpatch(tap: Writer, kernel: str, tree: Path, patches: Sequence[Path]) -> None:
    command = "perl scripts/checkpatch.pl --strict --quiet --no-summary --show-types".split()
    for number, patch in enumerate(patches, 1):
        done = run(*command, patch, cwd=tree, env=git_env(tree))
        tap.point(
            done.returncode == 0 and not done.stdout.strip(),
            f"{kernel}: checkpatch --strict is silent on patch {number}",
            done.stdout[-SHOWN:],
        )


# Warnings of the compiler and sparse --------------------------------------


def objects(patches: Sequence[Path]) -> list[str]:
    """The object files of the C files that the patches touch."""
    done = run("git", "apply", "--numstat", *patches)
    names = [line.split("\t")[2] for line in done.stdout.splitlines()]
    sources = {name for name in names if name.endswith(".c") and not name.startswith("tools/")}
    return sorted(f"{name[:-2]}.o" for name in sources)


def complaints(tree: Path, targets: Sequence[str]) -> collections.Counter[str]:
    """What the compiler and sparse report about the targets, without line numbers."""
    targets = [name for name in targets if (tree / name).with_suffix(".c").exists()]
    if not targets:
        raise Failure("the patches touch no C file")
    # Debian 12's sparse does not have the operator that newer kernels require.
    check = "CHECK=sparse -D__typeof_unqual__=__typeof__"
    make = [*image.make_command(tree), "-k", "W=1", "C=2", check]
    done = run(*make, *targets, env=image.make_environment())
    if "sparse is not available" in done.stdout:
        raise Failure("make does not accept this sparse")
    found: collections.Counter[str] = collections.Counter()
    for line in done.stdout.splitlines():
        match = re.match(r"(\S+?):\d+(?::\d+)?: (?:.*: )?((?:warning|error): .*)", line)
        if match:
            found[f"{match[1]}: {match[2]}"] += 1
    if done.returncode and not found:
        found[f"make failed: {done.stdout[-1000:]}"] += 1
    return found


def test_docs(tap: Writer, kernel: str, tree: Path) -> None:
    """kernel-doc's exit status is 0 even with warnings. 6.1's has no -Wall, and gives all."""
    script = tree / "scripts" / "kernel-doc"
    options = ["-Wall"] if "-Wall" in script.read_text() else []
    done = run(script, "-none", *options, "fs/freeze.c", cwd=tree)
    tap.point(
        done.returncode == 0 and not done.stdout.strip(),
        f"{kernel}: kernel-doc is silent on fs/freeze.c",
        done.stdout[-SHOWN:],
    )


def prepared_copy(tree: Path, work: Path, kernel: str) -> None:
    source.copy(tree, work, link=True)
    make, env = image.make_command(work), image.make_environment()
    config.configure(make, env, work, kernel, "touched")
    ready = run(*make, "prepare", env=env)
    if ready.returncode:
        raise Failure(f"make prepare: {ready.stdout[-SHOWN:]}")


def test_warnings(
    tap: Writer, kernel: str, tree: Path, patches: Sequence[Path], full: bool
) -> None:
    if not shutil.which("sparse"):
        tap.point(False, f"{kernel}: sparse is installed", "tests/support/setup tests installs it")
        return
    work = cache_dir("build") / f"warnings-{kernel}-{os.getpid()}"
    try:
        prepared_copy(tree, work, kernel)
        targets = objects(patches)
        before = complaints(work, targets)
        for number, patch in enumerate(patches, 1):
            if not source.apply(work, [patch]):
                raise Failure(f"patch {number} does not apply")
            name = (
                f"{kernel}: compiler (W=1) and sparse report nothing new about the touched files "
                f"after patch {number}"
            )
            if full or patch == patches[-1]:
                new = complaints(work, targets) - before
                tap.point(not new, name, "\n".join(new))
            else:
                tap.skip(name, "only with --full")
        test_docs(tap, kernel, work)
    except Failure as failure:
        tap.point(False, f"{kernel}: the files that the patches touch compile", failure)
    finally:
        shutil.rmtree(work, ignore_errors=True)


# Each step ------------------------------------------------------------------


def test_step(tap: Writer, kernel: str, number: int, flavour: str) -> None:
    step = f"{kernel}: step {number}"
    try:
        log = image.build(kernel, flavour).with_name("build.log")
    except Failure as failure:
        tap.point(False, f"{step} builds", failure)
        return
    tap.point(True, f"{step} builds")
    # test_warnings() looks at all warnings about the files that the patches touch.
    warnings = [
        line
        for line in log.read_text(errors="replace").splitlines()
        if "warning:" in line and not line.endswith(tuple(image.FALSE_WARNINGS))
    ]
    tap.point(not warnings, f"{step} builds without a warning", "\n".join(warnings))
    vm = [sys.executable, "-B", "-m", "tests.vm", "run", "--kernel", kernel, "--flavour", flavour]
    smoke = [str(VM / "guest/smoke"), "ext4", "xfs"]
    done = run(*vm, "--timeout", "300", "--disk", "512M", "--", *smoke)
    tap.point(
        done.returncode == 0,
        f"{step} boots, freezes and thaws",
        f"vm run: exit status {done.returncode}\n{done.stdout[-SHOWN:]}",
    )


def test_kernel(tap: Writer, kernel: str, full: bool) -> None:
    patches = source.patches(kernel)
    test_series(tap, kernel, patches)
    test_base(tap, kernel)
    test_round_trip(tap, kernel)
    tree = source.describe(kernel).tree
    test_checkpatch(tap, kernel, tree, patches)
    test_warnings(tap, kernel, tree, patches, full)
    for number, flavour in enumerate(STEPS, 1):
        if full or flavour == STEPS[-1]:
            test_step(tap, kernel, number, flavour)
        else:
            tap.skip(f"{kernel}: step {number} as a kernel that boots", "only with --full")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="compile and boot each step")
    parser.add_argument("--kernel", action="append", choices=source.kernels())
    args = parser.parse_args()
    tap = Writer()
    # The pinned source is tested here, whatever else is built elsewhere.
    os.environ.pop("KERNEL_SRC", None)
    for kernel in args.kernel or source.kernels():
        try:
            test_kernel(tap, kernel, args.full)
        except source.Dropped as why:
            tap.skip(f"{kernel}: the rest", why)
        except Failure as why:
            tap.point(False, f"{kernel}: {why}")
    return tap.finish()


if __name__ == "__main__":
    sys.exit(main())
