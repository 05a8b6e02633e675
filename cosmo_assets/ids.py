"""Identity: how seeds, prompts and documents get their ids, and how a choice is drawn from ids instead of a generator.

Belongs here: what goes into each id, the bucket of a prompt, uniform draws. Does not belong here: the hash function
(`cosmo_resources.storage.digest`).
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cosmo_resources.storage.digest import DIGEST_BYTES, canonical_json, digest, framed

Numbers = npt.NDArray[np.uint64]
Digests = npt.NDArray[np.uint8]

_MAX = float(1 << 53)
_NIBBLE = np.array(
    [int(chr(byte), 16) if chr(byte) in "0123456789abcdef" else 255 for byte in range(256)], dtype=np.uint8
)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def normalized(text: str) -> str:
    """The text as far as identity is concerned: Unicode NFC, runs of white space as one space, ends stripped."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def seed_id(source: str, native_id: str, text: str) -> str:
    """Id of a seed document. Changed content under the same native id is another seed."""
    return digest("seed", source, native_id, normalized(text))


def prompt_id(
    *,
    seed: str,
    template: str,
    template_version: str,
    audience: str,
    format: str,
    choices: Mapping[str, Any],
    text: str,
) -> str:
    """Id of a rendered prompt: its seed, template and version, audience, format, every drawn choice, and the text."""
    fixed = (template, template_version, audience, format, canonical_json(choices))
    return hexadecimal(prompt_digests(fixed, [seed.encode()], [text.encode("utf-8", "surrogatepass")]))[0]


def prompt_digests(fixed: tuple[str, ...], seeds: Iterable[bytes], texts: Iterable[bytes]) -> Digests:
    """The ids of many prompts that agree in all but seed and text, as an array of bytes (n x 16).

    The hash of what they agree in is computed once and continued for each: what remains is one call into C per prompt.
    """
    begun = hashlib.blake2b(framed("prompt", *fixed), digest_size=DIGEST_BYTES)
    digests = bytearray()
    for seed, text in zip(seeds, texts, strict=True):
        state = begun.copy()
        state.update(b"%s%d:%s" % (seed, len(text), text))
        digests += state.digest()
    return np.frombuffer(bytes(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def doc_id(*, prompt: str, model: str, revision: str, sampling: Mapping[str, Any], sample_index: int) -> str:
    """Id of a generated document: its prompt, the model and its revision, the sampling parameters, which sample."""
    return digest("doc", prompt, model, revision, canonical_json(sampling), str(sample_index))


def request_seed(document: str) -> int:
    """The sampling seed of a request (31 bits), drawn from the document's id."""
    return int(digest("request", document)[:8], 16) & 0x7FFFFFFF


def bucket_of(prompt: str, n_buckets: int) -> str:
    """The bucket of a prompt: its id modulo the number of buckets, so each bucket is an unbiased sample."""
    return bucket_name(int(prompt, 16) % n_buckets)


def bucket_numbers(digests: Digests, n_buckets: int) -> npt.NDArray[np.int64]:
    """The numbers of the buckets of many prompts."""
    halves = digests.view(">u8").astype(np.uint64)
    high, low = halves[:, 0] % np.uint64(n_buckets), halves[:, 1] % np.uint64(n_buckets)
    step = np.uint64((1 << 64) % n_buckets)
    return ((high * step + low) % np.uint64(n_buckets)).astype(np.int64)


def bucket_name(index: int) -> str:
    return f"b{index:03d}"


def uniform(*parts: str) -> float:
    """A number in [0, 1) drawn from ids: the same on any machine, in any order, in any number of workers."""
    return (int(digest("draw", *parts)[:14], 16) >> 3) / _MAX


def hexadecimal(digests: Digests) -> list[str]:
    """Digests as ids: 32 hexadecimal digits each."""
    return [row.tobytes().decode("ascii") for row in hex_digits(digests)]


def hex_digits(digests: Digests) -> Digests:
    """The same as an array of digits (n x 32, ASCII)."""
    digits = np.empty((len(digests), 2 * DIGEST_BYTES), dtype=np.uint8)
    digits[:, 0::2] = _HEX[digests >> 4]
    digits[:, 1::2] = _HEX[digests & 15]
    return digits


def numbers_of(ids: pa.Array | pa.ChunkedArray) -> Numbers:
    """The last 64 bits of many ids (32 hexadecimal digits each): numbers to draw from."""
    return _numbers(_digits(ids)[:, DIGEST_BYTES:])[:, 0]


def halves_of(ids: pa.Array | pa.ChunkedArray) -> Numbers:
    """Many ids as two numbers each (n x 2), the first 64 bits and the last: as they are ordered, so are the ids.

    Raises:
        ValueError: one of them has not 32 hexadecimal digits.
    """
    return _numbers(_digits(ids))


def ids_of(halves: Numbers) -> pa.Array:
    """The ids that `halves_of` has made numbers of, as strings."""
    digits = hex_digits(halves.astype(">u8").view(np.uint8).reshape(-1, DIGEST_BYTES))
    offsets = np.arange(0, digits.size + 1, 2 * DIGEST_BYTES, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(digits), pa.py_buffer(offsets), pa.py_buffer(digits))


def _digits(ids: pa.Array | pa.ChunkedArray) -> Digests:
    """The characters of ids, a row of 32 each."""
    found = ids.cast(pa.large_string())
    array = (
        pa.concat_arrays([pa.array([], pa.large_string()), *found.chunks])
        if isinstance(found, pa.ChunkedArray)
        else found
    )
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    if not len(array):
        return np.empty((0, 2 * DIGEST_BYTES), dtype=np.uint8)
    digits = np.frombuffer(array.buffers()[2], dtype=np.uint8)[offsets[0] : offsets[-1]]
    if not (np.diff(offsets) == 2 * DIGEST_BYTES).all():
        raise ValueError("ids have 32 hexadecimal digits")
    return digits.reshape(-1, 2 * DIGEST_BYTES)


def _numbers(digits: Digests) -> Numbers:
    nibbles = _NIBBLE[digits]
    if (nibbles > 15).any():
        raise ValueError("ids have 32 hexadecimal digits")
    numbers: Numbers = ((nibbles[:, 0::2] << 4) | nibbles[:, 1::2]).view(">u8").astype(np.uint64)
    return numbers


def uniforms(numbers: Numbers, *parts: str) -> npt.NDArray[np.float64]:
    """A draw in [0, 1) for each of many numbers that are hashes themselves, for the purpose that `parts` name: as
    `uniform`, but of arrays."""
    salt = np.uint64(int(digest("draws", *parts)[:16], 16))
    return (mixed(numbers ^ salt) >> np.uint64(11)).astype(np.float64) / _MAX


def gumbels(numbers: Numbers, *parts: str) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise for each of many numbers, drawn as `uniforms`. The k largest of log w + noise are a sample
    of k without replacement by the weights w (Yellott 1977; Kool et al. 2019)."""
    draws = np.maximum(uniforms(numbers, *parts), 0.5 / _MAX)
    return np.asarray(-np.log(-np.log(draws)))


def mixed(numbers: Numbers) -> Numbers:
    """Numbers whose bits are mixed, one to one (the finalizer of SplitMix64: Steele, Lea and Flood 2014, in Stafford's
    variant 13)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
