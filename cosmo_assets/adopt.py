"""Adoption: what lies on disk, told to a Dagster instance that does not know it.

Belongs here: rebuilding Dagster's record from manifests. Does not belong here: making anything.
"""

import dagster as dg

from cosmo_assets.partitions import buckets
from cosmo_assets.recipe import Recipe
from cosmo_assets.reporting import Show, metadata_of
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore

DATA_VERSION_TAG = "dagster/data_version"


def adopt(recipe: Recipe, store: CorpusStore, instance: dg.DagsterInstance) -> tuple[list[Manifest], list[CosmoError]]:
    """Report every current manifest that the instance does not hold at that version. Buckets that the recipe does not
    have (any more) are left alone.

    Returns: the manifests that were reported, and the errors of those that are damaged.
    """
    adopted: list[Manifest] = []
    damaged: list[CosmoError] = []
    for asset in store.assets():
        for bucket in (ALL, *buckets(recipe).get_partition_keys()):
            try:
                dataset = store.current(asset, bucket)
            except CosmoError as error:
                damaged.append(error)
                continue
            if dataset is None or _known(instance, dataset.manifest):
                continue
            manifest = dataset.manifest
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    asset_key=asset,
                    partition=None if bucket == ALL else bucket,
                    metadata=metadata_of(manifest, Show()),
                    tags={DATA_VERSION_TAG: manifest.version},
                )
            )
            adopted.append(manifest)
    return adopted, damaged


def _known(instance: dg.DagsterInstance, manifest: Manifest) -> bool:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(manifest.asset),
            asset_partitions=None if manifest.bucket == ALL else [manifest.bucket],
        ),
        limit=1,
    ).records
    materialization = records[0].asset_materialization if records else None
    return materialization is not None and (materialization.tags or {}).get(DATA_VERSION_TAG) == manifest.version
