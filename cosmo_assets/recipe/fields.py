"""What the sections of a recipe are made of.

Belongs here: the base of all sections, and the types of fields that several of them have. Does not belong here: a
section.
"""

from typing import Annotated

import pydantic
from pydantic import Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]


class Section(pydantic.BaseModel):
    """Base of all parts of a recipe: immutable, unknown fields refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
