"""Tokenizers: where a tokenizer comes from, and its identity.

Belongs here: finding a tokenizer by name or path, offline. Does not belong here: what is tokenized (the stages), or
how a GGUF file holds its tokenizer (`inference.gguf_tokenizer`).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tokenizers

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.gguf_tokenizer import tokenizer_from_gguf
from cosmo_resources.inference.models import EMBEDDED, find_model
from cosmo_resources.storage.digest import digest


@dataclass(frozen=True)
class NamedTokenizer:
    """A tokenizer with its name and the digest of its whole definition."""

    name: str
    digest: str
    tokenizer: tokenizers.Tokenizer

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


@cache
def load_tokenizer(name: str) -> NamedTokenizer:
    """The embedded model's tokenizer by the name `smollm2-135m-instruct`, or any by the path of its tokenizer.json.

    Raises:
        CosmoError: there is no such tokenizer.
    """
    if name == EMBEDDED:
        tokenizer = tokenizer_from_gguf(find_model(EMBEDDED))
    else:
        try:
            tokenizer = tokenizers.Tokenizer.from_file(name)
        except Exception as error:
            raise CosmoError(
                f"{name}: not a readable tokenizer.json: {error}",
                remedy=f"set tokenization.tokenizer in the recipe to {EMBEDDED} or to the path of a tokenizer.json",
            ) from error
    tokenizer.no_padding()  # a file may bring both: texts are then counted as long as their neighbours, or as the limit
    tokenizer.no_truncation()
    label = name if name == EMBEDDED else Path(name).parent.name or name
    return NamedTokenizer(label, digest(tokenizer.to_str()), tokenizer)
