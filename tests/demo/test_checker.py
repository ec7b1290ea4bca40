# SPDX-License-Identifier: LGPL-2.1-or-later
"""Does the demo's checker find what is wrong with a copy, and do its parts refuse wrong use?

Each function below damages a copy, or the logs of what was acknowledged. Next to it in DAMAGES is
what the checker must report."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import BUILD, ROOT
from tests.support.process import Result, SetupFailed, run, wait_until

PROGRAMS = BUILD / "demo"
RECORD = 32  # bytes in `first` and `second`

Damage = Callable[[Path, Path], None]


def run_sql(data: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(data / "bank.db", isolation_level=None)) as bank:
        for statement in statements:
            bank.execute(statement)


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    os.truncate(path, path.stat().st_size - size)


def lose_last_transfers(data: Path, logs: Path) -> None:
    """As if they had never been: the balances match again."""
    last = "SELECT max(n) - 1 FROM transfer WHERE writer = 1"
    for sign, column in ("+", "source"), ("-", "target"):
        run_sql(
            data,
            f"UPDATE account SET balance = balance {sign} (SELECT total(amount)"
            f" FROM transfer WHERE writer = 1 AND n >= ({last}) AND {column} = id)",
        )
    run_sql(
        data,
        "UPDATE account SET balance = CAST(balance AS INTEGER)",
        f"DELETE FROM transfer WHERE writer = 1 AND n >= ({last})",
    )


def change_transfer(data: Path, logs: Path) -> None:
    run_sql(data, "UPDATE transfer SET amount = amount + 1 WHERE writer = 3 AND n = 7")


def lose_transfer(data: Path, logs: Path) -> None:
    run_sql(data, "DELETE FROM transfer WHERE writer = 2 AND n = 5")


def change_balance(data: Path, logs: Path) -> None:
    run_sql(data, "UPDATE account SET balance = balance + 1 WHERE id = 2")


def flip_bit_in_wal(data: Path, logs: Path) -> None:
    flip_bit(data / "bank.db-wal", 32 + 24 + 4096 // 2)  # in the first frame: all later ones go


def damage_index(data: Path, logs: Path) -> None:
    run_sql(
        data,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema"
        " WHERE name = 'account') WHERE name = 'sqlite_autoindex_transfer_1'",
    )


def flip_bit_in_first(data: Path, logs: Path) -> None:
    flip_bit(data / "first", 10 * RECORD + 3)


def flip_bit_in_second(data: Path, logs: Path) -> None:
    flip_bit(data / "second", 10 * RECORD + 3)


def cut_record(data: Path, logs: Path) -> None:
    cut(data / "second", 7)


def lose_records(data: Path, logs: Path) -> None:
    cut(data / "second", 2 * RECORD)


def cut_first(data: Path, logs: Path) -> None:
    os.truncate(data / "first", (data / "second").stat().st_size - RECORD)


def remove_second(data: Path, logs: Path) -> None:
    (data / "second").unlink()


def acknowledge_more(data: Path, logs: Path) -> None:
    n = len((logs / "pair").read_text().splitlines())
    with open(logs / "pair", "a") as log:
        log.write(f"{n + 1} 1\n{n + 2} 1\n")


def acknowledge_nothing(data: Path, logs: Path) -> None:
    (logs / "pair").write_text("")


DAMAGES: list[tuple[Damage, str]] = [
    (lose_last_transfers, r"bank-1: \d+ acknowledged, only \d+ in the copy"),
    (lose_transfer, r"writer 2: transfer 5 is"),
    (change_transfer, r"writer 3: transfer 7 is"),
    (change_balance, r"account 2 holds"),
    (flip_bit_in_wal, r"acknowledged, only \d+ in the copy|no such table"),
    (damage_index, r"integrity_check|malformed|SQLite"),
    (flip_bit_in_first, r"first: record 11 is damaged"),
    (flip_bit_in_second, r"second: record 11 is damaged"),
    (cut_record, r"second: record \d+ is cut off"),
    (lose_records, r"the two files do not agree"),
    (cut_first, r"the two files do not agree"),
    (remove_second, r"second: missing"),
    (acknowledge_more, r"pair: \d+ acknowledged, only \d+ in the copy"),
    (acknowledge_nothing, r"pair: nothing was acknowledged"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the load wrote and logged until it was killed in the middle of its work."""
    directory = tmp_path_factory.mktemp("written")
    data, logs = directory / "data", directory / "logs"
    data.mkdir()
    logs.mkdir()

    def all_have_written() -> bool:
        found = list(logs.iterdir())
        return len(found) == 4 and all(log.read_bytes().count(b"\n") >= 20 for log in found)

    # It leads a process group: its children are killed with it, so that nothing checkpoints.
    load = subprocess.Popen([PROGRAMS / "load", data, logs], start_new_session=True)
    enough = wait_until(lambda: all_have_written() or load.poll() is not None, 60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(load.pid, signal.SIGKILL)
    if load.wait() != -signal.SIGKILL or not enough:
        raise SetupFailed("the load makes no progress")
    return directory


def check(written: Path, copy: Path, damage: Damage | None) -> Result:
    for part in "data", "logs":
        shutil.copytree(written / part, copy / part)
    if damage:
        damage(copy / "data", copy / "logs")
    return run(PROGRAMS / "check", copy / "data", copy / "logs")


def test_check_accepts_a_copy_of_what_the_load_wrote(written: Path, tmp_path: Path) -> None:
    result = check(written, tmp_path, None)
    assert result.status == 0, str(result)


@pytest.mark.parametrize(
    ("damage", "words"), DAMAGES, ids=[damage.__name__.replace("_", " ") for damage, _ in DAMAGES]
)
def test_check_finds(written: Path, tmp_path: Path, damage: Damage, words: str) -> None:
    result = check(written, tmp_path, damage)
    assert result.status == 1, str(result)
    assert re.search(f"WRONG.*({words})", result.text), str(result)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["examples/demo", "--stok"], id="demo: unknown option"),
        pytest.param(["examples/demo", "--fs", "tmpfs"], id="demo: unknown filesystem"),
        pytest.param(["demo/dm-volume", "create", "x", "ext4"], id="dm-volume: outside the VM"),
        pytest.param(["demo/act", "programs", "backup", "ext4"], id="act: outside the demo"),
    ],
)
def test_refuses(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIBFREEZE_VM", raising=False)
    result = run(ROOT / words[0], *words[1:])
    assert result.status == 2, str(result)
    assert result.text
