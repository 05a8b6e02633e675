"""A folder in memory for tests that make many small files durable: on a busy disk each fsync takes its time."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In place of pytest's: gone after the test."""
    with tempfile.TemporaryDirectory(prefix="cosmo-test-", dir=MEMORY) as folder:
        yield Path(folder)
