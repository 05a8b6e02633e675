"""Demand for a shared pool: who still wants answers from it, on the shared file system.

Belongs here: the record that a client renews while it needs servers, and telling a live one from a dead one. Does not
belong here: what follows from it (`reconcile` starts servers, `agent` ends idle ones).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cosmo_resources.storage.files import replace_text
from cosmo_resources.storage.manifest import Frozen

TTL_SECONDS = 30.0


class Demand(Frozen):
    """`rows` are still to be answered. `beat` grows by one with each renewal: readers see that it moves, and compare no
    clocks of other machines."""

    name: str
    rows: int
    beat: int


class DemandWriter:
    """One client's record."""

    def __init__(self, folder: Path, name: str) -> None:
        self._path, self._name, self._beat = folder / f"{name}.json", name, 0

    def renew(self, rows: int) -> None:
        self._beat += 1
        replace_text(self._path, Demand(name=self._name, rows=rows, beat=self._beat).model_dump_json() + "\n")

    def withdraw(self) -> None:
        self._path.unlink(missing_ok=True)


@contextmanager
def demand(folder: Path, name: str) -> Iterator[DemandWriter]:
    """A demand that ends with the block."""
    writer = DemandWriter(folder, name)
    try:
        yield writer
    finally:
        writer.withdraw()


class DemandReader:
    """Sums the demands in a folder. One whose beat has not moved for `TTL_SECONDS` of this reader's own clock is that
    of a dead client, and is removed: one that was only slow writes it anew. At first sight a demand is taken to be
    alive."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self._seen: dict[str, tuple[int, float]] = {}
        self.renewed = False
        """Whether a beat was seen to move: somebody certainly wanted answers while this reader looked."""

    def rows(self) -> int | None:
        """Rows that are wanted by all live clients; None where there is no such client."""
        now, total, alive = self._clock(), 0, False
        found: dict[str, tuple[int, float]] = {}
        for path in sorted(self._folder.glob("*.json")):
            try:
                wanted = Demand.model_validate_json(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # withdrawn, or on its way
                continue
            beat, since = self._seen.get(path.name, (-1, now))
            self.renewed |= path.name in self._seen and beat != wanted.beat
            found[path.name] = (wanted.beat, since if beat == wanted.beat else now)
            if now - found[path.name][1] <= TTL_SECONDS:
                total, alive = total + wanted.rows, True
            else:
                path.unlink(missing_ok=True)
        self._seen = found
        return total if alive else None
