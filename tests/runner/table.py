# SPDX-License-Identifier: LGPL-2.1-or-later
"""All suites: what each runs, in which tier, and what it needs.

tests/meson.build registers them from here, so that tests/run knows them before anything is
configured. Tiers: quick (`tests/run`), all (`--all`, CI) and full (`--full`)."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.paths import BUILD, PATCHES

QUICK, ALL, FULL = frozenset({"quick"}), frozenset({"all"}), frozenset({"full"})
ALWAYS = QUICK | ALL | FULL
CI = ALL | FULL
TIERS = ("quick", "all", "full")

FILESYSTEMS = ["ext4", "xfs", "btrfs", "f2fs"]
IN_BASE = ["ext4", "xfs"]  # these every kernel has; the others need the flavour *-all
KERNEL = "6.12"  # of the quick tier, and of what runs on one kernel only
KERNELS = sorted(
    (path.parent.name for path in PATCHES.glob("*/BASE")),
    key=lambda name: (name != KERNEL, [int(part) for part in name.split(".")]),
)
# On which filesystem a kernel runs what takes long in the tier `all`: each has its own.
LONG_ON = {"6.1": "xfs", "6.12": "ext4", "7.3": "btrfs"}

# A file that Debian installs, not whatever comes first in PATH: the modules are Debian's, too.
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
Command = tuple[str, ...]
LOGS = BUILD / "test-logs"


@dataclass(frozen=True)
class Suite:
    """One `meson test`: a program that prints TAP."""

    name: str
    suite: str  # what it is called on the command line
    tiers: frozenset[str]
    command: Command
    seconds: int = 60  # it takes, for the estimate
    timeout: int = 1800
    packages: tuple[str, ...] = ("build", "tests")
    images: tuple[tuple[str, str], ...] = ()  # kernels and flavours that it boots
    exclusive: bool = False  # it measures, so nothing else may run then

    @property
    def title(self) -> str:
        """Unique, also where the tier `full` has a longer form."""
        return f"{self.name} (full)" if self.tiers == FULL else self.name

    def file(self, suffix: str) -> Path:
        """One of the files that runner/guard.py writes."""
        return LOGS / f"{self.title.replace(', ', '-').replace(' ', '-')}{suffix}"

    @property
    def kernels(self) -> set[str]:
        return {kernel for kernel, _ in self.images}


def module(name: str, *options: str) -> Command:
    return (PYTHON, "-B", "-m", name, *options)


def pytest(*words: str) -> Command:
    return module("tests.support.pytest_tap", *words)


def program(name: str, *options: str) -> Command:
    return (str(BUILD / name), *options)


# Without a virtual machine -----------------------------------------------------------

LOOP = ("build", "tests", "vm")  # suites that make filesystems


def on_this_machine() -> Iterator[Suite]:
    yield Suite("selftest", "selftest", ALWAYS, pytest("tests/selftest"), 30, 300)
    style = ("style", "build", "tests")
    yield Suite("style", "style", QUICK | ALL, module("tests.style"), 40, 600, style)
    full = (*style, "lint")
    yield Suite("style", "style", FULL, module("tests.style", "--full"), 400, 3600, full)
    unit = program("tests/unit/unit-tests", "--reporter", "tap-cases")
    yield Suite("unit", "unit", ALWAYS, (*unit, "~[long]"), 10, 600)
    yield Suite("unit, long", "unit", CI, (*unit, "[long]"), 60, 1800)
    core = program("tests/guardian/guardian-tests", "--reporter", "tap-cases")
    yield Suite("guardian itself", "unit", CI, core, 70, 1800)
    yield Suite("model itself", "unit", ALWAYS, program("tests/kernel/model/model-test"), 2, 300)
    quick = ("--fs", "ext4")
    yield Suite("host ext4", "host", QUICK, pytest("tests/host", *quick), 75, 1800, LOOP)
    yield Suite("host", "host", CI, pytest("tests/host"), 230, 1800, LOOP)
    guardian = pytest("tests/guardian", *quick)
    yield Suite("guardian ext4", "guardian", QUICK, guardian, 60, 1800, LOOP)
    yield Suite("guardian", "guardian", CI, pytest("tests/guardian"), 110, 1800, LOOP)
    holds = pytest("tests/holds")
    points = pytest("tests/holds/test_points.py", "tests/holds/test_programs.py")
    yield Suite("holds, in part", "holds", QUICK, points, 70, 1800, LOOP)
    yield Suite("holds", "holds", ALL, holds, 170, 1800, LOOP)
    yield Suite("holds", "holds", FULL, (*holds, "--full"), 1200, 7200, LOOP)
    yield Suite("freezectl", "freezectl", ALWAYS, pytest("tests/freezectl"), 200, 1800, LOOP)
    yield Suite("consumer", "consumer", ALWAYS, pytest("tests/consumer"), 45, 900)
    yield Suite("examples", "examples", ALWAYS, pytest("tests/examples"), 35, 900, LOOP)
    checker = pytest("tests/demo/test_checker.py", "tests/demo/test_host_act.py")
    yield Suite("demo on this machine", "demo", ALWAYS, checker, 20, 600, LOOP)
    instrumented = module("tests.instrumented")
    yield Suite("instrumented", "instrumented", ALL, instrumented, 75, 1800)
    yield Suite(
        "instrumented", "instrumented", FULL, (*instrumented, "--full"), 450, 3600, (*LOOP, "lint")
    )
    for kind in ("guardian", "library"):
        command = module("tests.mutants", kind)
        yield Suite(f"{kind} mutants", "mutants", CI, command, 60, 1800, LOOP)
    bench = pytest("tests/bench")
    yield Suite("bench", "bench", ALL, bench, 70, 1800, LOOP, exclusive=True)
    yield Suite("bench", "bench", FULL, (*bench, "--full"), 300, 3600, LOOP, exclusive=True)


# In virtual machines -------------------------------------------------------------------

VM = ("build", "tests", "kernel", "vm")
HOUR = 3600
# Two tests that fill the memory, which take a third of the time of all on a filesystem.
MEMORY_HEAVY = "swapped_out|memory_full_of_dirty"
NO_MEMORY_HEAVY = f"faults.!({MEMORY_HEAVY})"
# The tests with a failing device make a filesystem report it, with stacks.
ALLOWED = {
    "f2fs": ["--allow-log", r"f2fs_stop_checkpoint\+0x"],
    "gfs2": ["--allow-log", r"gfs2_(assert_withdraw_i|withdraw)\+0x"],
}
# gfs2 freezes in its own way, JFS can fail to thaw: on the first kernel, or with --full.
OTHERS = {
    "gfs2": ["holds", "owners", "deadlines", "bdev_dm", "sysrq", "unmount", "giving_up"],
    "jfs": ["holds", "deadlines", "faults"],
}
# Topics with tests of what part 1 of the patches fixes in these filesystems.
FIXES = {
    "btrfs": ["unmount"],
    "f2fs": ["errors", "devices.shutdown_of_f2fs"],
    "gfs2": ["bdev_dm", "errors.freeze_fails"],
    "jfs": ["faults"],
}
# Under emulation a debugging kernel takes minutes for all of the races and the faults.
DEBUGGED = [
    *["holds", "owners", "deadlines", "errors", "sysctls", "bdev_dm", "sysrq", "unmount"],
    *["caller_kinds", "races.unmount", "races.unmount_lazily", "races.sysrq"],
]


def only(*names: str) -> list[str]:
    """Options for tests, or for all tests of a topic."""
    globs = (name if "." in name else f"{name}.*" for name in names)
    return [word for glob in globs for word in ("--only", glob)]


def flavour_for(fs: str, flavour: str) -> str:
    """The flavour with this filesystem in it."""
    complete = flavour.endswith("-all") or flavour == "part1"
    return flavour if fs in IN_BASE or complete else f"{flavour}-all"


@dataclass(frozen=True)
class Guest:
    """A kernel, and what its suites have in common."""

    kernel: str
    flavour: str
    tiers: frozenset[str]
    timeout: int = 1800

    def suite(
        self,
        suite: str,
        fs: str,
        command: Command,
        seconds: int,
        *,
        options: tuple[str, ...] = ("--forbid-damage",),
        disk: str = "4G",
        label: str = "",
    ) -> Suite:
        flavour = flavour_for(fs, self.flavour)
        name = " ".join(word for word in (self.kernel, flavour, suite, fs, label) if word)
        vm = module("tests.vm", "test", "--name", name, "--kernel", self.kernel)
        silence = str(max(180, self.timeout // 10))
        vm += ("--flavour", flavour, "--timeout", str(self.timeout), "--silence", silence)
        vm += ("--disk", disk, *options, "--", *command)
        return Suite(
            name,
            suite,
            self.tiers,
            vm,
            seconds,
            self.timeout + HOUR,  # a kernel may have to be built first
            VM,
            ((self.kernel, flavour),),
        )

    def stock(self) -> tuple[str, ...]:
        return ("--stock",) if self.flavour.startswith("stock") else ()

    def parts(self) -> tuple[str, ...]:
        """For freeze-abi: which parts of the patches the kernel has."""
        if self.flavour in ("part1", "part2"):
            return ("--parts", self.flavour[-1])
        return self.stock()

    def abi(
        self, fs: str, *tests: str, rounds: int = 0, seconds: int = 150, label: str = ""
    ) -> Suite:
        """The raw kernel interface: all tests, or those named."""
        words = program("tests/kernel/freeze-abi", *self.parts(), *only(*tests))
        if rounds:
            words += ("--rounds", str(rounds))
        words += ("--fs", fs, "/dev/vda")
        if fs == "gfs2":  # its thaw goes through several workers
            words = ("env", "FREEZE_ABI_SLOW=2", *words)
        # What a stock kernel leaves frozen stays on the disk.
        disk = "16G" if self.stock() else "4G"
        allowed = tuple(ALLOWED.get(fs, ()))
        return self.suite("kernel", fs, words, seconds, options=allowed, disk=disk, label=label)

    def model(self, fs: str, *options: str, seconds: int = 90) -> Suite:
        """Random sequences against the model."""
        stock = (*self.stock(), "--shrink", "0") if self.stock() else ()
        words = program("tests/kernel/model/freeze-model", *options, *stock)
        return self.suite("model", fs, (*words, "--fs", fs, "/dev/vda"), seconds)

    def stress(self, fs: str, *options: str, seconds: int = 60, label: str = "") -> Suite:
        """Everything at once."""
        words = program("tests/stress/freeze-stress", "--sysrq", *options)
        return self.suite("stress", fs, (*words, "--fs", fs, "/dev/vda"), seconds, label=label)

    def compat(self, fs: str) -> Suite:
        """Today's programs."""
        words = pytest("tests/compat", *self.stock(), "--fs", fs, "--disk", "/dev/vda")
        # A stock 7.3 lets fsfreeze -u read from a suspended btrfs; giving it up damages that.
        options = () if self.stock() else ("--forbid-damage",)
        return self.suite("compat", fs, words, 120, options=options, disk="8G")

    def library(self, *filesystems: str) -> Suite:
        types = [word for fs in filesystems for word in ("--fs", fs)]
        widest = max(filesystems, key=lambda fs: fs not in IN_BASE)
        suite = self.suite("library", widest, pytest("tests/host", *types), 150)
        return suite if len(filesystems) == 1 else replace(suite, name=f"{suite.name} and others")

    def stacks(self) -> Suite:
        words = pytest("tests/stacks", "--disk", "/dev/vda")
        return self.suite("stacks", "btrfs", words, 90)

    def freezectl(self, *options: str) -> Suite:
        return self.suite("freezectl", "xfs", pytest("tests/freezectl", *options), 120)


def overhead(kernel: str, fs: str, tiers: frozenset[str]) -> Suite:
    """Compares two kernels."""
    flavours = ("stock", "patched")
    command = module("tests.overhead", "--kernel", kernel, "--fs", fs)
    images = tuple((kernel, flavour_for(fs, flavour)) for flavour in flavours)
    name = f"{kernel} overhead {fs}"
    return Suite(name, "overhead", tiers, command, 100, 2 * HOUR, VM, images, exclusive=True)


def quick_guests() -> Iterator[Suite]:
    """What the quick tier runs; in the other tiers as well, or a longer form of it."""
    guest = Guest(KERNEL, "patched", QUICK | ALL)
    yield guest.abi("ext4", f"!(faults.@({MEMORY_HEAVY}))", seconds=130)
    yield guest.abi("xfs", f"!(faults.@({MEMORY_HEAVY}))", seconds=130)
    yield guest.library("ext4")
    yield guest.model("ext4", "--seed", "1")


def guests_of(kernel: str) -> Iterator[Suite]:
    """What the tier `all` runs on a kernel, besides the quick tier."""
    long_on = LONG_ON.get(kernel, "ext4")
    patched, stock = Guest(kernel, "patched", ALL), Guest(kernel, "stock", ALL)
    for fs in FILESYSTEMS:
        if fs == long_on:
            yield patched.abi(fs, f"faults.@({MEMORY_HEAVY})", seconds=90, label="memory")
        if kernel != KERNEL or fs not in IN_BASE:
            yield patched.abi(fs, f"!(faults.@({MEMORY_HEAVY}))")
    if kernel == KERNEL:
        # The other stock kernels are built for --full only: minutes each.
        yield stock.abi("ext4", f"!(faults.@({MEMORY_HEAVY}))")
        part1, part2 = Guest(kernel, "part1", ALL), Guest(kernel, "part2", ALL)
        yield part1.abi("ext4", seconds=60)
        yield part2.abi("ext4", f"!(faults.@({MEMORY_HEAVY}))")
        for fs, topics in OTHERS.items():
            tests = [NO_MEMORY_HEAVY if topic == "faults" else topic for topic in topics]
            yield patched.abi(fs, *tests, seconds=90)
        yield patched.abi("gfs2", *GFS2_FAULTS, seconds=30, label="faults")
        yield patched.stacks()
        yield patched.freezectl("-m", "kernel")
        yield stock.model("ext4", "--seed", "1")  # it must differ from the model
        yield stock.compat("ext4")
    else:
        yield patched.library(long_on)
        yield patched.model(long_on, "--seed", "1")
        if kernel == "6.1":  # it thaws in its own way, and only JFS can fail to
            yield patched.abi("jfs", NO_MEMORY_HEAVY, seconds=60)
    yield patched.stress(long_on)
    yield patched.compat(long_on)
    if kernel == KERNEL:
        yield overhead(kernel, long_on, ALL)


# On 6.1 gfs2 never returns when its device fails.
GFS2_FAULTS = ("errors.freeze_fails", "faults.device_fails_at_the_deadline")
LONG = 10800


def full_guests_of(kernel: str) -> Iterator[Suite]:
    """What the tier `full` runs on a kernel: everything on every filesystem."""
    patched, stock = Guest(kernel, "patched", FULL, LONG), Guest(kernel, "stock", FULL, LONG)
    debug = Guest(kernel, "debug-all", FULL, LONG)
    for fs in FILESYSTEMS:
        yield from (patched.abi(fs), stock.abi(fs), debug.abi(fs, seconds=1200))
        yield patched.model(fs, "--steps", "20000", seconds=1100)
        yield debug.model(fs, "--steps", "2000", seconds=900)
        # A new seed each time.
        seconds = ("--seed", "0", "--seconds", "300")
        yield patched.stress(fs, *seconds, "--windows", "2000", seconds=400)
        yield debug.stress(fs, *seconds, "--windows", "500", seconds=600)
        yield from (patched.compat(fs), stock.compat(fs))
        yield overhead(kernel, fs, FULL)
    long_on = LONG_ON.get(kernel, "ext4")
    death = ("timing.death_of_a_holder",)
    yield patched.abi(long_on, *death, rounds=1000, seconds=300, label="death")
    give_ups = ("--seed", "0", "--seconds", "1200", "--give-ups", "10000")
    yield debug.stress(long_on, *give_ups, seconds=1400, label="giving up")
    yield stock.model("ext4", "--steps", "2000")
    for fs, topics in OTHERS.items():
        yield patched.abi(fs, *topics)
    part1, part2 = Guest(kernel, "part1", FULL, LONG), Guest(kernel, "part2", FULL, LONG)
    for fs in FILESYSTEMS:
        yield part1.abi(fs, seconds=60)
    for fs, topics in FIXES.items():
        if fs not in FILESYSTEMS:
            yield part1.abi(fs, *topics, seconds=40)
    for fs in IN_BASE:
        yield part2.abi(fs)
    if kernel != "6.1":
        yield patched.abi("gfs2", *GFS2_FAULTS, label="faults")
    yield patched.library("ext4", "xfs", "btrfs")
    yield patched.stacks()
    yield patched.freezectl()
    yield debug.compat(long_on)
    yield debug.library(long_on)


def with_kernels() -> Iterator[Suite]:
    yield from quick_guests()
    images = ((KERNEL, "patched"),)
    # Its pictures are of short times.
    acts = pytest("tests/demo/test_acts.py")
    yield Suite("demo", "demo", CI, acts, 120, 2 * HOUR, VM, images, exclusive=True)
    for tier, options in ((ALL, ("--fs", "ext4")), (FULL, ())):
        command = (*acts, "--stock", *options)
        stock = ((KERNEL, "stock"),)
        yield Suite("demo stock", "demo", tier, command, 60, 2 * HOUR, VM, stock, exclusive=True)
    harness = pytest("tests/vm")
    yield Suite("vm", "vm", CI, harness, 150, 2 * HOUR, VM, ((KERNEL, "stock"),))
    yield from guests_of(KERNEL)
    debug = Guest(KERNEL, "debug", ALL, 3600)
    yield debug.abi("ext4", *DEBUGGED, seconds=400)
    yield debug.stress("ext4", seconds=150)
    for kernel in KERNELS:
        if kernel != KERNEL:
            yield from guests_of(kernel)
        yield from full_guests_of(kernel)
    for kernel in KERNELS:
        command = module("tests.patches", "--kernel", kernel)
        flavours = ("patched", "part1", "part2")
        built = tuple((kernel, flavour) for flavour in flavours)
        some = built if kernel == KERNEL else built[:1]
        yield Suite(f"{kernel} patches", "patches", ALL, command, 150, 2 * HOUR, VM, some)
        command += ("--full",)
        yield Suite(f"{kernel} patches", "patches", FULL, command, 1500, 3 * HOUR, VM, built)
    for kernel in KERNELS:
        command = module("tests.mutants", "kernel", "--kernel", kernel)
        images = ((kernel, "patched-all"),)
        name = f"{kernel} kernel mutants"
        yield Suite(name, "mutants", FULL, command, 1800, 4 * HOUR, VM, images)


def suites() -> list[Suite]:
    return [*on_this_machine(), *with_kernels()]


def names() -> list[str]:
    """What can be named on the command line, in the order of the table."""
    return list(dict.fromkeys(suite.suite for suite in suites()))


def main() -> int:
    """Prints the fields that tests/meson.build needs, one suite per line."""
    for number, suite in enumerate(reversed(suites())):
        tags = [*sorted(suite.tiers), suite.suite]
        guard = module("tests.runner.guard", str(suite.timeout), str(suite.file("")))
        fields = [
            suite.title,
            ",".join(tags),
            str(suite.timeout + 60),
            str(number),  # the priority: what comes first in the table begins first
            "exclusive" if suite.exclusive else "parallel",
            " ".join(word.replace(" ", "%20") for word in (*guard, *suite.command)),
        ]
        print("\t".join(fields))
    return 0


if __name__ == "__main__":
    sys.exit(main())
