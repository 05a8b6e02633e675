"""MinHash by datatrove itself: what the stages here are compared with, in what they find and in speed."""

import contextlib
import io
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.utils.word_tokenizers import WordTokenizer

from cosmo_assets.deduplication.minhash import band_name


class SimplifiedWords(WordTokenizer):  # type: ignore[misc] # datatrove has no types
    """Words of a text that datatrove has simplified already (lower case, no punctuation): what stands between spaces.
    datatrove's own English tokenizer needs spaCy and takes 95 % of a signature's time to find nearly the same words."""

    def __init__(self) -> None:
        super().__init__()

    def word_tokenize(self, text: str) -> list[str]:
        return text.split()

    def sent_tokenize(self, text: str) -> list[str]:
        return [text]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return [(0, len(text))]


def datatrove_signer(config: MinhashConfig, folder: Path, words: WordTokenizer | str) -> MinhashDedupSignature:
    return MinhashDedupSignature(str(folder), config=config, language=words)


def datatrove_sign(
    texts: Iterable[str], config: MinhashConfig, folder: Path, rank: int, words: WordTokenizer | str | None = None
) -> None:
    """Sign texts by their simplified words, or by those of another tokenizer or language."""
    documents = (Document(text=text, id=str(position)) for position, text in enumerate(texts))
    datatrove_signer(config, folder, words or SimplifiedWords()).run(documents, rank=rank)


def datatrove_pairs(signatures: Path, config: MinhashConfig, work: Path) -> None:
    """Pairs of texts that share a band, written to `work/pairs`."""
    step = MinhashDedupBuckets(str(signatures), str(work / "pairs"), config=config)
    for band in range(config.num_buckets):
        step.run(None, rank=band, world_size=config.num_buckets)


def datatrove_clusters(config: MinhashConfig, work: Path) -> list[list[tuple[int, int]]]:
    """Groups of texts connected by pairs, each a sorted list of (rank, position)."""
    step = MinhashDedupCluster(str(work / "pairs"), str(work / "clusters"), config=config, save_cluster_id=True)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be switched off
        step.run(None, 0, 1)
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for path in (work / "clusters").glob("*.clusters"):
        for position, cluster in struct.iter_unpack("<II", path.read_bytes()):
            members[cluster].append((int(path.name.split(".")[0]), position))
    return sorted(sorted(group) for group in members.values())


def gathered(folders: Sequence[Path], bands: int, target: Path) -> Path:
    """The signatures of some folders, one rank each, laid out as datatrove wants them."""
    for band in range(bands):
        (target / f"bucket_{band:03d}").mkdir(parents=True)
        for rank, folder in enumerate(folders):
            (target / f"bucket_{band:03d}" / f"{rank:05d}.minhash.sig").hardlink_to(folder / band_name(band))
    return target
