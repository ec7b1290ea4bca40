# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checks. Each takes the files to look at and yields one line per complaint."""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.style import manuals
from tests.style.fetch_ruff import ruff_command
from tests.support import apt_fetch
from tests.support.paths import BUILD, ROOT, cache_dir

LICENCE_TEXTS = re.compile(r"LICENSE$|LICENSES/")
# Generated from git commits; the context in them is the kernel's.
PATCHES = re.compile(r"patches/.*(?:\.patch|/COVER)$|tests/mutants/.*\.patch$")
SPDX = "SPDX-License-" + "Identifier: "
LICENCES = ("LGPL-2.1-or-later", "GPL-2.0-only")
CLANG_FORMAT = "14"  # releases disagree on some lines; the tree is formatted by Debian 12's
SPELLED_RIGHT = "mis,statics,nd,msdos,bu,te"  # the last two are troff's
SHELL = r"#!.*\b(?:ba|da)?sh\b"

# Spelled so that this file does not match itself.
UNWANTED = {
    r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b": "an open end",
    r"[a-z]+\.debian\.or[g]": "a mirror's name; take mirrors from the machine's apt configuration",
    r"registry\.npm[j]s|pypi\.or[g]": "a registry's name",
    r"(?<![\w.-])/(?:home|roo[t]|work)/\w": "a path of one machine",
}

PHRASES = {
    r"\b(?:for|of|to|by|with) wh[o](?:ever)?\b": "name the person or the program",
    r"\bso i[s] (?:it|that)\b": "use a plain sentence with 'also'",
    r"\bas (?:i[s]|was) that\b": "use a plain sentence with 'also'",
    r"\b(?:has|have) no[t] the\b": "'does not have'",
    r"\bbesid[e]\b": "'next to' or 'apart from'",
    r"\bno[b]ody's\b": "'nobody owns'",
    r"\ban ow[n]\b": "'its own'",
    r"\bof (?:its|their|our|your) ow[n]\b": "'its own', 'separate' or 'another'",
    r"\bor els[e]\b": "'or' or 'otherwise'",
    r"\bfor eve[r]\b": "'never returns' or 'until'",
    r"\b(?:let|lets|letting)[ _]g[o]\b": "'release'",
    r"(?:^|[.!?] )[\W]*(?:Of (?:what|that|the|those) |What is |That (?:a|an|the|it) [a-z ]+ is )": (
        "subject, verb, object"
    ),
    r"\b(?:HUNGR[Y]|FRUGA[L]|PASSER_B[Y]|AS_FORETOL[D])\b|\b(?:take|give)_(?:a_)?seat[s]?\b": (
        "a metaphor"
    ),
}


class Skip(Exception):
    """Why a check cannot be made here."""


class Unavailable(Skip):
    """A program is missing. `--strict` makes this a failure."""


Check = Callable[["Files"], Iterable[str]]


class Files:
    """The files to check, as paths from the root of the checkout."""

    def __init__(self, names: Iterable[str]) -> None:
        files = [name for name in names if (ROOT / name).is_file()]
        self.own = [name for name in files if not LICENCE_TEXTS.match(name)]
        self.written = [name for name in self.own if not PATCHES.match(name)]

    @staticmethod
    def text(name: str) -> str:
        return (ROOT / name).read_text(encoding="utf-8", errors="replace")

    def having(self, *suffixes: str, shebang: str | None = None) -> list[str]:
        return [
            name
            for name in self.written
            if Path(name).suffix in suffixes
            or (shebang and re.match(shebang, self.text(name)[:80]))
        ]

    def python(self) -> list[str]:
        return self.having(".py", shebang=r"#!.*\bpython3\b")

    def shell(self) -> list[str]:
        return self.having(".sh", ".bash", shebang=SHELL)

    def lines(self, names: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Each line of the files, with its place before it."""
        for name in names:
            for number, line in enumerate(self.text(name).splitlines(), 1):
                yield f"{name}:{number}", line


def committable() -> list[str]:
    """All files that are committed or could be."""
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others"]
    try:
        listing = subprocess.run(
            [*command, "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Skip("this is not a git checkout") from error
    return sorted(set(listing.stdout.decode().split("\0")) - {""})


def output(*command: str | Path) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise Unavailable(
            f"{command[0]} is not installed; try: tests/support/setup style"
        ) from error
    return done.returncode, done.stdout


def tool(command: list[str], names: list[str]) -> list[str]:
    """What a program says about these files. Nothing if it has no complaint."""
    if not names:
        return []
    status, text = output(*command, *names)
    if status == 0:
        return []
    return text.splitlines() or [f"{command[0]}: exit status {status}"]


def spdx(files: Files) -> Iterator[str]:
    for name in files.written:
        head = files.text(name)[:1000]
        if not any(SPDX + licence in head for licence in LICENCES):
            yield f"{name}: no '{SPDX}...' with one of {', '.join(LICENCES)}"


def unwanted(files: Files) -> Iterator[str]:
    for place, line in files.lines(files.own):
        for pattern, what in UNWANTED.items():
            if match := re.search(pattern, line):
                yield f"{place}: '{match[0]}': {what}"


def phrases(files: Files) -> Iterator[str]:
    covers = [name for name in files.own if name.endswith("/COVER")]
    for place, line in files.lines([*files.written, *covers]):
        for pattern, instead in PHRASES.items():
            if match := re.search(pattern, line):
                yield f"{place}: '{match[0].strip()}': {instead}"


def executables(files: Files) -> Iterator[str]:
    for name in files.written:
        has_shebang = files.text(name)[:2] == "#!"
        if has_shebang != os.access(ROOT / name, os.X_OK):
            yield f"{name}: {'not executable' if has_shebang else 'executable, but no script'}"


def white_space(files: Files) -> Iterator[str]:
    for name in files.written:
        text = files.text(name)
        if text and not text.endswith("\n"):
            yield f"{name}: no newline at the end"
    for place, line in files.lines(files.written):
        if line != line.rstrip() or "\r" in line:
            yield f"{place}: white space at the end"


def links(files: Files) -> Iterator[str]:
    for name in files.having(".md"):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", files.text(name)):
            if "://" not in target and not (ROOT / name).parent.joinpath(target).exists():
                yield f"{name}: {target} does not exist"


def interface(files: Files) -> Iterator[str]:
    """Looks at header, symbols and manual pages together, if any of them is to be checked."""
    if any(name.startswith(("include/", "libfreeze/", "man/")) for name in files.own):
        yield from manuals.interface()


def man_pages(files: Files) -> Iterator[str]:
    if not files.having(".3", ".7", ".8"):
        return
    if missing := manuals.missing_formatters():
        raise Unavailable(f"{missing[0]} is not installed; try: tests/support/setup style")
    yield from manuals.formatting()


def ruff(files: Files, *command: str) -> list[str]:
    try:
        program = ruff_command()
    except apt_fetch.Unavailable as why:
        raise Unavailable(
            f"no ruff, and it cannot be downloaded: {str(why).splitlines()[-1]}"
        ) from why
    return tool([*program, *command, "--quiet", "--no-cache"], files.python())


def ruff_check(files: Files) -> list[str]:
    return ruff(files, "check")


def ruff_format(files: Files) -> list[str]:
    return ruff(files, "format", "--diff")


def mypy(files: Files) -> list[str]:
    """Looks at the whole package, since types depend on other files."""
    if not files.python():
        return []
    cache = str(cache_dir("mypy"))
    return tool(["mypy", "--no-error-summary", "--cache-dir", cache, "-p"], ["tests"])


def shellcheck(files: Files) -> list[str]:
    return tool(["shellcheck", "-x"], files.shell())


def shfmt(files: Files) -> list[str]:
    return tool(["shfmt", "-d"], files.shell())


def codespell(files: Files) -> list[str]:
    return tool(["codespell", f"--ignore-words-list={SPELLED_RIGHT}"], files.written)


def clang_format(files: Files) -> Iterator[str]:
    _, text = output("clang-format", "--version")
    found = re.search(r"version (\d+)", text)
    if not found or found[1] != CLANG_FORMAT:
        what = found[1] if found else text.strip()
        raise Skip(f"the tree is formatted by clang-format {CLANG_FORMAT}, and this is {what}")
    sources = files.having(".c", ".h", ".cpp", ".hpp")
    complaints = tool(["clang-format", "--dry-run", "-Werror"], sources)
    places = [line.split(":") for line in complaints if ": error: " in line]
    for name in sorted({place[0] for place in places}):
        lines = sorted({int(place[1]) for place in places if place[0] == name})
        yield f"{name}: lines {', '.join(map(str, lines))}; to format: clang-format -i {name}"
    if complaints and not places:
        yield from complaints


def clang_tidy(files: Files) -> list[str]:
    database = BUILD / "compile_commands.json"
    if not database.exists():
        raise Skip(f"{BUILD} is not a build directory")
    entries = json.loads(database.read_text())
    built = {os.path.realpath(Path(entry["directory"], entry["file"])) for entry in entries}
    names = [
        name
        for name in files.having(".cpp")
        if name.startswith(("bench/", "libfreeze/", "examples/", "tools/", "demo/"))
        and str(ROOT / name) in built
    ]
    return tool(["clang-tidy", "--quiet", "-p", str(BUILD)], names)


def doxygen(files: Files) -> list[str]:
    """The reference of the headers. Its output is dropped."""
    template = (ROOT / "man/Doxyfile.in").read_text()
    with tempfile.TemporaryDirectory(prefix="libfreeze-doxygen.") as output:
        for name, value in (("VERSION", ""), ("SOURCE", str(ROOT)), ("OUTPUT", output)):
            template = template.replace(f"@{name}@", value)
        file = Path(output, "Doxyfile")
        file.write_text(template)
        return tool(["doxygen"], [str(file)])


CHECKS: dict[str, Check] = {
    "spdx": spdx,
    "unwanted": unwanted,
    "phrases": phrases,
    "executables": executables,
    "white-space": white_space,
    "links": links,
    "interface": interface,
    "man-pages": man_pages,
    "codespell": codespell,
    "clang-format": clang_format,
    "ruff": ruff_check,
    "ruff-format": ruff_format,
    "mypy": mypy,
    "shellcheck": shellcheck,
    "shfmt": shfmt,
}
FULL_CHECKS: dict[str, Check] = {"clang-tidy": clang_tidy, "doxygen": doxygen}
