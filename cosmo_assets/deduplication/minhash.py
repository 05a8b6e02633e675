"""Near-duplicates by MinHash, as datatrove finds them: signatures of one bucket, then clusters over all of them.

Belongs here: the method's configuration, and driving its steps on local folders. Does not belong here: how a text is
signed (`signer`), which documents are signed, and which one of a cluster survives (`stages`).

Method: MinHash LSH (Broder 1997) as configured for Cosmopedia: word 5-grams, 14 bands of 8 hashes; two documents of
similarity s share a band with probability 1 - (1 - s^8)^14.
"""

import contextlib
import io
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
)
from datatrove.utils.text import ngrams, simplify_text
from loguru import logger

from cosmo_assets.deduplication.signer import record_order, write_signatures
from cosmo_assets.recipe import Deduplication

logger.disable("datatrove")

Positions = npt.NDArray[np.int64]


def configuration(recipe: Deduplication) -> MinhashConfig:
    return MinhashConfig(
        n_grams=recipe.ngram, num_buckets=recipe.bands, hashes_per_bucket=recipe.rows, seed=recipe.seed
    )


def sign(texts: Iterable[str], recipe: Deduplication, folder: Path, rank: int) -> None:
    """Write the signatures of some texts to `folder/bucket_<band>/<rank>.minhash.sig`, sorted.

    A text with fewer words than the n-gram has no signature and no duplicates. Cost: linear in the text; memory: the
    signatures.
    """
    write_signatures(texts, configuration(recipe), folder, rank)


def signature_name(band: int) -> str:
    """The name of a band's signatures of one bucket of the corpus."""
    return f"bucket_{band:03d}.minhash.sig"


def renumber(parts: Sequence[tuple[Path, Positions]], recipe: Deduplication, target: Path) -> None:
    """Write the signatures of one band, gathered from several files, to `target`, in the order in which `sign` would
    have written them at once. Each file comes with the new position of each of its documents, -1 for those left out.

    Cost: reading and sorting the signatures, 68 bytes each at 8 hashes a band.
    """
    hashes = np.dtype(f"<{configuration(recipe).hash_config.struct_format}")
    kind = np.dtype([("hashes", hashes, (recipe.rows,)), ("position", "<u4")])
    gathered = []
    for path, positions in parts:
        records = np.fromfile(path, kind)
        moved = positions[records["position"]]
        records["position"] = np.maximum(moved, 0)
        gathered.append(records[moved >= 0])
    records = np.concatenate(gathered)
    records[record_order(records["hashes"], records["position"])].tofile(target)


def shingles(text: str, recipe: Deduplication) -> set[str]:
    """The word n-grams that a signature is made of."""
    words = simplify_text(text, configuration(recipe).norm_config).split()
    return {" ".join(gram) for gram in ngrams(words, recipe.ngram)}


def clusters(signatures: Path, recipe: Deduplication, work: Path) -> list[list[tuple[int, int]]]:
    """Groups of near-duplicates among all signatures under `signatures`, each a sorted list of (rank, position).

    The groups come sorted, whatever the number of ranks. Cost: linear in the signatures, plus their sorting.
    """
    config = configuration(recipe)
    buckets = MinhashDedupBuckets(str(signatures), str(work / "pairs"), config=config)
    for band in range(config.num_buckets):
        buckets.run(None, rank=band, world_size=config.num_buckets)
    found = work / "clusters"
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be switched off
        MinhashDedupCluster(str(work / "pairs"), str(found), config=config, save_cluster_id=True).run(None, 0, 1)
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for path in sorted(found.glob("*.clusters")):
        rank = int(path.name.split(".")[0])
        for position, cluster in struct.iter_unpack("<II", path.read_bytes()):
            members[cluster].append((rank, position))
    return sorted(sorted(group) for group in members.values())


def near_duplicate_groups(texts: Sequence[str], recipe: Deduplication, work: Path) -> list[list[int]]:
    """Groups of near-duplicates in one list of texts, as sorted positions."""
    sign(texts, recipe, work / "signatures", 0)
    return [[position for _, position in group] for group in clusters(work / "signatures", recipe, work)]
