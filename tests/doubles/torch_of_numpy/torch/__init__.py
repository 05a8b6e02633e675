"""The few functions of torch that datatrove's data sets call, done by numpy: for a process without torch."""

from typing import Any

import numpy as np

int = np.int32  # noqa: A001 - its name in torch
long = np.int64
as_tensor = tensor = np.asarray
ones = np.ones
cat = np.concatenate


def cumsum(values: Any, dim: Any) -> Any:
    return np.cumsum(values, axis=dim)
