# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs pytest and writes TAP: python3 -B -m tests.support.pytest_tap DIRECTORY [OPTION]...

A point is named after the test function, with its parameters. A collection error is a bail-out."""

import os
import signal
import sys
from collections.abc import Generator

import pytest

from tests.support.paths import ROOT
from tests.support.tap import Writer


def name_of(nodeid: str) -> str:
    """`tests/x/test_x.py::test_a_thing[ext4]` becomes `a thing [ext4]`.

    Where the function is just `test`, the parameters are the name: `test[ext4: a thing]` becomes
    `ext4: a thing`."""
    _, _, test = nodeid.partition("::")
    function, bracket, parameters = test.partition("[")
    if function == "test" and bracket:
        return parameters.removesuffix("]")
    name = function.replace("::", ": ").removeprefix("test_").replace("_", " ")
    return f"{name} [{parameters}" if bracket else name


class Plugin:
    def __init__(self) -> None:
        # pytest redirects standard output while tests run. Its own report goes nowhere.
        self.tap = Writer(os.fdopen(os.dup(1), "w"))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, None, None]:
        print(f"{name_of(item.nodeid)} ...", file=sys.__stderr__, flush=True)
        yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = name_of(report.nodeid)
        if report.failed:
            # A test that passed and then failed to clean up is a second point.
            suffix = "" if report.when != "teardown" else ": clean-up"
            self.tap.point(False, name + suffix, self.details(report))
        elif report.skipped:
            assert isinstance(report.longrepr, tuple)
            self.tap.skip(name, self.reason(report.longrepr))
        elif report.when == "call":
            self.tap.point(True, name)
            for _, note in report.user_properties:  # of the fixture record_property
                self.tap.note(note)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            assert isinstance(report.longrepr, tuple)
            self.tap.skip(f"{report.nodeid}: all of it", self.reason(report.longrepr))
        if report.failed:
            self.tap.bail_out(f"cannot collect {report.nodeid}: {report.longreprtext[-1000:]}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.tap.bail_out(f"pytest failed: {str(excrepr)[-1000:]}")

    @staticmethod
    def reason(skipped: tuple[str, int, str]) -> str:
        return skipped[2].removeprefix("Skipped: ")

    @staticmethod
    def details(report: pytest.TestReport) -> str:
        crash = getattr(report.longrepr, "reprcrash", None)  # first, since the rest may be cut off
        summary = [f"{crash.message} ({crash.path}:{crash.lineno})"] if crash else []
        sections = [f"{title}:\n{text}" for title, text in report.sections if text.strip()]
        return "\n".join([*summary, *sections, report.longreprtext])


def terminated(*_: object) -> None:
    pytest.exit("terminated", 128 + signal.SIGTERM)  # with the teardown of all fixtures


def main() -> int:
    signal.signal(signal.SIGTERM, terminated)
    os.environ.pop("PYTEST_ADDOPTS", None)  # it may deselect tests
    plugin = Plugin()
    # The checkout may be read-only.
    options = ["-p", "no:cacheprovider", "--tb=short", "--rootdir", str(ROOT)]
    status = pytest.main([*options, *sys.argv[1:]], plugins=[plugin])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        plugin.tap.bail_out(f"pytest ended with status {int(status)}")
    return plugin.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
