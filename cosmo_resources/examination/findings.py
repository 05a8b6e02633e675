"""What an examination says of one thing that it looked at.

Belongs here: the record. Does not belong here: examinations (`cosmo_resources.examination.cluster`, the doctor of
`cosmo_assets`), or showing what they found.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `bad` stops Cosmo from working, `warn` something that may."""

    subject: str
    state: Literal["ok", "warn", "bad"]
    detail: str
    remedy: str = ""
