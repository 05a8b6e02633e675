"""datatrove's own second and third step of MinHash deduplication, as a judge of which documents are near-duplicates."""

import contextlib
import io
import shutil
import struct
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from datatrove.pipeline.dedup.minhash import MinhashDedupBuckets, MinhashDedupCluster

from cosmo_assets.deduplication.minhash import band_name, configuration
from cosmo_assets.recipe import MinHashMethod


def datatrove_clusters(folders: Sequence[Path], method: MinHashMethod, work: Path) -> list[list[tuple[int, int]]]:
    """Groups of near-duplicates among the signatures in some folders, each a list of (folder, position)."""
    config = configuration(method)
    for band in range(method.bands):
        (work / "signatures" / f"bucket_{band:03d}").mkdir(parents=True)
        for rank, folder in enumerate(folders):
            shutil.copy(
                folder / band_name(band), work / "signatures" / f"bucket_{band:03d}" / f"{rank:05d}.minhash.sig"
            )
    buckets = MinhashDedupBuckets(str(work / "signatures"), str(work / "pairs"), config=config)
    for band in range(method.bands):
        buckets.run(None, rank=band, world_size=method.bands)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar cannot be switched off
        MinhashDedupCluster(str(work / "pairs"), str(work / "clusters"), config=config, save_cluster_id=True).run(
            None, 0, 1
        )
    members: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for path in sorted((work / "clusters").glob("*.clusters")):
        rank = int(path.name.split(".")[0])
        for position, cluster in struct.iter_unpack("<II", path.read_bytes()):
            members[cluster].append((rank, position))
    return list(members.values())
