# SPDX-License-Identifier: LGPL-2.1-or-later
"""Downloads a Debian package of a named release, without root.

The machine's apt is not touched: the sources list and the state are private. The mirror is one
that the machine's own apt configuration uses. It needs only Python, so that it can run before any
package is installed."""

import argparse
import contextlib
import fcntl
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.paths import cache_dir

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring")


class Unavailable(Exception):
    """The package cannot be downloaded; says why."""


def mirrors(release: str) -> list[str]:
    """The machine's mirrors that may have the release, the most likely one first.

    They come from the sources, since the package lists may never have been downloaded. A third
    party's repository can have the name of a Debian release, too; its signature is not Debian's,
    so update() passes over it."""
    try:
        done = subprocess.run(["apt-get", "--print-uris", "update"], stdout=subprocess.PIPE)
    except FileNotFoundError as error:
        raise Unavailable("there is no apt-get: is this Debian?") from error
    found = re.findall(r"'(\S+?/)dists/([^/]+(?:/updates)?)/main/binary-", done.stdout.decode())
    security = release.endswith("-security")
    matching = [uri for uri, suite in found if security == ("-security" in suite or "/" in suite)]
    return list(dict.fromkeys(matching))


def keyring() -> Path:
    for suffix in (".gpg", ".pgp"):
        if (file := KEYRING.with_suffix(suffix)).exists():
            return file
    raise Unavailable("no Debian archive keyring: install the package debian-archive-keyring")


def update(release: str, state: Path, options: Sequence[str]) -> None:
    """Reads the package index from the first mirror that has it."""
    key, log = keyring(), state / "update.log"
    with open(log, "wb") as out:
        for uri in mirrors(release):
            (state / "sources.list").write_text(f"deb [signed-by={key}] {uri} {release} main\n")
            done = subprocess.run(
                ["apt-get", *options, "-q", "update"], stdout=out, stderr=subprocess.STDOUT
            )
            if done.returncode == 0:
                return
    raise Unavailable(
        f"{log.read_text(errors='replace')}cannot read the package index of {release} from this "
        "machine's Debian mirrors: check the network and the apt sources "
        "(apt-get --print-uris update)"
    )


@contextlib.contextmanager
def index(release: str) -> Iterator[list[str]]:
    """Options that make apt read the package index of this release, and only that."""
    state = cache_dir("apt", release)
    for directory in ("lists/partial", "cache/archives/partial"):
        (state / directory).mkdir(parents=True, exist_ok=True)
    settings = [
        f"Dir::Etc::SourceList={state}/sources.list",
        "Dir::Etc::SourceParts=/dev/null",
        "Dir::Etc::Preferences=/dev/null",
        "Dir::Etc::PreferencesParts=/dev/null",
        f"Dir::State={state}",
        f"Dir::State::Lists={state}/lists",
        f"Dir::State::Status={state}/status",
        f"Dir::Cache={state}/cache",
        f"APT::Sandbox::User={pwd.getpwuid(os.geteuid()).pw_name}",
        "APT::Update::Error-Mode=any",
        "Acquire::Languages=none",
        "Acquire::Retries=3",
    ]
    options = [word for setting in settings for word in ("-o", setting)]
    with open(state / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (state / "status").write_text("")
        update(release, state, options)
        yield options


def versions(release: str, package: str) -> list[str]:
    """The versions that the release offers, newest first."""
    with index(release) as options:
        command = ["apt-cache", *options, "madison", package]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [line.split("|")[1].strip() for line in done.stdout.splitlines()]


def download(release: str, packages: Sequence[str], directory: Path) -> list[Path]:
    """Downloads each PACKAGE or PACKAGE=VERSION into the directory, and returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    with index(release) as options:
        for package in packages:
            apt = ["apt-get", *options, "-q"]
            asked = subprocess.run(
                [*apt, "--print-uris", "download", package], stdout=subprocess.PIPE, text=True
            )
            if asked.returncode != 0:
                raise Unavailable(f"{release} has no {package}")
            # Standard output is for the result.
            done = subprocess.run([*apt, "download", package], stdout=2, cwd=directory)
            if done.returncode != 0:
                raise Unavailable(f"cannot download {package} of {release}")
            files.append(directory.resolve() / asked.stdout.splitlines()[-1].split()[1])
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(), help="download into this directory")
    parser.add_argument(
        "--versions", action="store_true", help="print the versions that the release offers"
    )
    parser.add_argument("release", help="bookworm, bookworm-security, trixie-backports, ...")
    parser.add_argument("packages", nargs="+", metavar="PACKAGE[=VERSION]")
    args = parser.parse_args()
    try:
        if args.versions:
            lines: Sequence[object] = versions(args.release, args.packages[0])
        else:
            lines = download(args.release, args.packages, args.dir)
    except Unavailable as why:
        print(f"apt_fetch: {why}", file=sys.stderr)
        return 1
    print("".join(f"{line}\n" for line in lines), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
