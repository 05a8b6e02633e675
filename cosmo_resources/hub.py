"""What a path of the Hugging Face hub names: a repository at a commit, never at whatever is there today.

Belongs here: reading such a path. Does not belong here: asking the hub (who needs something of it).
"""

import re
from dataclasses import dataclass

from cosmo_resources.errors import CosmoError

HUB = "hub:"
_PATH = re.compile(r"hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:@(?P<revision>\S*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class HubPath:
    """A repository of the Hugging Face hub at a commit."""

    name: str
    revision: str

    def __str__(self) -> str:
        return f"{HUB}{self.name}@{self.revision}"


def read_hub_path(path: str, where: str, *, kind: str) -> HubPath:
    """What a path that begins with `HUB` names; `where` is where it stands, `kind` what should be there.

    Raises:
        CosmoError: it names no repository, or no commit.
    """
    match = _PATH.fullmatch(path)
    if not match:
        raise CosmoError(f"{where}: {path!r} names no {kind} of the hub", remedy="write it as hub:owner/name@commit")
    if not _COMMIT.fullmatch(match["revision"] or ""):
        raise CosmoError(
            f"{where}: {path!r} names no commit: what it means could change from one day to the next",
            remedy=f"pin it: hub:{match['name']}@ and the 40 digits of a commit in the {kind}'s history",
        )
    return HubPath(match["name"], match["revision"])
