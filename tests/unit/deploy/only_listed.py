"""A sitecustomize that hides every package but those of a list, and says at the end which were used.

Copied as sitecustomize.py into a folder on PYTHONPATH, so that each process and its children begin with it.
COSMO_TEST_LISTED: distributions that may be imported; COSMO_TEST_USED: folder for what was.
"""

import atexit
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

OWN = "cosmo"


def normalized(name: str) -> str:
    return name.lower().replace("_", "-")


DISTRIBUTIONS = {
    module: {normalized(name) for name in names}
    for module, names in importlib.metadata.packages_distributions().items()
    if not module.startswith("__")  # the finder of an editable installation
}
BEFORE = set(sys.modules)
"""What the interpreter's own .pth files brought in."""

LISTED = {*os.environ["COSMO_TEST_LISTED"].split(), OWN}


class OnlyListed:
    """Modules of unlisted distributions do not exist; those of none at all are the standard library's or tests."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        owners = DISTRIBUTIONS.get(name.partition(".")[0], set())
        if owners and not owners & LISTED:
            raise ModuleNotFoundError(f"No module named {name!r} in the environment of workers", name=name)
        return None


@atexit.register
def tell() -> None:
    used = {owner for name in set(sys.modules) - BEFORE for owner in DISTRIBUTIONS.get(name.partition(".")[0], set())}
    place = Path(os.environ["COSMO_TEST_USED"])
    (place / f"{os.getpid()}.txt").write_text(" ".join(sorted(used - {OWN})), encoding="utf-8")


sys.meta_path.insert(0, OnlyListed())
