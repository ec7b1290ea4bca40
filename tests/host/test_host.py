# SPDX-License-Identifier: LGPL-2.1-or-later
"""The cases of host-tests, each in its own process, on filesystems made for them.

--fs TYPE, --case NAME, --guardian FILE and --library FILE restrict or change what runs. Also runs
in the virtual machine, where LIBFREEZE_FLAVOUR says what the kernel must be able to do."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import unavailable
from tests.support import volumes
from tests.support.paths import BUILD, GUARDIAN
from tests.support.process import Program, must
from tests.support.tap import Reader

PROGRAM = BUILD / "tests/host/host-tests"
CASE_TIMEOUT = 90  # seconds; the slowest case takes 10


def cases_of(kind: str, only: list[str]) -> list[str]:
    if not PROGRAM.exists():
        raise pytest.UsageError(
            f"{PROGRAM} is not built: run meson compile, or set LIBFREEZE_BUILD"
        )
    command: list[str | Path] = [PROGRAM, "--list-tests", "--verbosity", "quiet"]
    if kind != "btrfs":
        command.append("~[btrfs]")
    cases = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.splitlines()
    if unknown := set(only) - set(cases):
        raise pytest.UsageError(f"{PROGRAM} has no such case for {kind}: {', '.join(unknown)}")
    return [case for case in cases if not only or case in only]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kinds = metafunc.config.getoption("--fs") or ["ext4", "xfs", "btrfs"]
    if unknown := set(kinds) - set(volumes.SIZES):
        raise pytest.UsageError(f"not a filesystem for this suite: {', '.join(unknown)}")
    only = metafunc.config.getoption("--case")
    points = [(kind, case) for kind in kinds for case in cases_of(kind, only)]
    metafunc.parametrize(
        ("environment", "case"),
        points,
        ids=[f"{kind}: {case}" for kind, case in points],
        indirect=["environment"],
        scope="session",
    )


@pytest.fixture(scope="session")
def environment(request: pytest.FixtureRequest, work: Path) -> Iterator[Mapping[str, str]]:
    """Describes a mounted volume, and a device with another filesystem, to the cases."""
    kind = request.param
    if why := volumes.why_no_filesystem(kind):
        unavailable(why)
    volume = volumes.Volume(work, kind, b"mount point")
    spare = volumes.make_loop(work / f"{kind}-spare.img", volumes.SIZES[kind])
    must(*volumes.MAKE[kind], spare)
    library = request.config.getoption("--library")
    yield {
        **({"LD_PRELOAD": library} if library else {}),
        **volumes.library_environment(work, request.config.getoption("--guardian") or GUARDIAN),
        "LIBFREEZE_TEST_TYPE": kind,
        "LIBFREEZE_TEST_MOUNTPOINT": os.fsdecode(volume.mountpoint),
        "LIBFREEZE_TEST_DEVICE": volume.device,
        "LIBFREEZE_TEST_SPARE_DEVICE": spare,
    }
    volumes.unmount_below(work)
    volume.detach()
    must("losetup", "-d", spare)


def test(environment: Mapping[str, str], case: str, work: Path) -> None:
    pattern = case.replace(",", r"\,")
    program = Program(PROGRAM, "--reporter", "tap-cases", pattern, env=environment)
    result = program.finish(CASE_TIMEOUT)
    left_frozen = volumes.thaw_below(work)
    assert result.status is not None, f"given up after {CASE_TIMEOUT} s: {result.text}"
    assert not left_frozen, f"left frozen: {left_frozen}; {result}"
    reader = Reader()
    for line in result.text.splitlines():
        reader.feed(line)
    reader.finish(result.status)
    assert not reader.failures, str(result)
    assert reader.points == 1, str(result)
    if reader.skips:
        pytest.skip(reader.skips[0].diagnostics[0])
