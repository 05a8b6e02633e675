"""The tokenizer that a GGUF file carries, as a `tokenizers.Tokenizer` and as a tokenizer.json on disk.

Belongs here: reading the vocabulary and merges of a GGUF of the SmolLM family, and writing the file that the
tokenization stage loads. Does not belong here: weights, chat templates, the tokenization of corpora.
"""

import os
from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from cosmo_resources.errors import CosmoError

PREFIX = "tokenizer.ggml."
FAMILY = ("gpt2", "smollm")
"""What a GGUF must say under tokenizer.ggml.model and .pre: byte-level BPE, split into individual digits first."""


def tokenizer_from_gguf(gguf_path: Path) -> Tokenizer:
    """The tokenizer of a SmolLM or SmolLM2 GGUF: byte-level BPE with individual digits; control tokens such as
    <|endoftext|>, <|im_start|> and <|im_end|> are special. Vocabulary of SmolLM2: 49,152. Reading takes about 3 s.

    Ids equal those of the engine (openvino-genai) but for one deliberate difference. The vocabulary has no token for
    the control characters U+0004, 06, 13, 14, 16 and 1D, nor for the unassigned planes from U+40000 to U+BFFFF. The
    engine reads such a byte as <|endoftext|>; here it is dropped, since in a corpus that token ends a document. All
    other text survives encoding and decoding unchanged (decode with skip_special_tokens=False).

    Raises CosmoError when the file is missing, is no GGUF, or carries a tokenizer of another family.
    """
    try:
        fields = gguf.GGUFReader(gguf_path).fields
    except (OSError, ValueError) as error:
        raise CosmoError(
            f"{gguf_path} cannot be read as GGUF: {error}", remedy="give the path of a complete .gguf file"
        ) from error

    def read(key: str) -> Any:
        field = fields.get(PREFIX + key)
        return None if field is None else field.contents()

    family = (read("model"), read("pre"))
    if family != FAMILY:
        raise CosmoError(
            f"{gguf_path} has a tokenizer of the family {family}, only {FAMILY} can be converted",
            remedy="use the tokenizer.json that the model was published with",
        )
    tokens: list[str] = read("tokens")
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in read("merges"))]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, read("token_type"), strict=True) if kind == gguf.TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer


def write_tokenizer_json(gguf_path: Path, target: Path) -> Path:
    """Writes the tokenizer of `gguf_path` to `target` as a tokenizer.json and returns `target`. The file appears
    whole or not at all, parents are made, and the same GGUF gives the same bytes. Raises as `tokenizer_from_gguf`."""
    text = tokenizer_from_gguf(gguf_path).to_str(pretty=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target
