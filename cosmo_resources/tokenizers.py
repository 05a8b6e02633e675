"""Tokenizers: where a tokenizer comes from, and its identity.

Belongs here: finding a tokenizer by name or path, offline, or in a repository of the hub. Does not belong here: what is
tokenized (the stages), or how a GGUF file holds its tokenizer (`inference.gguf_tokenizer`).
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tokenizers

from cosmo_resources.errors import CosmoError
from cosmo_resources.hub import HUB, HubPath, read_hub_path
from cosmo_resources.inference.gguf_tokenizer import tokenizer_from_gguf
from cosmo_resources.inference.models import EMBEDDED, find_model
from cosmo_resources.storage.digest import digest


@dataclass(frozen=True)
class NamedTokenizer:
    """A tokenizer with its name and the digest of its whole definition; `repository` is where the hub has it."""

    name: str
    digest: str
    tokenizer: tokenizers.Tokenizer
    repository: str = ""

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


@cache
def load_tokenizer(name: str) -> NamedTokenizer:
    """The embedded model's tokenizer by the name `smollm2-135m-instruct`, any by the path of its tokenizer.json, or
    that of a model of the Hugging Face hub by `hub:owner/name@commit`: this alone asks the network, once.

    Raises:
        CosmoError: there is no such tokenizer.
    """
    repository = ""
    if name == EMBEDDED:
        tokenizer = tokenizer_from_gguf(find_model(EMBEDDED))
    elif name.startswith(HUB):
        place = read_hub_path(name, "tokenization.tokenizer", kind="model")
        tokenizer, repository = _from_file(_fetched(place), name), place.name
    else:
        tokenizer = _from_file(name, name)
    tokenizer.no_padding()  # a file may bring both: texts are then counted as long as their neighbours, or as the limit
    tokenizer.no_truncation()
    label = name if name == EMBEDDED or repository else Path(name).parent.name or name
    return NamedTokenizer(label, digest(tokenizer.to_str()), tokenizer, repository)


def _from_file(path: str, name: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(path)
    except Exception as error:
        raise CosmoError(
            f"{name}: not a readable tokenizer.json: {error}",
            remedy=f"set tokenization.tokenizer in the recipe to {EMBEDDED}, to the path of a tokenizer.json, or to "
            "hub:owner/name@commit",
        ) from error


def _fetched(place: HubPath) -> str:
    """The tokenizer.json of a model of the hub: from the hub's cache on this machine, where it is there."""
    from huggingface_hub import hf_hub_download

    try:
        return str(hf_hub_download(place.name, "tokenizer.json", revision=place.revision))
    except Exception as error:
        detail = " ".join(str(error).split())[:500]
        raise CosmoError(
            f"{place}: its tokenizer.json cannot be fetched: {type(error).__name__}: {detail}",
            remedy="check name and commit, the network, HF_TOKEN for a gated model, and that HF_HUB_OFFLINE is not "
            "set; or download the file and name its path",
        ) from error
