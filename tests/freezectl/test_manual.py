# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual: its form, and that the other tests have tried all it describes."""

import os
import re
import subprocess

import pytest

from tests.freezectl.freezectl import COMMANDS, SOURCE, Freezectl, Volumes
from tests.support.paths import BUILD

MANUAL = SOURCE / "man/freezectl.8"
PAGE = BUILD / "tools/freezectl/freezectl.8"
SECTIONS = (
    "NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS OUTPUT SIGNALS|EXIT STATUS|ENVIRONMENT FILES "
    "EXAMPLES NOTES BUGS|SEE ALSO"
)


def test_the_manual_is_well_formed() -> None:
    man = subprocess.run(
        ["man", "--warnings=all", "-l", PAGE],
        check=True,
        capture_output=True,
        timeout=30,
        env={**os.environ, "MANWIDTH": "80"},
    )
    assert not man.stderr, man.stderr
    found = re.findall(r"^\.SH (.*)$", PAGE.read_text(), re.MULTILINE)
    assert " ".join(found) == SECTIONS.replace("|", " "), found
    title = re.search(r'^\.TH FREEZECTL 8 "(.*)" "libfreeze (.*)" ', PAGE.read_text(), re.MULTILINE)
    assert title and re.fullmatch(r"\d{4}-\d\d-\d\d", title[1]), title
    assert re.fullmatch(r"\d+\.\d+\.\d+", title[2]), title


@pytest.mark.last
def test_every_option_and_status_in_the_manual_was_tried(
    tool: Freezectl, volumes: Volumes, all_tests: bool
) -> None:
    """The other tests record what they try."""
    manual = MANUAL.read_text().replace("\\-", "-")
    helped = {command: tool.options_in_help(command) for command in ("", *COMMANDS)}
    in_manual = set(re.findall(r"--[a-z][a-z-]+", manual))
    assert in_manual == set.union(*helped.values()), in_manual
    statuses = manual[manual.index(".SH EXIT STATUS") : manual.index(".SH ENVIRONMENT")]
    both, run = statuses.split("Only\n.B run\n")
    assert "128+" in run

    pairs = {(command, option) for command, options in helped.items() for option in options}
    untried = [f"{command} {option}" for command, option in sorted(pairs - tool.options)]
    seen = {status for _, status in tool.statuses}
    untried += [f"status {status}" for status in numbers(both) if status not in seen]
    of_run = [*numbers(run), 137]
    untried += [f"run: status {n}" for n in of_run if ("run", n) not in tool.statuses]
    if (untried or tool.reports <= 50) and not all_tests:
        pytest.skip("tests were deselected")
    assert not untried and tool.reports > 50


def numbers(section: str) -> list[int]:
    """The exit statuses in a section of the manual."""
    return [int(number) for number in re.findall(r"^\.B (\d+)$", section, re.MULTILINE)]
