"""Token files that proxies are trained on: where they are, and whether they go together.

Belongs here: finding them, their tokenizer, their digests. Does not belong here: batches (`batches`), texts that are
scored (`rows`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import file_digest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer


@dataclass(frozen=True)
class Found:
    """What token files have in common, and the digest of each."""

    tokenizer: NamedTokenizer
    vocabulary: int
    token_bytes: Literal[2, 4]
    eos: int
    """The token that ends a document."""
    digests: Mapping[Path, str]


def examined(shards: Iterable[Path]) -> Found:
    """Look at all files that one training or comparison is made of. Cost: one pass over their bytes.

    Raises:
        CosmoError: they have different tokenizers, or tokens that are not in theirs.
    """
    every = list(shards)
    tokenizer = _tokenizer_of(every)
    vocabulary = 1 + max(tokenizer.tokenizer.get_vocab(with_added_tokens=True).values())
    digests = {shard: _checked(shard, vocabulary) for shard in sorted({*every})}
    if len({map_shard(shard).dtype for shard in every}) > 1:
        raise CosmoError(
            "some shards have tokens of two bytes, some of four", remedy="build all with the same version of Cosmo"
        )
    first = map_shard(every[0])
    eos = int(first[int(np.fromfile(f"{every[0]}.index", "<u8", count=1)[0]) - 1])
    return Found(tokenizer, vocabulary, 2 if first.dtype.itemsize == 2 else 4, eos, digests)


def shards_of(path: Path) -> list[Path]:
    """The token files of a corpus (its folder under the data root), of a folder, or the file itself, in order.

    Raises:
        CosmoError: there are none.
    """
    folder = CorpusStore(path).open("tokenized_shards").folder if (path / "tokenized_shards").is_dir() else path
    files = [folder] if folder.is_file() else sorted(folder.rglob("*.ds"))
    found = [shard for shard in files if shard.stat().st_size]
    for shard in found:
        for suffix in (".index", ".metadata"):
            if not Path(f"{shard}{suffix}").is_file():
                raise CosmoError(f"{shard}{suffix} is missing", remedy="copy it along, or build the shards again")
    if not found:
        raise CosmoError(
            f"{path}: there are no token files (.ds) that hold any",
            remedy="name a corpus, a folder of shards or a file",
        )
    return found


def _tokenizer_of(shards: Sequence[Path]) -> NamedTokenizer:
    """The tokenizer that lies beside the shards, the same for all."""
    found: dict[str, tuple[Path, NamedTokenizer]] = {}
    for folder in sorted({shard.parent for shard in shards}):
        beside = next((path for at in (folder, folder.parent) if (path := at / TOKENIZER_NAME).is_file()), None)
        if beside is None:
            raise CosmoError(
                f"{folder}: there is no {TOKENIZER_NAME}", remedy="copy that of the corpus beside its shards"
            )
        tokenizer = load_tokenizer(str(beside))
        found.setdefault(tokenizer.digest, (beside, tokenizer))
    if len(found) > 1:
        one, other, *_ = (str(path) for path, _ in found.values())
        raise CosmoError(
            f"{one} and {other} are different tokenizers",
            remedy="build all arms and held-out domains with the same one",
        )
    return next(iter(found.values()))[1]


def _checked(shard: Path, vocabulary: int) -> str:
    """The digest of a shard whose tokens are all in the vocabulary."""
    tokens = map_shard(shard)
    if len(tokens) and int(tokens.max()) >= vocabulary:
        raise CosmoError(
            f"{shard}: token {int(tokens.max())} is not in the tokenizer, which has {vocabulary}",
            remedy=f"put the {TOKENIZER_NAME} of these shards beside them",
        )
    return file_digest(shard)
