"""A wall clock that a test sets for some programs alone: `clock.c`, preloaded into them."""

import shutil
import struct
import subprocess
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class Clock:
    """The time of day of all programs with `environment`, shifted by what it was last set to."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = folder / "clock.so"
        subprocess.run([*_compiler(), "-shared", "-fPIC", "-O1", SOURCE, "-o", self._library], check=True)
        self._file.write_bytes(struct.pack("d", 0.0))

    @staticmethod
    def available() -> bool:
        """Whether there is a compiler for it."""
        return bool(_compiler())

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "COSMO_TEST_CLOCK": str(self._file)}

    def set(self, seconds: float) -> None:
        """Ahead of, or behind, the true time; at once. The file stays the same: programs have it in their memory."""
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("d", seconds))


@cache
def _compiler() -> list[str]:
    return [found] if (found := shutil.which("cc")) else []
