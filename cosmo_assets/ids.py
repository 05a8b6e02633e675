"""Identity: how seeds, prompts and documents get their ids, and how a choice is drawn from ids instead of a generator.

Belongs here: what goes into each id, the bucket of a prompt, uniform draws. Does not belong here: the hash function
(`cosmo_resources.storage.digest`).
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from cosmo_resources.storage.digest import canonical_json, digest

_MAX = float(1 << 53)


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
    return digest("prompt", seed, template, template_version, audience, format, canonical_json(choices), text)


def doc_id(*, prompt: str, model: str, revision: str, sampling: Mapping[str, Any], sample_index: int) -> str:
    """Id of a generated document: its prompt, the model and its revision, the sampling parameters, which sample."""
    return digest("doc", prompt, model, revision, canonical_json(sampling), str(sample_index))


def request_seed(document: str) -> int:
    """The sampling seed of a request (31 bits), drawn from the document's id."""
    return int(digest("request", document)[:8], 16) & 0x7FFFFFFF


def bucket_of(prompt: str, n_buckets: int) -> str:
    """The bucket of a prompt: its id modulo the number of buckets, so each bucket is an unbiased sample."""
    return bucket_name(int(prompt, 16) % n_buckets)


def bucket_name(index: int) -> str:
    return f"b{index:03d}"


def uniform(*parts: str) -> float:
    """A number in [0, 1) drawn from ids: the same on any machine, in any order, in any number of workers."""
    return (int(digest("draw", *parts)[:14], 16) >> 3) / _MAX
