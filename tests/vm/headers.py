# SPDX-License-Identifier: LGPL-2.1-or-later
"""The headers that most kernel sources include, compiled once for a build.

gcc spends more than half of its time for a kernel on reading headers. `ccache-gcc` uses what is
written here, where it can."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

HEADERS = "libfreeze-headers.h"  # ccache-gcc names these files
COMPILED = f"{HEADERS}.gch"
FLAGS = f"{HEADERS}.flags"  # the options that an object must have as well
TESTED = f"{HEADERS}.tested"  # macros that are not defined, but would change the headers
NAMES = "libfreeze-names.h"
FIRST = ["compiler-version", "kconfig", "compiler_types"]  # what Kbuild includes before all others
COMMON = "kernel sched mm slab uaccess module fs device interrupt seq_file blkdev".split()
# Kbuild's macros have another value for each object, so the precompiled headers cannot have them.
KBUILD = ["KBUILD_MODFILE", "KBUILD_BASENAME", "KBUILD_MODNAME", "__KBUILD_MODNAME"]
# Kbuild compiles it first, and without special options.
EXAMPLE = Path("scripts/mod/.empty.o.cmd")
OF_THE_EXAMPLE = ("-Wp,", "-DKBUILD_", "-D__KBUILD_")


def write(path: Path, text: str) -> None:
    """Leaves a file as old as it is if it has this text: objects depend on it."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def includes(names: Sequence[str]) -> str:
    return "".join(f"#include <linux/{name}.h>\n" for name in names)


def names() -> str:
    """Gives Kbuild's macros the values that ccache-gcc passes. Some sources define pr_fmt()."""
    text = "".join(f"#define {name} LIBFREEZE_{name.replace('KBUILD_', '')}\n" for name in KBUILD)
    return f"{text}#ifdef LIBFREEZE_PR_FMT\n#undef pr_fmt\n#endif\n"


def options(objects: Path) -> list[str] | None:
    """The compiler's options for this configuration."""
    try:
        line = (objects / EXAMPLE).read_text().splitlines()[0]
    except (OSError, IndexError):
        return None
    words = iter(shlex.split(line.partition(":=")[2].partition(";")[0])[1:])
    kept = []
    for word in words:
        if word in ("-include", "-o"):
            next(words)
        elif word != "-c" and not word.startswith(OF_THE_EXAMPLE) and not word.endswith(".c"):
            kept.append(word)
    return kept


def tested_macros(words: Sequence[str], objects: Path, env: Mapping[str, str]) -> list[str]:
    command = ["gcc", *words, "-E", "-dU", "-x", "c-header", HEADERS]
    done = subprocess.run(command, cwd=objects, env=env, capture_output=True, text=True)
    lines = (line.split() for line in done.stdout.splitlines() if line.startswith("#undef "))
    return sorted({line[1] for line in lines})


def remove(objects: Path) -> None:
    """Before the configuration or the headers may change, which gcc does not check."""
    (objects / COMPILED).unlink(missing_ok=True)


def precompile(objects: Path, env: Mapping[str, str]) -> None:
    """Compiles the headers after `make prepare`. Without them, a build only takes longer."""
    words = options(objects)
    if words is None:
        return
    write(objects / HEADERS, includes([*FIRST, *COMMON]))
    write(objects / NAMES, names())
    flags = [word for word in words if word.startswith(("-f", "-m", "-O", "-g", "-std="))]
    (objects / FLAGS).write_text(" ".join(flags) + "\n")
    tested = tested_macros(words, objects, env)
    (objects / TESTED).write_text("".join(f"{name}\n" for name in tested))
    # ccache looks at the headers themselves, which it finds among the dependencies.
    (objects / f"{COMPILED}.sum").write_text(f"{HEADERS}\n")
    # With -MMD, it keeps what it depends on, which -fpch-deps adds to what an object depends on.
    keep = f"-Wp,-MMD,{HEADERS}.d"
    command = ["gcc", keep, *words, "-x", "c-header", HEADERS, "-o", COMPILED]
    subprocess.run(command, cwd=objects, env=env, stderr=subprocess.DEVNULL)
