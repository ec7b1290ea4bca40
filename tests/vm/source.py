# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel sources: the pristine tree, the patches, a tree that has them."""

import json
import pathlib
import re
import shutil
import subprocess

from .common import PATCHES, SUPPORT, Failure, git_env, say

DROPPED = 3  # kernel-source's exit status


class Dropped(Failure):
    """No archive has the kernel's source any more, in a version that would do."""


def kernels():
    """All supported kernels."""
    done = subprocess.run([SUPPORT / "kernel-source", "list"], stdout=subprocess.PIPE,
                          text=True, check=True)
    return done.stdout.split()


def series_of(tree):
    """The major and minor version that a tree's Makefile has, as in 6.12."""
    text = pathlib.Path(tree, "Makefile").read_text()
    return ".".join(re.search(rf"^{name} = (\d+)$", text, re.MULTILINE)[1]
                    for name in ("VERSION", "PATCHLEVEL"))


def describe(kernel):
    """What tests/support/kernel-source knows: tree, version, id (None if local)."""
    done = subprocess.run([SUPPORT / "kernel-source", "describe", kernel],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode == DROPPED:
        raise Dropped(f"the archive has no source of kernel {kernel} that the patches fit")
    if done.returncode:
        raise Failure(f"no source for kernel {kernel}")
    return json.loads(done.stdout)


def patches(kernel, count=None):
    """The kernel's patch files in order, the first `count` of them (0: none)."""
    if count == 0:
        return []
    found = sorted((PATCHES / kernel).glob("*.patch"))
    if not found:
        raise Failure(f"patches/{kernel} has no patches")
    return found[:count]


def git_apply(tree, files, *options):
    """Run git apply on the series as one input: file by file, --check would try
    each on a tree without the ones before it."""
    series = b"".join(path.read_bytes() for path in files)
    return subprocess.run(["git", "apply", *options, "-"], cwd=tree, input=series,
                          env=git_env(tree), capture_output=True)


def apply(tree, files, *options):
    """Apply the patch files to the tree; False if they do not apply."""
    return git_apply(tree, files, *options).returncode == 0


def copy(tree, target, link):
    """A copy of tree, of hard links where asked (a patched file gets a new one)."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-al" if link else "-a", str(tree), str(target)], check=True)
    shutil.rmtree(pathlib.Path(target) / ".git", ignore_errors=True)


def has_marks(tree):
    """Whether the tree knows the sysctl that the first patch brings."""
    return subprocess.run(["grep", "-rqw", "freeze_nest", "--include=*.c", "fs"],
                          cwd=tree).returncode == 0


def is_patched(tree, files):
    """Whether a local tree has the patches, perhaps in a form still being edited."""
    if files and apply(tree, files, "--check", "--reverse"):
        return True
    if has_marks(tree):
        say(f"{tree} is patched, but not with the patches as they are now: used as it is")
        return True
    return False


def patched_copy(tree, target, files, link):
    """Copy tree to target and apply the patch files there."""
    copy(tree, target, link)
    done = git_apply(target, files) if files else None
    if done and done.returncode:
        shutil.rmtree(target)
        raise Failure(f"the patches do not apply to {tree}:\n{done.stderr.decode()}")
