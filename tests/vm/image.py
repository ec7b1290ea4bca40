# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel images: built once for what goes into them, and kept in the cache."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from . import config, source
from .common import CHECKOUT, VM, Failure, cache_dir, locked, say

# Raise it when something else about the build changes.
RECIPE = "3"
# A twelfth less time. It costs the compiler what it knows of macros: messages name their use only,
# and it gives these warnings without a reason.
QUICKER = "KCFLAGS=-ftrack-macro-expansion=0"
WITHOUT_REASON = ["[-Waddress]", "[-Wtautological-compare]"]
STEP = re.compile(r"\s*(CC|AS|AR|LD|HOSTCC|GEN|UPD)\s")
IMAGE = pathlib.Path("arch/x86/boot/bzImage")
# tests/cost compares these two: the sizes, and the objects in which a write begins.
COMPARED = ["stock", "patched"]
SIZES = CHECKOUT / "tests" / "cost" / "freeze_sizes.c"
WRITERS_LOCK = b"__percpu_down_read"


class Progress:
    """Shows how far a build is: a bar on a terminal, else a line now and then."""

    def __init__(self, what, record):
        self.what, self.record = what, record
        self.start = self.shown = time.monotonic()
        self.done = 0
        try:
            self.expected, self.seconds = map(int, record.read_text().split())
        except (OSError, ValueError):
            self.expected, self.seconds = 1750, 420
        self.tty = sys.stderr.isatty()
        say(f"building {what}: {self.seconds // 60 + 1} min or less on a machine as this")

    def step(self):
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

    def finish(self, good):
        seconds = int(time.monotonic() - self.start)
        if self.tty:
            print("\r\033[K", end="", file=sys.stderr)
        if good:
            if self.done > 100:
                # What ccache made short says nothing of the next build.
                usual = max(seconds, self.seconds // 2)
                self.record.write_text(f"{self.done} {usual}\n")
            say(f"built {self.what} in {seconds} s")


def compiler():
    return "ccache-gcc" if shutil.which("ccache") else "gcc"


def make_command(tree, objects=None):
    """make for the tree, so that the same source gives the same image: by whatever Rust compiler
    there may be, too, whose version is part of the configuration. 6.1 calls nm for every object,
    which loads each linker plugin that is installed, LLVM's for 25 ms; gcc-nm only gcc's."""
    command = ["make", "-C", str(tree), f"-j{os.cpu_count() + 1}", "ARCH=x86_64",
               f"CC={compiler()}", f"HOSTCC={compiler()}", "NM=gcc-nm", "RUSTC=none",
               "KBUILD_BUILD_TIMESTAMP=1970-01-01", "KBUILD_BUILD_USER=libfreeze",
               "KBUILD_BUILD_HOST=libfreeze", "KBUILD_BUILD_VERSION=1"]
    return command + [f"O={objects}"] if objects else command


def make_environment():
    env = dict(os.environ, LC_ALL="C", CCACHE_MAXSIZE="5G", CCACHE_NOHASHDIR="1",
               CCACHE_DEPEND="1")
    env["PATH"] = f"{VM / 'bin'}:{env['PATH']}"
    env.setdefault("CCACHE_DIR", str(cache_dir("ccache")))
    for name in ("MAKEFLAGS", "MFLAGS", "KBUILD_OUTPUT", "KERNEL_SRC"):
        env.pop(name, None)
    return env


@contextlib.contextmanager
def running(command, **options):
    """A child that does not outlive this process's own interruption."""
    with subprocess.Popen(command, **options) as child:
        try:
            yield child
        except BaseException:
            child.terminate()
            child.wait()
            raise


def run_make(command, log, progress):
    """Run make, its output into the log file; a failure shows the log's end."""
    with open(log, "w") as out, running(
            command, env=make_environment(), text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as make:
        for line in make.stdout:
            out.write(line)
            if STEP.match(line):
                progress.step()
    progress.finish(make.returncode == 0)
    if make.returncode:
        lines = pathlib.Path(log).read_text(errors="replace").splitlines()
        errors = [line for line in lines if re.search(r"error|Error|undefined", line)]
        raise Failure("the kernel does not build:\n  " + "\n  ".join((errors or lines)[-20:])
                      + f"\n  (all of it: {log})")


def build_tree(tree, objects, kernel, flavour, log):
    """Configure and build; the objects stay beside the source when objects is None."""
    record = cache_dir("counts") / f"{kernel}-{flavour}"
    command = [*make_command(tree, objects), QUICKER, *config.FLAVOURS[flavour].variables]
    config.configure(command, make_environment(), objects or tree, kernel, flavour)
    run_make([*command, "bzImage"], log, Progress(f"kernel {kernel} {flavour}", record))
    return (objects or tree) / IMAGE


def key(about, files, kernel, flavour):
    """A hash of all that goes into an image."""
    digest = hashlib.sha256()
    version = subprocess.run(["gcc", "--version"], stdout=subprocess.PIPE, check=True).stdout
    parts = [RECIPE.encode(), about["id"].encode(), version.split(b"\n")[0],
             config.text(config.wanted(kernel, flavour)).encode()]
    parts += [path.read_bytes() for path in files]
    parts += [word.encode() for word in config.FLAVOURS[flavour].variables]
    if flavour in COMPARED:
        parts.append(SIZES.read_bytes())
    for part in parts:
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:24]


def build_pinned(about, files, kernel, flavour):
    """The image for a pinned source, from the cache or built into it."""
    name = key(about, files, kernel, flavour)
    image = cache_dir("images") / name / "bzImage"
    if image.exists():
        return image
    with locked(cache_dir("images") / f"{name}.lock"):
        if image.exists():
            return image
        work = cache_dir("build") / name
        log = cache_dir("logs") / f"build-{kernel}-{flavour}.log"
        try:
            source.patched_copy(about["tree"], work, files, link=True)
            build_tree(work, None, kernel, flavour, log)
            keep(work, log, image.parent, flavour)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return image


def keep_objects(work, place):
    shutil.copy(SIZES, work / "fs")
    subprocess.run([*make_command(work), QUICKER, "-s", f"fs/{SIZES.stem}.o"],
                   env=make_environment(), stdout=subprocess.DEVNULL, check=True)
    place.mkdir()
    shutil.copy(work / "fs" / f"{SIZES.stem}.o", place)
    for path in work.glob("*/**/*.o"):
        if WRITERS_LOCK in path.read_bytes():
            kept = place / path.relative_to(work)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, kept)


def keep(work, log, place, flavour):
    """Move what a build gave into the cache, whole or not at all."""
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


def build_local(about, files, kernel, flavour):
    """The image of a tree of the user's own, which is read and never written.
    Objects are kept, so that a build after an edit is short."""
    tree = pathlib.Path(about["tree"])
    place = cache_dir("trees", hashlib.sha256(str(tree).encode()).hexdigest()[:16])
    objects = cache_dir(str(place), flavour)
    log = cache_dir("logs") / f"build-local-{flavour}.log"
    with locked(place / f"{flavour}.lock"):
        if files and not is_applied(tree, files):
            work = place / f"{flavour}.src"
            source.patched_copy(tree, work, files, link=False)
            tree = work
        return build_tree(tree, objects, kernel, flavour, log)


def is_applied(tree, files):
    """Whether a local tree is patched already, so that it is used as it is."""
    if source.apply(tree, files, "--check"):
        return False
    if source.is_patched(tree, files):
        return True
    raise Failure(f"KERNEL_SRC={tree}: the patches neither apply nor are applied")


def local_files(tree, kernel, count):
    """The patch files for a local tree; none while its patches are not exported yet."""
    if count == 0 and source.has_marks(tree):
        raise Failure(f"KERNEL_SRC={tree} is a patched tree, but stock is asked for")
    try:
        return source.patches(kernel, count)
    except Failure:
        if source.is_patched(tree, []):
            return []
        raise


def build(kernel, flavour):
    """The path of the image; fetches, patches, configures and builds as needed."""
    about = source.describe(kernel)
    count = config.FLAVOURS[flavour].patches
    if about["id"]:
        return build_pinned(about, source.patches(kernel, count), kernel, flavour)
    return build_local(about, local_files(about["tree"], kernel, count), kernel, flavour)
