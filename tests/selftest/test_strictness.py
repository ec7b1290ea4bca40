# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests/run makes of a suite's output: a suite that lies about its plan or dies must fail."""

from pathlib import Path

import pytest

from tests.runner import table
from tests.runner.results import Outcome, expected_skips, judge, kernel_table, skips
from tests.runner.table import ALWAYS, Suite

SUITE = Suite("fake", "fake", ALWAYS, ("true",))


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "LOGS", tmp_path)


def outcome(output: str, status: int = 0) -> Outcome:
    SUITE.file(".tap").write_text(output)
    SUITE.file(".status").write_text(f"{status} 1.0\n")
    return judge(SUITE)


def counts(found: Outcome) -> tuple[int, int, int]:
    return found.reader.passed, len(found.reader.failures), len(found.reader.skips)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("1..2\nok 1 - a\nok 2 - b", (2, 0, 0), id="good suite"),
        pytest.param("ok 1\nok 2 - b\n1..2", (2, 0, 0), id="plan at the end"),
        pytest.param("1..1\nnot ok 1 - a", (0, 1, 0), id="failure with exit status 0"),
        pytest.param("1..1\nnot ok 1 - a # todo", (0, 1, 0), id="expected failure"),
        pytest.param("1..2\nok 1\nok 2 - b # SKIP why", (1, 0, 1), id="skip"),
        pytest.param("1..2\nok 1\nok 2 - b # SKIP", (1, 1, 0), id="skip without a reason"),
        pytest.param("1..0 # SKIP not root", (0, 0, 1), id="all skipped"),
        pytest.param("1..0 # SKIP", (0, 1, 0), id="all skipped without a reason"),
        pytest.param("1..1\nprintf\nok 1 - a", (1, 0, 0), id="last line without newline"),
        pytest.param("okay\n1..1\nok 1\nnot", (1, 0, 0), id="noise is not counted"),
    ],
)
def test_counts(output: str, expected: tuple[int, int, int]) -> None:
    assert counts(outcome(output)) == expected


@pytest.mark.parametrize(
    ("output", "expected", "what"),
    [
        pytest.param("1..3\nok 1\nok 2", (2, 1, 0), "planned 3", id="too few points"),
        pytest.param("1..1\nok 1\nok 2", (2, 1, 0), "saw 2", id="too many points"),
        pytest.param("ok 1", (1, 1, 0), "no plan", id="no plan"),
        pytest.param("1..1\nok 1\n1..1", (1, 1, 0), "a second plan", id="two plans"),
        pytest.param("1..3\nok 1\nok 2\nok 2", (3, 2, 0), "number 2, expected 3", id="twice"),
        pytest.param("1..1\nok 1\nBail out! full", (1, 1, 0), "bailed out: full", id="bail-out"),
        pytest.param("", (0, 1, 0), "no plan", id="no output"),
        pytest.param("1..0", (0, 1, 0), "ran no test", id="empty plan"),
    ],
)
def test_breaches(output: str, expected: tuple[int, int, int], what: str) -> None:
    found = outcome(output)
    assert counts(found) == expected
    assert any(what in failure.name for failure in found.reader.failures)


@pytest.mark.parametrize("status", [1, 3, 77])
def test_exit_status_without_a_failing_point(status: int) -> None:
    found = outcome("1..1\nok 1", status)
    assert counts(found) == (1, 1, 0)
    assert found.reader.failures[0].name.startswith(f"ended with exit status {status}")


def test_diagnostics_belong_to_their_point() -> None:
    found = outcome("1..2\nnot ok 1 - a\n# because\nok 2\n# not this", 1)
    assert [point.diagnostics for point in found.reader.failures] == [["because"]]


def test_skips_with_one_reason_share_a_line() -> None:
    output = "".join(f"ok {number} - {number} # SKIP no root\n" for number in range(1, 5))
    assert [*skips(outcome(f"{output}ok 5 - five # SKIP no disk\n1..5"))] == [
        "skipped: fake: 4 tests: no root",
        "skipped: fake: five: no disk",
    ]


def test_table_of_kernels() -> None:
    def suite(name: str, *image: str) -> Suite:
        return Suite(name, "kernel", ALWAYS, ("true",), images=((image[0], image[1]),))

    suites = [suite("a", "6.1", "stock"), suite("b", "6.1", "stock"), suite("c", "7.3", "debug")]
    outcomes = [Outcome(each.title) for each in suites]
    for found, output in zip(outcomes, ("ok 1\n1..1", "ok 1 # SKIP x\n1..1", "not ok 1\n1..1")):
        for line in output.splitlines():
            found.reader.feed(line)
    assert kernel_table(suites, outcomes) == [
        "kernel  stock                debug",
        "6.1     1 passed, 1 skipped  -",
        "7.3     -                    1 FAILED",
    ]


def test_expected_skips_are_counted_and_others_listed() -> None:
    found = outcome("ok 1 - a # SKIP only for JFS\nok 2 - b # SKIP no zsh\n1..2")
    assert list(skips(found)) == ["skipped: fake: b: no zsh"]
    assert list(expected_skips([found])) == ["skipped as expected: 1 tests: only for JFS"]
