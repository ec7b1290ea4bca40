# SPDX-License-Identifier: LGPL-2.1-or-later
"""Checks of the manual pages, and that the C interface is completely exported and described."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

HEADER = ROOT / "include/libfreeze/freeze.h"
SYMBOLS = ROOT / "libfreeze/libfreeze.map"
PAGES = ROOT / "man"
FREEZECTL = ROOT / "tools/freezectl/man/freezectl.8"
FORMATTERS = (
    ["groff", "-ww", "-t", "-man", "-Tutf8", "-z"],
    ["mandoc", "-T", "lint", "-W", "warning"],
)


def declared() -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return set(re.findall(r"LIBFREEZE_EXPORT[^;(]*?\b(libfreeze_\w+)\(", text))


def members(struct: str) -> set[str]:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    found = re.search(rf"struct {struct} {{(.*?)\n}};", text, flags=re.DOTALL)
    body = re.sub(r"\)\(.*?\);", ");", found[1] if found else "")
    return set(re.findall(r"(\w+)\)?;", body))


def described() -> dict[str, str]:
    """Each function, and the page that it is described in."""
    result = {}
    for page in PAGES.glob("*.3"):
        name = re.search(r"^\.SH NAME\n(.*?)\s\\-\s", page.read_text(), flags=re.M | re.DOTALL)
        for function in re.findall(r"\w+", name[1] if name else ""):
            result[function] = page.stem
    return result


def installed() -> dict[str, str]:
    """Each function that `man` finds, and the page that it shows."""
    result = {}
    text = (PAGES / "meson.build").read_text()
    for page, aliases in re.findall(r"'(libfreeze_\w+)': \[(.*?)\]", text, flags=re.DOTALL):
        result.update(dict.fromkeys([page, *re.findall(r"\w+", aliases)], page))
    return result


def interface() -> Iterator[str]:
    functions = declared()
    exported = set(re.findall(r"\b(libfreeze_\w+);", SYMBOLS.read_text()))
    for places, name in (
        (exported, "libfreeze/libfreeze.map"),
        (set(described()), "the pages of section 3 in man/"),
        (set(installed()), "man/meson.build"),
    ):
        for function in sorted(functions ^ places):
            missing = name if function in functions else "include/libfreeze/freeze.h"
            yield f"{function}: not in {missing}"
    for function, page in sorted(installed().items()):
        if described().get(function, page) != page:
            yield f"{function}: man/meson.build names {page}.3, but another page describes it"
    options = (PAGES / "libfreeze_options_init.3").read_text()
    for member in sorted(members("libfreeze_options")):
        if f".TP\n.I {member}\n" not in options:
            yield f"libfreeze_options_init.3: does not describe {member}"


def missing_formatters() -> list[str]:
    return [command[0] for command in FORMATTERS if not shutil.which(command[0])]


def substituted(page: Path) -> str:
    values = {"VERSION": "1.0.0", "DATE": "2000-01-01"}
    return re.sub(r"@(\w+)@", lambda name: values.get(name[1], "/value"), page.read_text())


def formatting() -> Iterator[str]:
    pages = sorted([*PAGES.glob("*.[378]"), FREEZECTL])
    for command in FORMATTERS:
        if not shutil.which(command[0]):
            continue
        for page in pages:
            done = subprocess.run(
                command,
                input=substituted(page),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            for line in done.stdout.splitlines():
                yield f"{page.relative_to(ROOT)}: {line}"
