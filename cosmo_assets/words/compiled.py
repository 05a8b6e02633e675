"""Compiled loops over texts: how a function is compiled, the arrays it takes, and reading UTF-8 in it.

Belongs here: what every module of compiled loops needs. Does not belong here: any loop over words (`hashing`, and the
rooms that compare texts).
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]
Points = npt.NDArray[np.uint32]
Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]

FunctionT = TypeVar("FunctionT", bound=Callable[..., object])


def compiled(function: FunctionT) -> FunctionT:
    """Compile a function when it is first called, for threads that run at once; the machine code is kept on disk."""
    return cast(FunctionT, numba.njit(cache=True, nogil=True, boundscheck=False)(function))


@compiled
def code_point(text: Bytes, at: int) -> tuple[np.int64, int]:
    """The code point that begins at a byte, and its length in bytes. The text is UTF-8."""
    first = np.int64(text[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, 3
    high = (first & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12
    return high | (np.int64(text[at + 2]) & 0x3F) << 6 | np.int64(text[at + 3]) & 0x3F, 4


def utf8(texts: pa.Array) -> tuple[Bytes, Offsets]:
    """The bytes of texts, and where each begins, without copying what is long. A null is an empty text."""
    texts = texts.fill_null("").cast(pa.large_string()) if texts.null_count else texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data or b"", np.uint8), starts
