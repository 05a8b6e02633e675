"""Tests of this folder write in memory."""

from tests.unit.cosmo_resources.storage.memory_folder import tmp_path

__all__ = ["tmp_path"]
