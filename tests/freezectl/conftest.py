# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fixtures: freezectl, and filesystems to freeze."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.freezectl.freezectl import PROGRAM, SLOW_KERNEL, Freezectl, SlowKernel, Volumes
from tests.support import volumes as support
from tests.support.paths import GUARDIAN
from tests.support.process import run
from tests.support.volumes import Volume

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def all_tests(request: pytest.FixtureRequest) -> bool:
    """Whether all tests of this directory were selected."""
    config = request.config
    chosen = any(config.getoption(name) for name in ("keyword", "markexpr", "deselect"))
    files = {item.path for item in request.session.items}
    return not (
        chosen or any("::" in arg for arg in config.args) or {*HERE.glob("test_*.py")} - files
    )


@pytest.fixture(scope="session")
def tool(work: Path) -> Freezectl:
    for file in (PROGRAM, SLOW_KERNEL, GUARDIAN):
        if not file.exists():
            pytest.fail(
                f"{file} is not built: run meson compile, or set LIBFREEZE_BUILD", pytrace=False
            )
    os.environ.update(support.library_environment(work))
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:  # as in a background job of a shell
            signal.signal(number, signal.SIG_DFL)
    return Freezectl()


@pytest.fixture(scope="session")
def all_volumes(work: Path) -> Iterator[Volumes]:
    volumes = Volumes(work)
    try:
        yield volumes
    finally:
        volumes.destroy()


@pytest.fixture
def volumes(all_volumes: Volumes) -> Iterator[Volumes]:
    """A test must not leave anything frozen, or a guardian behind."""
    yield all_volumes
    left = all_volumes.thaw_all()
    guardians = all_volumes.guardians() if left else []
    all_volumes.end_guardians()
    assert not left, f"left frozen: {left}, guardians: {guardians}"


@pytest.fixture
def ext4(volumes: Volumes) -> Volume:
    return volumes.ext4


@pytest.fixture
def upper(volumes: Volumes) -> Iterator[Volume]:
    """A filesystem in an image file on the ext4 filesystem."""
    image = volumes.ext4.path / "image"
    device = support.make_loop(image, 16 * support.MIB)
    upper = Volume(volumes.work, "ext4", device=device)
    yield upper
    volumes.end_guardians()
    volumes.ext4.thaw()
    upper.destroy()
    run("losetup", "-d", device, seconds=20)
    image.unlink()


@pytest.fixture
def xfs(volumes: Volumes) -> Volume:
    if not shutil.which("mkfs.xfs"):
        pytest.skip("needs mkfs.xfs")
    return volumes.xfs


@pytest.fixture
def slow_kernel(work: Path) -> SlowKernel:
    return SlowKernel(work)
