"""Fixtures that more than one folder of tests needs."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.corpora import ROOT
from tests.doubles.replay_server import ReplayServer, replaying

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a script began the tests with `&`: their children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def replay() -> Iterator[ReplayServer]:
    with replaying() as server:
        yield server


@pytest.fixture
def samples(samples_folder: Path) -> Path:
    """The folder of shared sample data, or a skip."""
    return samples_folder


@pytest.fixture(scope="session")
def samples_folder() -> Path:
    folder = Path(os.environ.get("COSMO_SAMPLES") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no sample data: neither COSMO_SAMPLES is set nor does {folder} exist")
    return folder
