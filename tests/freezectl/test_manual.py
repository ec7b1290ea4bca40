# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual: its form, and that the other tests have tried all it describes."""

import os
import re
import subprocess

import pytest

from tests.freezectl.freezectl import COMMANDS, SOURCE, Freezectl, Volumes

MANUAL = SOURCE / "man/freezectl.8"


def test_the_manual_is_well_formed() -> None:
    man = subprocess.run(
        ["man", "--warnings=all", "-l", MANUAL],
        check=True,
        capture_output=True,
        timeout=30,
        env={**os.environ, "MANWIDTH": "80"},
    )
    assert not man.stderr, man.stderr
    assert b"EXIT STATUS" in man.stdout


@pytest.mark.last
def test_every_option_and_status_in_the_manual_was_tried(
    tool: Freezectl, volumes: Volumes, all_tests: bool
) -> None:
    """The other tests record what they try."""
    manual = MANUAL.read_text().replace("\\-", "-")
    helped = {command: tool.options_in_help(command) for command in ("", *COMMANDS)}
    in_manual = set(re.findall(r"--[a-z]+", manual))
    assert in_manual == set.union(*helped.values()), in_manual
    statuses = manual[manual.index(".SH EXIT STATUS") : manual.index(".SH EXAMPLES")]
    both, run = statuses.split("alone,")
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
