# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs tests/run in a checkout with fake suites: suites that crash, hang, and get lost."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from tests.support.process import is_alive, wait_until

SUITES = """
def suites() -> list[Suite]:
    import json

    fakes = json.loads((PATCHES.parent / "suites.json").read_text())
    for fake in fakes:
        fake |= {"tiers": frozenset(fake["tiers"]), "command": tuple(fake["command"])}
        fake |= {"packages": tuple(fake["packages"]), "images": tuple(map(tuple, fake["images"]))}
    return [Suite(**fake) for fake in fakes]
"""
# These suites need none, and finding it may take the network.
CATCH2 = """
class Unavailable(Exception): ...
def pkg_config_path() -> str: return ""
"""
LONG_TIMEOUT = 60


class Checkout:
    """The runner and fake suites, nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("runner", "support"):
            shutil.copytree(ROOT / "tests" / part, root / "tests" / part)
        for file in ("run", "__init__.py"):
            shutil.copy(ROOT / "tests" / file, root / "tests")
        for kernel in ("6.12", "7.3"):
            (root / "patches" / kernel).mkdir(parents=True)
            (root / "patches" / kernel / "BASE").touch()
        (root / "meson.build").write_text("project('fake', version: '1')\nsubdir('tests')\n")
        shutil.copy(ROOT / "meson_options.txt", root)
        registration = (ROOT / "tests/meson.build").read_text().partition("import('fs')")
        (root / "tests/meson.build").write_text("".join(registration[1:]))
        table = (root / "tests/runner/table.py").read_text()
        table = re.sub(r"(?ms)^def suites.*?(?=^def )", SUITES + "\n\n", table)
        (root / "tests/runner/table.py").write_text(table)
        self.script("tests/support/setup", 'echo "$@" >>"$(dirname "$0")/asked"')
        (root / "tests/support/catch2.py").write_text(CATCH2)
        self.env = dict(os.environ, LIBFREEZE_CACHE=str(root / "cache"))
        self.env.pop("LIBFREEZE_BUILD", None)
        self.suites: list[dict[str, Any]] = []

    def script(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{text}\n")
        file.chmod(0o755)

    def add(self, name: str, text: str, **fields: Any) -> None:
        self.script(f"suites/{name}", text)
        suite = {"name": name, "suite": name, "tiers": ["quick", "all", "full"], "seconds": 1}
        suite |= {"command": [str(self.root / "suites" / name)], "packages": ["base"]}
        self.suites.append(suite | {"images": []} | fields)

    def start(self, *options: str) -> "subprocess.Popen[str]":
        (self.root / "suites.json").write_text(json.dumps(self.suites))
        return subprocess.Popen(
            ["env", "--default-signal", self.root / "tests/run", *options],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *options: str) -> tuple[int, str, str]:
        """Exit status, last line, and all output."""
        process = self.start(*options)
        output, _ = process.communicate(timeout=LONG_TIMEOUT)
        return process.returncode, output.splitlines()[-1], output

    def check(self, closing: str, *phrases: str, options: tuple[str, ...] = ()) -> None:
        status, line, output = self.run(*options)
        assert line == closing, output
        assert status == (0 if " 0 failed" in closing else 1), output
        for phrase in phrases:
            assert phrase in output


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    if not shutil.which("meson"):
        pytest.skip("meson is not installed")
    return Checkout(tmp_path)


GOOD = "echo 1..1; echo ok 1 - a"


def test_sums_over_suites(checkout: Checkout) -> None:
    checkout.add("one", GOOD)
    checkout.add("two", "echo 1..2; echo not ok 1; echo 'ok 2 # SKIP old kernel'; exit 1")
    checkout.check("1 passed, 1 failed, 1 skipped", "FAILED: two", "skipped: two: test 2: old")


def test_all_skipped_is_no_success(checkout: Checkout) -> None:
    checkout.add("fake", "echo '1..0 # SKIP not root'")
    status, line, _ = checkout.run()
    assert (status, line) == (1, "0 passed, 0 failed, 1 skipped")


def test_bytes_that_are_not_text(checkout: Checkout) -> None:
    checkout.add("fake", "echo 1..1; printf '\\377\\n'; echo ok 1")
    checkout.check("1 passed, 0 failed, 0 skipped")


def test_suite_killed_by_a_signal(checkout: Checkout) -> None:
    checkout.add("fake", "echo 1..1; echo ok 1; kill -SEGV $$")
    checkout.check("1 passed, 1 failed, 0 skipped", "ended by signal 11")


def test_hang_is_given_up(checkout: Checkout) -> None:
    began = time.monotonic()
    checkout.add("fake", "echo 1..2; echo ok 1; echo booting >&2; sleep 50", timeout=1)
    checkout.check(
        "1 passed, 2 failed, 0 skipped", "bailed out: given up after 1 s; last output: booting"
    )
    assert time.monotonic() - began < 30


def test_hang_that_ignores_sigterm(checkout: Checkout) -> None:
    checkout.add("fake", "trap '' TERM; echo 1..1; while :; do sleep 1; done", timeout=1)
    checkout.check("0 passed, 2 failed, 0 skipped")


def test_background_process_does_not_hold_the_run(checkout: Checkout) -> None:
    pidfile = checkout.root / "pid"
    began = time.monotonic()
    checkout.add("fake", f"sleep 50 & echo $! >{pidfile}; {GOOD}")
    checkout.check("1 passed, 0 failed, 0 skipped")
    assert time.monotonic() - began < 30
    assert wait_until(lambda: not is_alive(int(pidfile.read_text())), 5)


def test_suite_that_cannot_be_run(checkout: Checkout) -> None:
    checkout.add("fake", GOOD, command=["/none"])
    checkout.check("0 passed, 2 failed, 0 skipped", "cannot run /none")


def test_lost_suite_fails(checkout: Checkout) -> None:
    """meson does not know it any more, or was killed before it came to it."""
    checkout.add("good", GOOD)
    # guard.py is its parent, and meson test is guard.py's.
    checkout.add("fake", "read -r _ _ _ meson _ </proc/$PPID/stat; kill -KILL $meson; sleep 50")
    status, line, output = checkout.run("fake")
    assert (status, line) == (1, "0 passed, 1 failed, 0 skipped"), output
    assert "did not run it to its end" in output


def test_unknown_suite(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    status, line, _ = checkout.run("nosuch")
    assert status == 2
    assert line == "tests/run: no suite nosuch; there are fake"


def test_tiers(checkout: Checkout) -> None:
    checkout.add("one", GOOD)
    checkout.add("two", GOOD, tiers=["all", "full"])
    checkout.add("three", GOOD, tiers=["full"])
    checkout.check("1 passed, 0 failed, 0 skipped")
    checkout.check("2 passed, 0 failed, 0 skipped", options=("--all",))
    checkout.check("3 passed, 0 failed, 0 skipped", options=("--full",))


def test_a_named_suite_comes_from_the_tier_that_has_it(checkout: Checkout) -> None:
    checkout.add("one", GOOD)
    checkout.add("two", GOOD, tiers=["all", "full"])
    checkout.check("1 passed, 0 failed, 0 skipped", "two  1 passed", options=("two",))


def test_kernel_selects_suites(checkout: Checkout) -> None:
    for kernel in ("6.12", "7.3"):
        checkout.script("tests/vm/__main__.py", "")
        checkout.add(f"on {kernel}", GOOD, images=[[kernel, "stock"]], suite="kernel")
    checkout.check("1 passed, 0 failed, 0 skipped", "on 7.3", options=("--kernel", "7.3"))


def test_kernel_that_the_tier_has_no_suite_for(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    checkout.add("one", GOOD, images=[["6.12", "stock"]], suite="kernel")
    checkout.add("two", GOOD, images=[["7.3", "stock"]], suite="kernel", tiers=["all"])
    status, line, _ = checkout.run("--kernel", "7.3")
    assert (status, line) == (2, "tests/run: this tier has no suite on Linux 7.3: add --all")
    both = ("kernel", "--kernel", "7.3", "--kernel", "6.12")
    checkout.script("tests/vm/__main__.py", "")
    checkout.check("2 passed, 0 failed, 0 skipped", options=both)
    (checkout.root / "linux").mkdir()
    (checkout.root / "linux/Makefile").write_text("VERSION = 7\nPATCHLEVEL = 3\n")
    checkout.env["KERNEL_SRC"] = str(checkout.root / "linux")
    checkout.check("2 passed, 0 failed, 0 skipped", "two  1 passed", options=("--all",))


def test_no_kernel_is_built_while_a_suite_measures(checkout: Checkout) -> None:
    log = checkout.root / "builder"
    build = f"import time\ntime.sleep(3)\nopen({str(log)!r}, 'a').write('built')\n"
    (checkout.root / "tests/vm").mkdir()
    (checkout.root / "tests/vm/__main__.py").write_text(build)
    checkout.add("bench", f"[[ -s {log} ]] && {GOOD}", exclusive=True)
    checkout.add("guest", GOOD, images=[["6.12", "stock"]])
    checkout.check("2 passed, 0 failed, 0 skipped")


def test_build_directory_is_passed_on(checkout: Checkout) -> None:
    checkout.add("fake", f"[[ $LIBFREEZE_BUILD == {checkout.root}/build ]] && {GOOD}")
    checkout.check("1 passed, 0 failed, 0 skipped")


def test_setup_that_fails(checkout: Checkout) -> None:
    """What needs no missing package runs."""
    checkout.add("fake", GOOD)
    checkout.script("tests/support/setup", "[[ ! -e $0.called ]] && touch $0.called")
    checkout.check("1 passed, 1 failed, 0 skipped", "packages are missing")


def test_kernel_without_suites(checkout: Checkout) -> None:
    checkout.add("guest", GOOD, images=[["6.12", "stock"]])
    status, line, _ = checkout.run("guest", "--kernel", "7.3")
    assert (status, line) == (2, "tests/run: guest has nothing for 7.3")


def test_no_python(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    checkout.script("tests/support/setup", "exit 1")
    status, line, output = checkout.run()
    assert (status, line) == (1, "0 passed, 1 failed, 0 skipped"), output


def test_tree_that_does_not_build(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    (checkout.root / "meson.build").write_text("project('fake', version: '1')\nerror('no')\n")
    checkout.check("0 passed, 1 failed, 0 skipped", "the tree does not build")


def test_configuration_that_has_failed_is_done_again(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    file = checkout.root / "meson.build"
    good = file.read_text()
    file.write_text(good + "error('no')\n")
    checkout.check("0 passed, 1 failed, 0 skipped", "the tree does not build")
    file.write_text(good)
    checkout.check("1 passed, 0 failed, 0 skipped")


def test_build_directory_that_cannot_be_made(checkout: Checkout) -> None:
    checkout.add("fake", GOOD)
    checkout.env["LIBFREEZE_BUILD"] = "/dev/null/build"
    checkout.check("0 passed, 1 failed, 0 skipped", "Not a directory")


def test_two_runs_in_one_build_directory(checkout: Checkout) -> None:
    started, end = checkout.root / "started", checkout.root / "end"
    checkout.add("fake", f"touch {started}; until [[ -e {end} ]]; do sleep 0.1; done; {GOOD}")
    first = checkout.start()
    assert wait_until(started.exists, LONG_TIMEOUT)
    checkout.check("0 passed, 1 failed, 0 skipped", "another tests/run uses")
    end.touch()
    output, _ = first.communicate(timeout=LONG_TIMEOUT)
    assert output.splitlines()[-1] == "1 passed, 0 failed, 0 skipped", output


def test_sigterm_ends_the_suite_and_still_sums_up(checkout: Checkout) -> None:
    pidfile = checkout.root / "pid"
    checkout.add("one", GOOD)
    checkout.add(
        "two",
        f"trap '' TERM; echo 1..2; echo ok 1; echo $$ >{pidfile}; while :; do sleep 1; done",
    )
    run = checkout.start()
    assert wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), LONG_TIMEOUT)
    time.sleep(2)  # what has ended is counted at the next look
    run.send_signal(signal.SIGTERM)
    output, _ = run.communicate(timeout=LONG_TIMEOUT)
    assert run.returncode == 130, output
    assert output.splitlines()[-1].startswith("1 passed, "), output
    assert "interrupted" in output
    assert wait_until(lambda: not is_alive(int(pidfile.read_text())), 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_ends_what_is_built_ahead(checkout: Checkout, number: int) -> None:
    pidfile = checkout.root / "pid"
    build = f"import os, time\nopen({str(pidfile)!r}, 'w').write(str(os.getpid()))\n"
    (checkout.root / "tests/vm").mkdir()
    (checkout.root / "tests/vm/__main__.py").write_text(build + "time.sleep(50)\n")
    checkout.add("guest", "sleep 50", images=[["6.12", "stock"]])
    run = checkout.start()
    assert wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), LONG_TIMEOUT)
    run.send_signal(number)
    output, _ = run.communicate(timeout=LONG_TIMEOUT)
    assert run.returncode == 130, output
    assert not is_alive(int(pidfile.read_text())), "the build outlived the run"


# `vm build` with a make that we wrote, and nothing to configure.
VM_BUILD = """
import pathlib, sys
from tests.vm import __main__ as vm, image
work = pathlib.Path(sys.argv.pop())
progress = image.Progress("a kernel", work / "record")
vm.image.build = lambda *_: image.run_make([work / "make"], work / "log", progress)
sys.exit(vm.main())
"""


def test_an_interrupted_build_of_a_kernel_ends_its_make(tmp_path: Path) -> None:
    """The signal is sent to `vm build` alone, and its make takes a second to end."""
    pidfile = tmp_path / "pid"
    make = tmp_path / "make"
    make.write_text(
        f"#!/bin/bash\ntrap 'sleep 1; exit 1' TERM\necho $$ >{pidfile}\n"
        "while :; do sleep 0.1; done\n"
    )
    make.chmod(0o755)
    build = subprocess.Popen(
        ["/usr/bin/python3", "-B", "-c", VM_BUILD, "build", "--flavour", "stock", tmp_path],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_until(lambda: pidfile.exists() and pidfile.read_text().strip(), LONG_TIMEOUT)
    build.terminate()
    _, error = build.communicate(timeout=LONG_TIMEOUT)
    assert build.returncode == 130, error
    assert not is_alive(int(pidfile.read_text())), "make outlived the build"


def test_times_are_remembered(checkout: Checkout) -> None:
    checkout.add("fake", f"{GOOD}; sleep 3")
    checkout.run()
    _, _, listing = checkout.run("--list")
    assert re.search(r"fake +about 0:0[3-9]", listing)
