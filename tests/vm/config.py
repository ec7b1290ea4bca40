# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kernel flavours and the configuration of each."""

import re
import subprocess
import typing

from .common import VM, Failure


class Flavour(typing.NamedTuple):
    """How many of the patches (None: all), which fragments, and variables for make."""
    patches: typing.Optional[int]
    fragments: typing.List[str]
    variables: typing.Sequence[str] = ()


# KASAN looks at every access of these files only: those that freeze and thaw, and that ask for it.
# With all files it takes longer to compile and to run.
WATCHED = ["KASAN_SANITIZE=n",
           *(f"KASAN_SANITIZE_{stem}.o=y" for stem in
             ["bdev", "buffer", "dm", "freeze", "gc", "ioctl", "super", "xfs_notify_failure",
              "xfs_super"])]

FLAVOURS = {
    "stock": Flavour(0, ["base"]),
    "patched": Flavour(None, ["base"]),
    "debug": Flavour(None, ["base", "debug", "fewer", "ext4-only"], WATCHED),
    "debug-all": Flavour(None, ["base", "debug"]),
    # One patch after the other, for tests/patches.
    "step1": Flavour(1, ["base", "fewer", "narrow"]),
    "step2": Flavour(2, ["base", "fewer", "narrow"]),
    "touched": Flavour(None, ["base", "touched"]),
}

LINE = re.compile(r"(?:# )?(CONFIG_\w+)(?:=(.*)| is not set)$")


def fragments(kernel, flavour):
    """The flavour's fragments, each with the kernel's own on top where there is one."""
    for name in FLAVOURS[flavour].fragments:
        yield name
        if (VM / "config" / f"{name}-{kernel}").exists():
            yield f"{name}-{kernel}"


def wanted(kernel, flavour):
    """The asked-for options, {symbol: value or None}; later fragments win."""
    options = {}
    for name in fragments(kernel, flavour):
        for line in (VM / "config" / name).read_text().splitlines():
            match = LINE.match(line)
            if match:
                options[match[1]] = match[2]
            elif line.strip() and not line.startswith("#"):
                raise Failure(f"tests/vm/config/{name}: not understood: {line}")
    return options


def text(options):
    return "".join(f"# {symbol} is not set\n" if value is None else f"{symbol}={value}\n"
                   for symbol, value in options.items())


def configure(make, env, objects, kernel, flavour):
    """Write objects/.config and see that every option that was asked for is in it."""
    options = wanted(kernel, flavour)
    asked = objects / "libfreeze.config"
    if asked.exists() and asked.read_text() == text(options) and (objects / ".config").exists():
        return
    asked.write_text(text(options))
    done = subprocess.run([*make, f"KCONFIG_ALLCONFIG={asked}", "allnoconfig"],
                          env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        asked.unlink()
        raise Failure(f"allnoconfig failed:\n{done.stdout}")
    have = {match[1]: match[2] for match in
            map(LINE.match, (objects / ".config").read_text().splitlines()) if match}
    wrong = [f"{symbol}: asked for {value or 'n'}, is {have.get(symbol) or 'n'}"
             for symbol, value in options.items() if have.get(symbol) != value]
    if wrong:
        asked.unlink()
        raise Failure("the kernel did not take these options:\n  " + "\n  ".join(wrong))
