# SPDX-License-Identifier: LGPL-2.1-or-later
"""The demo's act on this machine's own kernel, and whether it would notice a bad backup."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import BUILD, ROOT
from tests.support.process import Result, Word, run, wait_until

CANNOT_RUN = 77
# In place of demo/backup, with its arguments.
REPLACED = """#!/bin/sh
mountpoint=$1 timeout=$2 logs=$3 noted=$4
shift 4
"""
WITHOUT_FREEZE = REPLACED + '"$@" && cp -r "$logs" "$noted"'
NOTED_TOO_LATE = (
    REPLACED
    + """fsfreeze -f "$mountpoint" && "$@"
fsfreeze -u "$mountpoint" && sleep 1 && cp -r "$logs" "$noted" """
)
THAWED_TOO_EARLY = (
    REPLACED
    + f"""exec "{BUILD}/demo/backup" "$mountpoint" "$timeout" "$logs" "$noted" \\
    sh -c '"$@" && fsfreeze -u "$0"' "$mountpoint" "$@" """
)

Act = Callable[..., Result]


@pytest.fixture
def act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Act:
    """Runs the act; with its program backup replaced, if there is a script."""

    def run_act(backup: str = "") -> Result:
        build = tmp_path / "build"
        build.joinpath("demo").mkdir(parents=True)
        build.joinpath("libfreeze").symlink_to(BUILD / "libfreeze")
        for name in "load", "check", "backup":
            build.joinpath("demo", name).symlink_to(BUILD / "demo" / name)
        if backup:
            script = build / "demo/backup"
            script.unlink()
            script.write_text(backup)
            script.chmod(0o755)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        words: list[Word] = [ROOT / "demo/host", build / "demo"]
        result = run(*words, seconds=300)
        if result.status == CANNOT_RUN:
            pytest.skip(result.text.strip().removeprefix("left out: "))
        assert not list(tmp_path.glob("libfreeze-demo.*")), "something is left in TMPDIR"
        assert wait_until(lambda: str(tmp_path) not in run("losetup", "--list").text)
        return result

    return run_act


def test_host_act(act: Act) -> None:
    result = act()
    assert result.status == 0, str(result)
    assert re.search(r"^  ext4 +backup under load +ok .* 0 lost, frozen \d+ ms", result.text, re.M)


@pytest.mark.parametrize(
    ("backup", "words"),
    [
        pytest.param(WITHOUT_FREEZE, "the snapshot cannot be mounted", id="copy without a freeze"),
        pytest.param(NOTED_TOO_LATE, r"\d+ acknowledged, only \d+ in the copy", id="old copy"),
        pytest.param(THAWED_TOO_EARLY, "no backup", id="freeze that was ended"),
    ],
)
def test_host_act_notices(act: Act, backup: str, words: str) -> None:
    result = act(backup)
    assert result.status == 1, str(result)
    assert re.search(f"WRONG: .*{words}", result.text), str(result)
