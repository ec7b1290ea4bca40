#!/usr/bin/python3 -B
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program with an SQLite database and a separate log. Each entry is on disk in the log before
it is committed to the database.

    ledger.py write DATABASE LOG JOURNAL-MODE    new ones, until it is killed
    ledger.py check DATABASE LOG                 whether the two match
"""

import os
import sqlite3
import sys


def write(database: str, log: str, mode: str) -> None:
    entries = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    bank = sqlite3.connect(database, isolation_level=None)
    bank.execute(f"PRAGMA journal_mode={mode}")
    bank.execute("PRAGMA synchronous=FULL")
    bank.execute("CREATE TABLE entry(n INTEGER PRIMARY KEY)")
    number = 0
    while True:
        number += 1
        os.write(entries, b"%d\n" % number)
        os.fsync(entries)
        bank.execute("INSERT INTO entry VALUES(?)", (number,))


def check(database: str, log: str) -> str:
    """Describes the damage. Empty if there is none."""
    bank = sqlite3.connect(f"file:{database}?mode=rw", uri=True)
    damage = bank.execute("PRAGMA integrity_check").fetchall()
    committed = [row[0] for row in bank.execute("SELECT n FROM entry ORDER BY n")]
    with open(log, encoding="ascii") as entries:
        logged = [int(line) for line in entries]
    print(f"{len(logged)} in the log, {len(committed)} in the database")
    if damage != [("ok",)]:
        return f"integrity_check: {damage}"
    for found in logged, committed:
        if not found or found != list(range(1, len(found) + 1)):
            return f"not 1, 2, ...: {found}"
    # One is in the log only, between the two.
    return "" if len(logged) - len(committed) in (0, 1) else "they do not agree"


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(*sys.argv[2:])
    if why := check(*sys.argv[2:]):
        sys.exit(f"WRONG: {why}")
