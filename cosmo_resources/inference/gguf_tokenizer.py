"""The tokenizer that a GGUF file carries, as a `tokenizers.Tokenizer` and as a tokenizer.json on disk.

Belongs here: reading the vocabulary and merges of a GGUF of the SmolLM family, and writing the file that the
tokenization stage loads. Does not belong here: weights, chat templates, the tokenization of corpora.
"""

import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from cosmo_resources.errors import CosmoError

FAMILY = ("gpt2", "smollm")
"""What a GGUF must say under tokenizer.ggml.model and .pre: byte-level BPE, after single digits are split
off."""

CONTROL = 3
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
"""GGUF's codes: the token type of a control token; the types of metadata values, as `struct` spells them."""


def tokenizer_from_gguf(gguf: Path) -> Tokenizer:
    """The tokenizer of a SmolLM or SmolLM2 GGUF: byte-level BPE with individual digits; control tokens such
    as <|endoftext|>, <|im_start|> and <|im_end|> are special. SmolLM2 has a vocabulary of 49,152.

    Ids equal those of the engine (openvino-genai) but for one deliberate difference. The vocabulary has no
    token for the control characters U+0004, 06, 13, 14, 16 and 1D, nor for the unassigned planes from U+40000
    to U+BFFFF. The engine reads such a byte as <|endoftext|>; here it is dropped, since in a corpus that
    token ends a document. All other text survives encoding and decoding unchanged (with
    skip_special_tokens=False).

    Raises:
        CosmoError: the file is missing, is no GGUF, or carries a tokenizer of another family.
    """
    metadata = read_metadata(gguf)
    family = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if family != FAMILY:
        raise CosmoError(
            f"{gguf} has a tokenizer of the family {family}, only {FAMILY} can be converted",
            remedy="use the tokenizer.json that the model was published with",
        )
    tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def read_metadata(gguf: Path) -> Mapping[str, Any]:
    """The key-value section of a GGUF of version 2 or 3, without the tensors: numbers, strings and lists of
    them.

    Source: the GGUF specification in ggml's docs. The `gguf` package reads the same, in 4 s instead of .1 s.

    Raises:
        CosmoError: the file is missing, is no GGUF, or ends early.
    """
    try:
        with gguf.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            magic, version, _, count = struct.unpack_from("<4sIQQ", data)
            if magic != b"GGUF" or version not in {2, 3}:
                raise ValueError(f"it begins with {magic!r}, version {version}")
            metadata: dict[str, Any] = {}
            offset = struct.calcsize("<4sIQQ")
            for _ in range(count):
                key, offset = _value(data, STRING, offset)
                (kind,) = struct.unpack_from("<I", data, offset)
                metadata[key], offset = _value(data, kind, offset + 4)
            return metadata
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise CosmoError(
            f"{gguf} cannot be read as GGUF: {error}", remedy="give the path of a complete .gguf file"
        ) from error


def _value(data: mmap.mmap, kind: int, offset: int) -> tuple[Any, int]:
    """One metadata value and the offset behind it."""
    if kind == STRING:
        (size,) = struct.unpack_from("<Q", data, offset)
        if offset + 8 + size > len(data):
            raise ValueError("it ends within its metadata")
        return data[offset + 8 : offset + 8 + size].decode("utf-8"), offset + 8 + size
    if kind == ARRAY:
        item, length = struct.unpack_from("<IQ", data, offset)
        offset += 12
        if item in SCALARS:
            layout = f"<{length}{SCALARS[item]}"
            return list(struct.unpack_from(layout, data, offset)), offset + struct.calcsize(layout)
        values = []
        for _ in range(length):
            value, offset = _value(data, item, offset)
            values.append(value)
        return values, offset
    layout = f"<{SCALARS[kind]}"
    return struct.unpack_from(layout, data, offset)[0], offset + struct.calcsize(layout)


def write_tokenizer_json(gguf: Path, target: Path) -> Path:
    """Writes the tokenizer of `gguf` to `target` as a tokenizer.json and returns `target`. The file
    appears whole or not at all, parents are made, and the same GGUF gives the same bytes. Raises as
    `tokenizer_from_gguf`."""
    text = tokenizer_from_gguf(gguf).to_str(pretty=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target
