# SPDX-License-Identifier: LGPL-2.1-or-later
"""For each supported kernel: the series has its three parts; git am and quilt apply it to the
pristine source, and it survives the round trip; checkpatch, the compiler, sparse and kernel-doc are
silent; and every part of it builds and boots. Prints TAP."""

import argparse
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.runner.table import KERNEL
from tests.support.paths import PATCHES, cache_dir
from tests.support.tap import Writer
from tests.vm import config, image, source
from tests.vm.common import VM, Failure, git_env

PARTS = ["1-fixes", "2-freeze", "3-beyond"]
# patches/refresh looks for these.
PART_2 = [
    "fs: make the freeze ioctls reference-counted",
    "xfs: remove the XFS-specific freeze ioctl definitions",
    "fs: add a timeout to the freeze ioctls",
]
FLAVOURS = ["part1", "part2", "patched"]  # the kernels with one, two and three parts
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


def subject(patch: Path) -> str:
    return re.sub(r"^\[PATCH[^]]*\] ", "", header(patch, "Subject"))


def place(file: Path) -> tuple[int, int] | None:
    """2 and 3 for a subject that begins with [PATCH 2/3]."""
    match = re.match(r"\[PATCH 0*(\d+)/(\d+)\] \S", header(file, "Subject"))
    return (int(match[1]), int(match[2])) if match else None


def in_part(patches: Sequence[Path], number: int) -> list[Path]:
    return [patch for patch in patches if source.part_of(patch) == number]


def test_series(tap: Writer, kernel: str, patches: Sequence[Path]) -> None:
    directory = PATCHES / kernel
    lines = (directory / "series").read_text().splitlines()
    listed = [line for line in lines if not line.startswith("#")]
    found = [str(patch.relative_to(directory)) for patch in patches]
    tap.point(
        listed == found,
        f"{kernel}: the file series lists all patches, in order",
        f"listed: {listed}\nfound: {found}",
    )
    numbers = [patch.name[:5] for patch in patches]
    tap.point(
        numbers == [f"{number:04}-" for number in range(1, len(patches) + 1)],
        f"{kernel}: the numbers of the files go on from part to part",
        f"{numbers}",
    )
    parts = sorted(path.name for path in directory.iterdir() if path.is_dir())
    stray = sorted(str(path) for path in directory.glob("*.patch"))
    tap.point(
        parts == PARTS and not stray,
        f"{kernel}: three parts, and no patch outside of them",
        f"found: {parts} {stray}",
    )
    for number, part in enumerate(PARTS, 1):
        test_part(tap, f"{kernel} {part}", directory / part, in_part(patches, number))
    subjects = [subject(patch) for patch in in_part(patches, 2)]
    tap.point(subjects == PART_2, f"{kernel} 2-freeze: the three patches", f"found: {subjects}")
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


def test_part(tap: Writer, name: str, directory: Path, patches: Sequence[Path]) -> None:
    count = len(patches)
    places = [place(patch) for patch in patches]
    tap.point(
        count and places == [(number, count) for number in range(1, count + 1)],
        f"{name}: numbered like a separate series",
        f"{places}",
    )
    cover = directory / "COVER"
    if not cover.exists():
        tap.point(False, f"{name}: there is a cover letter")
        return
    tap.point(place(cover) == (0, count), f"{name}: there is a cover letter, [PATCH 0/{count}]")


def test_readme(tap: Writer, kernel: str, patches: Sequence[Path]) -> None:
    readme = (PATCHES / "README.md").read_text()
    pins = [word for pin in source.read_base(kernel)[1] for word in (pin.version, pin.sha256)]
    missing = [pin for pin in pins if pin not in readme]
    tap.point(
        pins and not missing,
        f"{kernel}: the table in patches/README.md has the pins of BASE",
        f"not there: {missing}",
    )
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([\d., ]+) \|$", readme, re.MULTILINE)
    described = {what for what, kernels in rows if kernel in kernels.split(", ")}
    wrong = sorted(described.symmetric_difference(map(subject, patches)))
    tap.point(
        not wrong,
        f"{kernel}: patches/README.md has a line for each patch, and no others",
        "\n".join(wrong),
    )


def test_round_trip(tap: Writer, kernel: str) -> None:
    done = run(PATCHES / "refresh", "check", kernel)
    tap.point(
        done.returncode == 0,
        f"{kernel}: git am applies the patches to the pristine source, and unpack and export give "
        "the same bytes again",
        done.stdout[-SHOWN:],
    )


def touched(patches: Iterable[Path]) -> list[str]:
    """The files that the patches touch."""
    done = run("git", "apply", "--numstat", *patches)
    return sorted({line.split("\t")[2] for line in done.stdout.splitlines()})


def copy_touched(tree: Path, patches: Iterable[Path], into: Path) -> None:
    for name in touched(patches):
        if (tree / name).exists():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tree / name, into / name)


def test_quilt(tap: Writer, kernel: str, tree: Path, patches: Sequence[Path]) -> None:
    """It must give what git gives."""
    name = f"{kernel}: quilt push -a applies the patches to the pristine source"
    if not shutil.which("quilt"):
        tap.point(False, name, "quilt is not installed: tests/support/setup tests installs it")
        return
    with tempfile.TemporaryDirectory(prefix="libfreeze-quilt.") as scratch:
        by_quilt, by_git = Path(scratch, "quilt"), Path(scratch, "git")
        for work in (by_quilt, by_git):
            work.mkdir()
            copy_touched(tree, patches, work)
        env = dict(os.environ, LC_ALL="C", QUILT_PATCHES=str(PATCHES / kernel))
        done = run("quilt", "--quiltrc", "-", "push", "-a", "--fuzz=0", cwd=by_quilt, env=env)
        applied = source.apply(by_git, list(patches))
        compared = run("diff", "-r", "-q", "--exclude=.pc", by_quilt, by_git)
    tap.point(
        done.returncode == 0 and applied and compared.returncode == 0,
        name,
        f"{done.stdout[-SHOWN:]}\n{compared.stdout[-SHOWN:]}",
    )


def test_versions(tap: Writer, kernel: str, patches: Sequence[Path], full: bool) -> None:
    """The patches apply to all pinned versions, also to those that they were not made on."""
    package, pins = source.read_base(kernel)
    for pin in pins:
        name = f"{kernel}: the patches apply to {package} {pin.version}"
        tree = source.tree_of(package, pin.sha256)
        if not tree.exists() and not full:
            tap.skip(name, "its source is not in the cache, and is fetched only with --full")
        elif not (tree.exists() or source.fetch_and_unpack(package, pin)):
            tap.skip(name, f"{pin.release} does not have it any more")
        else:
            done = source.git_apply(tree, list(patches), "--check")
            tap.point(done.returncode == 0, name, done.stderr.decode()[-SHOWN:])


def test_checkpatch(tap: Writer, kernel: str, tree: Path, patches: Sequence[Path]) -> None:
    command = "perl scripts/checkpatch.pl --strict --quiet --no-summary --show-types".split()
    command += ["--ignore", "UNKNOWN_COMMIT_ID"]  # of a Fixes tag: the source has no history
    for number, patch in enumerate(patches, 1):
        done = run(*command, patch, cwd=tree, env=git_env(tree))
        tap.point(
            done.returncode == 0 and not done.stdout.strip(),
            f"{kernel}: checkpatch --strict is silent on patch {number}",
            done.stdout[-SHOWN:],
        )


# Warnings of the compiler, sparse and kernel-doc --------------------------

Complaints = collections.Counter[str]


def objects(patches: Sequence[Path]) -> list[str]:
    """The object files of the C files that the patches touch."""
    names = [name for name in touched(patches) if not name.startswith("tools/")]
    return [f"{name[:-2]}.o" for name in names if name.endswith(".c")]


def of_compiler(tree: Path, targets: Sequence[str]) -> Complaints:
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
    found: Complaints = collections.Counter()
    for line in done.stdout.splitlines():
        match = re.match(r"(\S+?):\d+(?::\d+)?: (?:.*: )?((?:warning|error): .*)", line)
        if match:
            found[f"{match[1]}: {match[2]}"] += 1
    if done.returncode and not found:
        found[f"make failed: {done.stdout[-1000:]}"] += 1
    return found


def of_kernel_doc(tree: Path, names: Sequence[str]) -> Complaints:
    """What kernel-doc reports about the files, without line numbers. Its exit status is 0 even
    with warnings. 6.1's has no -Wall, and gives all."""
    script = tree / "scripts" / "kernel-doc"
    options = ["-Wall"] if "-Wall" in script.read_text() else []
    present = [name for name in names if (tree / name).exists()]
    done = run(script, "-none", *options, *present, cwd=tree)
    # Perl's own warnings end with the line of the file that is read.
    number = re.compile(r":\d+\b|<IN_FILE> line \d+")
    lines = [number.sub(":", line) for line in done.stdout.splitlines() if line.strip()]
    if done.returncode and not lines:
        lines = [f"kernel-doc failed with exit status {done.returncode}"]
    return collections.Counter(lines)


def prepared_copy(tree: Path, work: Path, kernel: str) -> None:
    source.copy(tree, work, link=True)
    make, env = image.make_command(work), image.make_environment()
    config.configure(make, env, work, kernel, "touched")
    ready = run(*make, "prepare", env=env)
    if ready.returncode:
        raise Failure(f"make prepare: {ready.stdout[-SHOWN:]}")


def compile_each(tap: Writer, kernel: str, work: Path, patches: Sequence[Path], full: bool) -> None:
    """Applies the patches one after the other, and compiles what they touch after each part, or
    after each patch."""
    targets = objects(patches)
    before = of_compiler(work, targets)
    for number, patch in enumerate(patches, 1):
        if not source.apply(work, [patch]):
            raise Failure(f"patch {number} does not apply")
        part = source.part_of(patch)
        last = patch == in_part(patches, part)[-1]
        if not full and not last:
            continue
        what = f"part {part}" if last else f"patch {number}"
        new = of_compiler(work, targets) - before
        tap.point(
            not new,
            f"{kernel}: compiler (W=1) and sparse report nothing new about the touched files after "
            f"{what}",
            "\n".join(new),
        )
    if not full:
        tap.skip(f"{kernel}: each patch as a step that compiles", "only with --full")


def test_warnings(
    tap: Writer, kernel: str, tree: Path, patches: Sequence[Path], full: bool
) -> None:
    if not shutil.which("sparse"):
        tap.point(False, f"{kernel}: sparse is installed", "tests/support/setup tests installs it")
        return
    work = cache_dir("build") / f"warnings-{kernel}-{os.getpid()}"
    names = [name for name in touched(patches) if re.match(r"(?!tools/).*\.[ch]$", name)]
    try:
        prepared_copy(tree, work, kernel)
        before = of_kernel_doc(work, names)
        compile_each(tap, kernel, work, patches, full)
        new = of_kernel_doc(work, names) - before
        tap.point(
            not new, f"{kernel}: kernel-doc reports nothing new about the touched files", list(new)
        )
    except Failure as failure:
        tap.point(False, f"{kernel}: the files that the patches touch compile", failure)
    finally:
        shutil.rmtree(work, ignore_errors=True)


# Each part as a kernel ------------------------------------------------------


def test_kernel_of_part(tap: Writer, kernel: str, number: int) -> None:
    """The suite `kernel` runs the ABI test on it."""
    flavour = FLAVOURS[number - 1]
    what = f"{kernel} with part 1" if number == 1 else f"{kernel} with parts 1 to {number}"
    try:
        log = image.build(kernel, flavour).with_name("build.log")
    except Failure as failure:
        tap.point(False, f"{what} builds", failure)
        return
    tap.point(True, f"{what} builds")
    # test_warnings() looks at all warnings about the files that the patches touch.
    warnings = [
        line
        for line in log.read_text(errors="replace").splitlines()
        if "warning:" in line and not line.endswith(tuple(image.FALSE_WARNINGS))
    ]
    tap.point(not warnings, f"{what} builds without a warning", "\n".join(warnings))
    vm = [sys.executable, "-B", "-m", "tests.vm", "run", "--kernel", kernel, "--flavour", flavour]
    smoke = [str(VM / "guest/smoke"), "ext4", "xfs"]
    done = run(*vm, "--timeout", "300", "--disk", "512M", "--", *smoke)
    tap.point(
        done.returncode == 0,
        f"{what} boots, freezes and thaws",
        f"vm run: exit status {done.returncode}\n{done.stdout[-SHOWN:]}",
    )


def test_kernel(tap: Writer, kernel: str, full: bool) -> None:
    patches = source.patches(kernel)
    test_series(tap, kernel, patches)
    test_readme(tap, kernel, patches)
    test_round_trip(tap, kernel)
    tree = source.describe(kernel).tree
    test_quilt(tap, kernel, tree, patches)
    test_versions(tap, kernel, patches, full)
    test_checkpatch(tap, kernel, tree, patches)
    test_warnings(tap, kernel, tree, patches, full)
    for number in (1, 2, 3):
        # Each takes minutes to build.
        if full or number == 3 or kernel == KERNEL:
            test_kernel_of_part(tap, kernel, number)
        else:
            tap.skip(f"{kernel}: part {number} as a kernel that boots", "only with --full")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="compile each patch, boot each part")
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
