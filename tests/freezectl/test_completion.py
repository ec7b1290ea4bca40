# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion in bash and zsh."""

import shutil

import pytest

from tests.freezectl.freezectl import COMMANDS, SOURCE, Freezectl
from tests.support.process import must

BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_freezectl "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""


def completed_by_bash(*words: str) -> set[str]:
    file = SOURCE / "completions/freezectl.bash"
    return {*must("bash", "-c", BASH, "bash", file, "freezectl", *words).split("\n")} - {""}


def test_bash_completes(tool: Freezectl) -> None:
    assert completed_by_bash("") == {*COMMANDS, "--help", "--version"}
    assert completed_by_bash("fr") == {"freeze"}
    for command in COMMANDS:
        found = {word for word in completed_by_bash(command, "--") if len(word) > 2}
        assert found == tool.options_in_help(command), (command, found)
    assert "30s" in completed_by_bash("run", "-t", "")
    assert "/proc" in completed_by_bash("status", "/pr")
    assert "sleep" in completed_by_bash("run", "/proc", "--", "slee")
    assert "/proc" in completed_by_bash("run", "/proc", "--", "sleep", "/pr")


ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D; PS1=; LISTMAX=1000"
zpty -w z "zstyle ':completion:*' list-colors no=; setopt noalwayslastprompt; echo ready"
zpty -r -m z line '*ready*ready*'
zpty -w -n z "$2"$'\t\t'
sleep "$3"
while zpty -r -t z line; do print -rn -- $line; done
"""


def completed_by_zsh(typed: str, words: set[str]) -> set[str]:
    """Which of the words zsh offers. A slow machine gets more time."""
    found: set[str] = set()
    for wait in ("1", "10"):
        out = must("zsh", "-f", "-c", ZSH, "zsh", SOURCE / "completions", typed, wait, seconds=60)
        found = {word for word in words if word in out}
        if found == words:
            break
    return found


def test_zsh_completes(tool: Freezectl) -> None:
    if not shutil.which("zsh"):
        pytest.skip("no zsh")
    assert completed_by_zsh("freezectl ", {*COMMANDS}) == {*COMMANDS}
    for command in COMMANDS:
        options = tool.options_in_help(command)
        assert completed_by_zsh(f"freezectl {command} --", options) == options, command
