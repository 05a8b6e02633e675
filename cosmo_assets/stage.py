"""What every stage is given and how it builds: the workspace.

Belongs here: the few things that all stages share, without Dagster. Does not belong here: anything that only some of
them need; that comes as an argument of the stage's own function.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cosmo_assets import drift
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.tables import TABLES
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import frozen_mapping
from cosmo_resources.storage.earlier import Earlier, RowSource, all_params, find_earlier
from cosmo_resources.storage.manifest import InputRef, Manifest
from cosmo_resources.storage.provenance import Upstream
from cosmo_resources.storage.store import ALL, BuildPlan, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

FITTED = ("cluster_model", "language_model", "educational_labels")
"""What is fitted once, with `refit` in its run configuration: another fit is somebody's decision."""

PINNED = frozenset({*FITTED, "topic_labels"})
"""What new seeds leave as it is: they are assigned to it, or judged by it."""

Figures = Callable[[], Mapping[str, float | int | str]]
"""More about the work under way; asked for only when somebody is told."""

Asked = Mapping[str, Callable[[Recipe], Mapping[str, Any]]]
"""By asset, the parameters that its current versions must have been built with: all of them, or some."""


def silent(done: int, total: int, unit: str, figures: Figures = dict) -> None:
    """The progress sink that tells nobody."""


class Progress(Protocol):
    """Who is told about progress; the receiver throttles."""

    def __call__(self, done: int, total: int, unit: str, figures: Figures = dict) -> None: ...


@dataclass(frozen=True)
class Workspace:
    """A corpus at work: its store, its recipe, who runs it, and whom to tell about progress."""

    store: CorpusStore
    recipe: Recipe
    run_id: str = ""
    progress: Progress = field(default=silent)
    asked: Asked = field(default_factory=dict)
    """What is asked of the datasets behind what is built (see `cosmo_assets.agreement`)."""

    def build(
        self,
        asset: str,
        produce: Callable[[DatasetWriter], None],
        *,
        stage_version: str,
        inputs: tuple[InputRef, ...],
        params: Mapping[str, Any],
        bucket: str = ALL,
        fresh: Callable[[Manifest], bool] = lambda manifest: True,
        of_outdated: bool = False,
    ) -> Manifest:
        """Build an asset's bucket once (see `CorpusStore.build`). `params` is the part of the recipe that the stage's
        output depends on: whatever it leaves out cannot make the stage run again.

        Raises:
            CosmoError: an input, or what it was made of, was made of something other than its current version: of other
                seeds, prompts or benchmarks; or it was made as another recipe asks. With `of_outdated`, the stage takes
                them as they are.
        """
        if not of_outdated:
            self._agree(asset, bucket, inputs)
        plan = BuildPlan(asset, stage_version, TABLES[asset], params, inputs, bucket)
        run = {"run_id": self.run_id, "recipe": self.recipe.digest, "buckets": self.recipe.buckets}
        if (before := drift.baseline(self.store, asset, bucket)) is not None:
            run[drift.KEY] = before
        return self.store.build(plan, produce, run=run, fresh=fresh)

    def _agree(self, asset: str, bucket: str, inputs: Sequence[InputRef]) -> None:
        upstream = Upstream(self.store, inputs, pinned=PINNED)
        remedy = "build what lies between first: `cosmo run` does it in order, and skips whatever is up to date"
        if found := upstream.outdated():
            maker, made_of, _ = found[0]
            others = len({each.dataset.asset for each in found} - {maker.asset})
            raise CosmoError(
                f"{_name(asset, bucket)}: {_name(maker.asset, maker.bucket)} was made of another version of "
                f"{made_of.asset} than the current one"
                + (f", and {others} more assets are outdated" if others else ""),
                remedy=remedy,
            )
        asked: dict[str, Mapping[str, Any]] = {}
        for manifest in upstream.manifests:
            if manifest.asset in self.asked and manifest.asset not in asked:
                asked[manifest.asset] = frozen_mapping(self.asked[manifest.asset](self.recipe))
            for key, value in asked.get(manifest.asset, {}).items():
                if manifest.params.get(key) != value:
                    raise CosmoError(
                        f"{_name(asset, bucket)}: {_name(manifest.asset, manifest.bucket)} was made with other {key} "
                        "than the recipe asks for",
                        remedy=remedy,
                    )

    def build_rows(
        self,
        asset: str,
        produce: Callable[[DatasetWriter, Earlier], None],
        *,
        key: str,
        sources: Sequence[RowSource],
        stage_version: str,
        inputs: tuple[InputRef, ...],
        params: Mapping[str, Any],
        fixed: tuple[InputRef, ...] = (),
        depends: Callable[[Mapping[str, Any]], Any] = all_params,
        bucket: str = ALL,
    ) -> Manifest:
        """`build` for a stage that makes each of its rows of one row of its sources: `produce` is also given the rows
        that an earlier version made of the same input in the same way, and says in `writer.reused_rows` how many of
        them it took over.

        `inputs` are those that are read row by row, each through `key` or an id that it is a hash of; `fixed` are those
        that every row depends on. `depends` picks what rows depend on of the params, where that is not all of them.
        What is taken over must be what would be computed: the version comes out the same either way.
        """
        everything = (*inputs, *fixed)
        plan = BuildPlan(asset, stage_version, TABLES[asset], params, everything, bucket)

        def with_earlier(writer: DatasetWriter) -> None:
            produce(writer, find_earlier(self.store, plan, key=key, sources=sources, fixed=fixed, depends=depends))

        return self.build(
            asset,
            with_earlier,
            stage_version=stage_version,
            inputs=everything,
            params=params,
            bucket=bucket,
        )


def _name(asset: str, bucket: str) -> str:
    return asset if bucket == ALL else f"{asset} of bucket {bucket}"
