# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel sources: the pristine tree, the patches, a tree that has them.

The table of supported kernels is patches/*/BASE. Each names a Debian source package and one or
more accepted pins (version, release that carries it, sha256). The package is fetched once and
kept, with its unpacked tree, in the cache. KERNEL_SRC=/path uses that tree instead and never
writes to it."""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import IO, NamedTuple

from tests.support import apt_fetch
from tests.support.paths import PATCHES, cache_dir

from .common import Failure as Failure
from .common import git_env, say

# Where to look for a newer version when no pinned one is available any more.
RELEASES = [
    "bookworm-security",
    "trixie-security",
    "bookworm",
    "trixie",
    "bookworm-backports",
    "trixie-backports",
]
TRIES = 3  # newer versions
NEEDED_MIB = 2000  # for a source, packed and unpacked


class Dropped(Failure):
    """The archive was read, and has no version that would do."""


class Source(NamedTuple):
    tree: Path
    version: str
    digest: str | None  # of the package; None for a local tree
    pinned: bool


class Pin(NamedTuple):
    version: str
    release: str
    sha256: str


# The table ---------------------------------------------------------------------


def kernels() -> list[str]:
    """All supported kernels, the oldest first."""
    names = (base.parent.name for base in PATCHES.glob("*/BASE"))
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def read_base(kernel: str) -> tuple[str, list[Pin]]:
    """The package's name and its pins, from the stanzas of patches/KERNEL/BASE."""
    path = PATCHES / kernel / "BASE"
    if not path.exists():
        raise Failure(f"no kernel {kernel}: supported are {', '.join(kernels())}")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    stanzas = [
        dict(re.findall(r"^(\w+): *(.*?)\s*$", stanza, re.MULTILINE))
        for stanza in re.split(r"\n\s*\n", "\n".join(lines).strip())
    ]
    try:
        pins = [Pin(pin["version"], pin["release"], pin["sha256"]) for pin in stanzas[1:]]
        return stanzas[0]["package"], pins
    except KeyError as missing:
        raise Failure(f"{path}: {missing} is missing") from None


def patches(kernel: str, parts: int | None = None) -> list[Path]:
    """The kernel's patch files in order; those of the first `parts` parts (0: none)."""
    if parts == 0:
        return []
    found = sorted((PATCHES / kernel).glob("*/*.patch"))
    if not found:
        raise Failure(f"patches/{kernel} has no patches")
    return [path for path in found if parts is None or part_of(path) <= parts]


def part_of(patch: Path) -> int:
    """The number of a part is the first word of its directory's name, as in 1-fixes."""
    return int(patch.parent.name.split("-")[0])


# The package ---------------------------------------------------------------------


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(package: str, pin: Pin) -> tuple[Path, str] | None:
    """Downloads the package. Returns its path and checksum, or None if it is not available."""
    into = cache_dir("src") / f"download-{package}"  # other kernels are fetched at the same time
    shutil.rmtree(into, ignore_errors=True)
    free = shutil.disk_usage(into.parent).free >> 20
    if free < NEEDED_MIB:
        raise Failure(f"no disk space: {package} takes {NEEDED_MIB} MiB, {into.parent} has {free}")
    say(f"fetching {package} {pin.version} from {pin.release} (about 150 MB)")
    try:
        [path] = apt_fetch.download(pin.release, [f"{package}={pin.version}"], into)
    except apt_fetch.Unavailable as why:
        say(why)
        return None
    have = sha256(path)
    if pin.sha256 and have != pin.sha256:
        raise Failure(
            f"{path.name} of {pin.release} has sha256 {have}, pinned is {pin.sha256}: "
            "the mirror's file is not the one that was tested"
        )
    kept = cache_dir("src") / path.name
    path.rename(kept)
    return kept, have


def unpack(deb: Path, package: str, tree: Path) -> None:
    """Unpacks the kernel tree out of the package, completely or not at all."""
    say(f"unpacking {deb.name} (about 30 s)")
    part = tree.with_name(tree.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    steps: list[list[str | Path]] = [
        ["dpkg-deb", "--fsys-tarfile", deb],
        ["tar", "-xO", f"./usr/src/{package}.tar.xz"],
        ["tar", "-xJ", "--strip-components=1", "--no-same-owner", "-C", part],
    ]
    running: list[subprocess.Popen[bytes]] = []
    feed: IO[bytes] | None = None
    for step in steps:
        output = None if step is steps[-1] else subprocess.PIPE
        process = subprocess.Popen(step, stdin=feed, stdout=output)
        if feed:
            feed.close()
        feed = process.stdout
        running.append(process)
    if any([process.wait() for process in running]):
        raise Failure(f"cannot unpack {deb}; the cache may be out of space: {part.parent}")
    part.rename(tree)
    deb.unlink()


def tree_of(package: str, digest: str) -> Path:
    return cache_dir("src") / f"{package}-{digest[:16]}"


def fetch_and_unpack(package: str, pin: Pin) -> Source | None:
    got = fetch(package, pin)
    if not got:
        return None
    tree = tree_of(package, got[1])
    unpack(got[0], package, tree)
    return Source(tree, pin.version, got[1], True)


def pinned(package: str, pins: list[Pin]) -> Source | None:
    for pin in pins:
        tree = tree_of(package, pin.sha256)
        if tree.exists():
            return Source(tree, pin.version, pin.sha256, True)
    for pin in pins:
        if got := fetch_and_unpack(package, pin):
            return got
    return None


def offers(package: str) -> list[tuple[str, str]] | None:
    """Every (version, release) in the archive, newest first; None if no release can be read."""
    found: dict[str, str] = {}
    readable = False
    for release in RELEASES:
        with contextlib.suppress(apt_fetch.Unavailable):
            for version in apt_fetch.versions(release, package):
                found.setdefault(version, release)
            readable = True
    ordered: list[str] = []
    for version in found:
        older = (
            at
            for at, other in enumerate(ordered)
            if subprocess.run(["dpkg", "--compare-versions", version, "gt", other]).returncode == 0
        )
        ordered.insert(next(older, len(ordered)), version)
    return [(version, found[version]) for version in ordered] if readable else None


def newest(kernel: str, package: str) -> Source:
    """The newest version to which the patches apply."""
    found = offers(package)
    if found is None:
        raise Failure(
            f"{package} is not in the cache, and no archive can be reached: check the network, "
            "or set KERNEL_SRC=/path/to/linux to use another tree"
        )
    for version, release in found[:TRIES]:
        got = fetch(package, Pin(version, release, ""))
        if not got:
            continue
        tree = tree_of(package, got[1])
        if not tree.exists():
            unpack(got[0], package, tree)
        if apply(tree, patches(kernel), "--check"):
            say(
                f"WARNING: no pinned version of {package} is on the mirrors any more; using "
                f"{version} ({release}): the patches apply, but were not tested on it"
            )
            return Source(tree, version, got[1], False)
        say(f"the patches do not apply to {package} {version}")
        shutil.rmtree(tree)
    raise Dropped(
        f"the archive has neither a pinned {package} nor a newer one to which the patches apply: "
        "set KERNEL_SRC=/path/to/linux to use another tree"
    )


def describe(kernel: str) -> Source:
    """The pristine source of a kernel; fetches and unpacks it as needed."""
    local = os.environ.get("KERNEL_SRC")
    if local:
        tree = Path(local).resolve()
        if not (tree / "Kbuild").exists():
            raise Failure(f"KERNEL_SRC={local} is not a kernel source tree")
        return Source(tree, "local", None, False)
    package, pins = read_base(kernel)
    with open(cache_dir("src") / f"{kernel}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return pinned(package, pins) or newest(kernel, package)


# Trees with patches ------------------------------------------------------------------


def git_apply(tree: Path, files: list[Path], *options: str) -> subprocess.CompletedProcess[bytes]:
    """Runs git apply on the series as one input: file by file, --check would try each patch on a
    tree without the ones before it."""
    series = b"".join(path.read_bytes() for path in files)
    return subprocess.run(
        ["git", "apply", *options, "-"],
        cwd=tree,
        input=series,
        env=git_env(tree),
        capture_output=True,
    )


def apply(tree: Path, files: list[Path], *options: str) -> bool:
    return git_apply(tree, files, *options).returncode == 0


def copy(tree: Path, target: Path, link: bool) -> None:
    """Copies a tree, with hard links on request (a patched file gets a new one)."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-al" if link else "-a", str(tree), str(target)], check=True)
    shutil.rmtree(target / ".git", ignore_errors=True)


def has_marks(tree: Path) -> bool:
    """Whether the tree has the sysctl that part 2 adds."""
    grep = ["grep", "-rqw", "freeze_nest", "--include=*.c", "fs"]
    return subprocess.run(grep, cwd=tree).returncode == 0


def is_patched(tree: Path, files: list[Path]) -> bool:
    """Whether a local tree has the patches, perhaps in a form that is still being edited."""
    if files and apply(tree, files, "--check", "--reverse"):
        return True
    if has_marks(tree):
        say(f"{tree} is patched, but not with the patches as they are now: used as it is")
        return True
    return False


def patched_copy(tree: Path, target: Path, files: list[Path], link: bool) -> None:
    """Copies tree to target and applies the patch files there."""
    copy(tree, target, link)
    done = git_apply(target, files) if files else None
    if done and done.returncode:
        shutil.rmtree(target)
        raise Failure(f"the patches do not apply to {tree}:\n{done.stderr.decode()}")
