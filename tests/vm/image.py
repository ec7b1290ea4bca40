# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel images: built once for what goes into them, and kept in the cache."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.paths import TESTS, cache_dir
from tests.support.process import start

from . import config, headers, source
from .common import VM, Failure, locked, say

# Increase it when something else about the build changes.
RECIPE = "6"
# A twelfth less time. The compiler then knows less about macros: messages name only their use, and
# it gives these warnings without a reason.
QUICKER = "KCFLAGS=-ftrack-macro-expansion=0"
FALSE_WARNINGS = ["[-Waddress]", "[-Wtautological-compare]"]
STEP = re.compile(r"\s*(CC|AS|AR|LD|HOSTCC|GEN|UPD)\s")
IMAGE = Path("arch/x86/boot/bzImage")
# tests/overhead compares these two: the sizes, and the objects in which a write begins.
COMPARED = ["stock", "patched"]
SIZES = TESTS / "overhead" / "freeze_sizes.c"
FROM_USER = ["CROSS_COMPILE", "KCFLAGS", "KCPPFLAGS", "LLVM", "LOCALVERSION"]
WRITERS_LOCK = b"__percpu_down_read"


class Progress:
    """Shows how far a build is: a bar on a terminal, otherwise a line now and then."""

    def __init__(self, what: str, record: Path) -> None:
        self.what, self.record = what, record
        self.start = self.shown = time.monotonic()
        self.done = 0
        try:
            self.expected, self.seconds = map(int, record.read_text().split())
        except (OSError, ValueError):
            self.expected, self.seconds = 1500, 280
        self.tty = sys.stderr.isatty()
        say(f"building {what}: about {self.seconds // 60 + 1} min on two cores")

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.shown < (0.5 if self.tty else 30):
            return
        self.shown = now
        share = min(self.done / self.expected, 0.99)
        left = int((now - self.start) * (1 - share) / share)
        line = f"{self.what}: {share:4.0%}, about {left // 60}:{left % 60:02} left"
        if self.tty:
            bar = "#" * int(share * 30)
            print(f"\r[{bar:30}] {line}\033[K", end="", file=sys.stderr, flush=True)
        else:
            say(line)

    def finish(self, good: bool) -> None:
        seconds = int(time.monotonic() - self.start)
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr)
        if good:
            if self.done > 100:
                # A build that found much in ccache says little about the next one.
                usual = max(seconds, self.seconds // 2)
                self.record.write_text(f"{self.done} {usual}\n")
            say(f"built {self.what} in {seconds} s")


def compiler() -> str:
    return "ccache-gcc" if shutil.which("ccache") else "gcc"


def make_command(tree: Path, objects: Path | None = None) -> list[str]:
    """make for the tree, so that the same source gives the same image.

    A Rust compiler's version would become part of the configuration. 6.1 calls nm for every
    object, which loads each linker plugin that is installed (LLVM's takes 25 ms); gcc-nm loads
    only gcc's."""
    command = [
        "make",
        "-C",
        str(tree),
        f"-j{(os.cpu_count() or 1) + 1}",
        "ARCH=x86_64",
        f"CC={compiler()}",
        f"HOSTCC={compiler()}",
        "NM=gcc-nm",
        "RUSTC=none",
        "KBUILD_BUILD_TIMESTAMP=1970-01-01",
        "KBUILD_BUILD_USER=libfreeze",
        "KBUILD_BUILD_HOST=libfreeze",
        "KBUILD_BUILD_VERSION=1",
    ]
    return [*command, f"O={objects}"] if objects else command


def make_environment() -> dict[str, str]:
    env = dict(os.environ, LC_ALL="C")
    env |= {"CCACHE_MAXSIZE": "5G", "CCACHE_NOHASHDIR": "1", "CCACHE_DEPEND": "1"}
    # For precompiled headers. Kernels do not use __DATE__ and __TIME__: they are errors there.
    env |= {"CCACHE_SLOPPINESS": "pch_defines,time_macros", "CCACHE_PCH_EXTSUM": "1"}
    env["PATH"] = f"{VM}:{env['PATH']}"  # ccache-gcc
    env.setdefault("CCACHE_DIR", str(cache_dir("ccache")))
    # The image would depend on them, or be elsewhere.
    for name in ("MAKEFLAGS", "MFLAGS", "KBUILD_OUTPUT", "KERNEL_SRC", *FROM_USER):
        env.pop(name, None)
    return env


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A child that is ended when this process is interrupted."""
    with start(command, **options) as child:
        try:
            yield child
        except BaseException:
            child.terminate()
            child.wait()
            raise


def run_make(command: Sequence[str], log: Path, progress: Progress) -> None:
    """Runs make with its output added to the log file. A failure shows the end of it."""
    with (
        open(log, "a") as out,
        running(
            command,
            env=make_environment(),
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as make,
    ):
        assert make.stdout
        for line in make.stdout:
            out.write(line)
            if STEP.match(line):
                progress.step()
    if make.returncode:
        progress.finish(False)
        lines = log.read_text(errors="replace").splitlines()
        if any("No space left on device" in line for line in lines):
            raise Failure(f"no disk space left for a kernel build: {cache_dir()} takes about 8 GB")
        errors = [line for line in lines if re.search(r"error|Error|undefined", line)]
        shown = "\n  ".join((errors or lines)[-20:])
        raise Failure(f"the kernel does not build:\n  {shown}\n  (complete log: {log})")


def build_tree(tree: Path, objects: Path | None, kernel: str, flavour: str, log: Path) -> Path:
    """Configures and builds. The objects stay next to the source if `objects` is None."""
    record = cache_dir("counts") / f"{kernel}-{flavour}"
    command = [*make_command(tree, objects), QUICKER, *config.FLAVOURS[flavour].variables]
    config.configure(command, make_environment(), objects or tree, kernel, flavour)
    progress = Progress(f"kernel {kernel} {flavour}", record)
    log.unlink(missing_ok=True)
    headers.remove(objects or tree)
    run_make([*command, "prepare"], log, progress)
    headers.precompile(objects or tree, make_environment())
    run_make([*command, "bzImage"], log, progress)
    progress.finish(True)
    return (objects or tree) / IMAGE


def digest(parts: Sequence[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(b"%d:" % len(part) + part)
    return total.hexdigest()[:24]


def key(about: source.Source, files: Sequence[Path], kernel: str, flavour: str) -> str:
    """A hash of everything that goes into an image."""
    version = subprocess.run(["gcc", "--version"], stdout=subprocess.PIPE, check=True).stdout
    parts = [RECIPE.encode(), str(about.digest).encode(), version.split(b"\n")[0]]
    parts += [config.text(config.wanted(kernel, flavour)).encode()]
    parts += [path.read_bytes() for path in files]
    parts += [word.encode() for word in config.FLAVOURS[flavour].variables]
    if flavour in COMPARED:
        parts.append(SIZES.read_bytes())
    return digest(parts)


def cached(kernel: str, flavour: str) -> Path | None:
    """The image if it is in the cache and its source is pinned."""
    package, pins = source.read_base(kernel)
    files = source.patches(kernel, config.FLAVOURS[flavour].parts)
    for pin in pins:
        about = source.Source(source.tree_of(package, pin.sha256), pin.version, pin.sha256, True)
        image = cache_dir("images") / key(about, files, kernel, flavour) / "bzImage"
        if image.exists():
            return image
    return None


def build_pinned(about: source.Source, files: Sequence[Path], kernel: str, flavour: str) -> Path:
    """The image for a pinned source, from the cache or built into it."""
    name = key(about, files, kernel, flavour)
    image = cache_dir("images") / name / "bzImage"
    if image.exists():
        return image
    tree = cache_dir("trees") / f"{kernel}-{config.FLAVOURS[flavour].tree}"
    log = cache_dir("logs") / f"build-{kernel}-{flavour}.log"
    with locked(tree.with_name(tree.name + ".lock")):
        if not image.exists():
            prepare_tree(tree, about, files)
            build_tree(tree, None, kernel, flavour, log)
            keep(tree, log, image.parent, flavour)
    return image


def prepare_tree(tree: Path, about: source.Source, files: Sequence[Path]) -> None:
    """Leaves a tree that has these patches as it is, so that its objects are reused."""
    stamp = tree / "libfreeze.source"
    content = digest([str(about.digest).encode(), *(path.read_bytes() for path in files)])
    if not stamp.exists() or stamp.read_text() != content:
        stamp.unlink(missing_ok=True)  # first: removing the tree may be interrupted
        source.patched_copy(about.tree, tree, list(files), link=True)
        stamp.write_text(content)


def keep_objects(work: Path, place: Path) -> None:
    shutil.copy(SIZES, work / "fs")
    subprocess.run(
        [*make_command(work), QUICKER, "-s", f"fs/{SIZES.stem}.o"],
        env=make_environment(),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    place.mkdir()
    shutil.copy(work / "fs" / f"{SIZES.stem}.o", place)
    for path in work.glob("*/**/*.o"):
        if WRITERS_LOCK in path.read_bytes():
            kept = place / path.relative_to(work)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)


def keep(work: Path, log: Path, place: Path, flavour: str) -> None:
    """Copies the results of a build into the cache, completely or not at all."""
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copy(work / IMAGE, part)
    shutil.copy(work / "System.map", part)
    shutil.copy(work / ".config", part / "config")
    shutil.copy(log, part / "build.log")
    if flavour in COMPARED:
        keep_objects(work, part / "objects")
    part.rename(place)


def build_local(about: source.Source, files: Sequence[Path], kernel: str, flavour: str) -> Path:
    """The image of a tree of the user's own, which is never written to. Objects are kept, so that
    a build after an edit is short."""
    tree = about.tree
    place = cache_dir("trees", hashlib.sha256(str(tree).encode()).hexdigest()[:16])
    objects = cache_dir(str(place), flavour)
    log = cache_dir("logs") / f"build-local-{flavour}.log"
    with locked(place / f"{flavour}.lock"):
        if files and not is_applied(tree, list(files)):
            work = place / f"{flavour}.src"
            source.patched_copy(tree, work, list(files), link=False)
            tree = work
        return build_tree(tree, objects, kernel, flavour, log)


def is_applied(tree: Path, files: list[Path]) -> bool:
    """Whether a local tree is patched already, so that it is used as it is."""
    if source.apply(tree, files, "--check"):
        return False
    if source.is_patched(tree, files):
        return True
    raise Failure(f"KERNEL_SRC={tree}: the patches neither apply nor are applied")


def local_files(tree: Path, kernel: str, flavour: str) -> list[Path]:
    """The patch files for a local tree; none while its patches are not exported yet."""
    parts = config.FLAVOURS[flavour].parts
    if parts is not None and source.has_marks(tree):
        raise Failure(f"KERNEL_SRC={tree} is a patched tree, but {flavour} is asked for")
    try:
        return source.patches(kernel, parts)
    except Failure:
        if source.is_patched(tree, []):
            return []
        raise


def build(kernel: str, flavour: str) -> Path:
    """The path of the image; fetches, patches, configures and builds as needed."""
    if not os.environ.get("KERNEL_SRC") and (image := cached(kernel, flavour)):
        return image  # without the source, which may be gone from the cache and the mirror
    about = source.describe(kernel)
    if about.digest:
        files = source.patches(kernel, config.FLAVOURS[flavour].parts)
        return build_pinned(about, files, kernel, flavour)
    return build_local(about, local_files(about.tree, kernel, flavour), kernel, flavour)
