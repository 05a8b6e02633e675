"""Drift: a planted change is found, and two samples of the same are called drift no more often than stated."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from cosmo_assets import drift
from cosmo_assets.decontamination.checks import CHECKS
from cosmo_assets.drift import Counts, Rule, of_commonest, of_distribution, of_share
from cosmo_assets.reporting import Check, drift_check
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.manifest import Flow, Manifest
from cosmo_resources.storage.store import ALL, CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from tests.unit.cosmo_assets.synthetic import recipe

PAIRS = 1000
Sampler = Callable[[np.random.Generator, int], Counts]


def shares(rate: float) -> Sampler:
    return lambda draw, whole: Counts(whole, {"truncated": int(draw.binomial(whole, rate))})


def listed(kinds: int, top: int = 20) -> Sampler:
    """Openers by Zipf's law, of which the commonest are listed."""
    weights = 1 / np.arange(1, kinds + 1)

    def sample(draw: np.random.Generator, whole: int) -> Counts:
        found = Counter(draw.choice(kinds, whole, p=weights / weights.sum()).tolist()).most_common(top)
        parts = {f"opener {number}": count for number, count in found}
        return Counts(whole, parts, min(parts.values()) if sum(parts.values()) < whole else 0)

    return sample


def topics(kinds: int) -> Sampler:
    weights = np.random.default_rng(1).dirichlet(np.full(kinds, 0.7))

    def sample(draw: np.random.Generator, whole: int) -> Counts:
        found = draw.multinomial(whole, weights)
        return Counts(whole, {f"topic {number}": int(count) for number, count in enumerate(found) if count})

    return sample


def clusters(rate: float) -> Sampler:
    """Duplicates in clusters that come independently, some of them large."""

    def sample(draw: np.random.Generator, whole: int) -> Counts:
        sizes = 2 + draw.geometric(0.2, draw.poisson(rate * whole))
        return drift.counts(duplicates(whole, sizes.tolist())) or Counts(whole, {"minhash": 0})

    return sample


def duplicates(whole: int, sizes: Sequence[int]) -> Manifest:
    summary = {
        "methods": [{"method": "minhash", "removed": sum(size - 1 for size in sizes)}],
        "sizes": sorted(Counter(sizes).items()),
    }
    return manifest_of("duplicate_clusters", whole, whole, summary)


def manifest_of(asset: str, rows_in: int, rows_out: int, summary: Mapping[str, Any], **dropped: int) -> Manifest:
    flow = Flow(unit="documents", rows_in=rows_in, rows_out=rows_out, dropped=dropped)
    return Manifest.model_construct(
        asset=asset, bucket="b000", flow=flow, summary=dict(summary), run={}, files=(), version="now"
    )


NULLS: Mapping[str, tuple[Rule, Sampler]] = {
    "truncation": (of_share, shares(0.03)),
    "hardly_any_contamination": (of_share, shares(0.002)),
    "duplicates_in_clusters": (of_share, clusters(0.01)),
    "openers": (of_commonest, listed(300)),
    "few_openers": (of_commonest, listed(8)),
    "topics": (of_distribution, topics(40)),
    "many_topics": (of_distribution, topics(400)),
}


@pytest.mark.parametrize("sizes", [(40, 40), (60, 1500), (3000, 3000)], ids=str)
@pytest.mark.parametrize("name", NULLS)
def test_two_samples_of_the_same_differ_no_more_often_than_by_chance(name: str, sizes: tuple[int, int]) -> None:
    """A thousand pairs each, without a limit: what is left is the test of chance alone."""
    rule, sample = NULLS[name]
    draw = np.random.default_rng([len(name), *sizes])
    found = [rule(*(sample(draw, size) for size in sizes)) for _ in range(PAIRS)]
    for nominal in (0.05, drift.CHANCE):
        red = sum(change.exceeds(0, nominal) for change in found)
        assert red <= binom.ppf(0.999, PAIRS, nominal), f"{red} of {PAIRS} at {nominal}"


def test_clusters_taken_for_single_documents_would_flap() -> None:
    """What the design effect is for: without it, the same pairs are called drift too often."""
    sample = clusters(0.01)
    draw = np.random.default_rng(3)
    pairs = [[sample(draw, 3000) for _ in range(2)] for _ in range(200)]
    bare = [[Counts(one.whole, one.parts) for one in pair] for pair in pairs]
    wrong, right = (sum(of_share(*pair).exceeds(0, 0.05) for pair in found) for found in (bare, pairs))
    assert wrong > 5 * 0.05 * 200
    assert right <= binom.ppf(0.999, 200, 0.05)


def planted(counts: Counts, part: str, count: int) -> Counts:
    return Counts(counts.whole, {**counts.parts, part: count}, counts.unlisted, counts.design)


@pytest.mark.parametrize(
    ("rule", "now", "before", "change", "part"),
    [
        (of_share, Counts(1000, {"a": 90}), Counts(1000, {"a": 20}), 0.07, ""),
        (of_share, Counts(1000, {"a": 0}), Counts(1000, {"a": 60}), -0.06, ""),
        (of_commonest, Counts(300, {"a": 60, "b": 9}, 2), Counts(3000, {"b": 80}, 20), 0.2 - 20 / 3000, "a"),
        (of_distribution, Counts(500, {"a": 300, "b": 200}), Counts(500, {"a": 100, "b": 400}), 0.4, "a"),
        (of_distribution, Counts(400, {"a": 400}), Counts(400, {"b": 400}), 1.0, "a"),
    ],
    ids=["more", "none_any_more", "new_opener", "shifted_topics", "other_topics"],
)
def test_a_planted_change_is_found(rule: Rule, now: Counts, before: Counts, change: float, part: str) -> None:
    found = rule(now, before)
    assert found.change == pytest.approx(change)
    if part:
        assert found.part in {part, "b"}
    assert found.exceeds(0.05)
    assert not found.exceeds(abs(change)), "a change is drift beyond the limit only"


@pytest.mark.parametrize(
    ("rule", "now", "before"),
    [
        (of_share, Counts(20, {"a": 4}), Counts(20, {"a": 1})),
        (of_commonest, Counts(20, {"a": 4, "b": 1}, 1), Counts(20, {"b": 1}, 1)),
        (of_distribution, Counts(20, {"a": 12, "b": 8}), Counts(20, {"a": 6, "b": 14})),
    ],
    ids=["share", "openers", "topics"],
)
def test_what_chance_does_among_a_few_is_no_drift(rule: Rule, now: Counts, before: Counts) -> None:
    found = rule(now, before)
    assert abs(found.change) > 0.1
    assert not found.exceeds(0.1)


def test_an_opener_that_was_not_listed_is_taken_for_as_common_as_it_can_be() -> None:
    now = Counts(1000, {"a": 100})
    assert not of_commonest(now, Counts(1000, {"b": 120}, unlisted=95)).exceeds(0.004)
    assert of_commonest(now, Counts(1000, {"b": 120}, unlisted=2)).exceeds(0.004)


def test_an_opener_that_is_rarer_than_it_was_is_no_drift() -> None:
    assert not of_commonest(Counts(1000, {"a": 10}), Counts(1000, {"a": 500})).exceeds(0)


def test_figures_are_counted_from_manifests() -> None:
    assert drift.counts(manifest_of("generations", 12, 10, {"finish_length": 3})) == Counts(10, {"truncated": 3})
    assert drift.counts(manifest_of("generations", 12, 10, {})) == Counts(10, {"truncated": 0})
    openers = {"openers": [["once upon a", 5], ["it was", 2]]}
    assert drift.counts(manifest_of("generation_quality", 9, 9, openers)) == Counts(9, dict(openers["openers"]), 2)  # type: ignore[arg-type]
    assert drift.counts(manifest_of("generation_quality", 7, 7, openers)) == Counts(7, dict(openers["openers"]), 0)  # type: ignore[arg-type]
    benchmarks = {"benchmarks": [{"benchmark": "mmlu"}, {"benchmark": "arc"}]}
    contaminated = drift.counts(manifest_of("decontaminated", 50, 48, benchmarks, contaminated_mmlu=2))
    assert contaminated == Counts(50, {"mmlu": 2, "arc": 0})
    # two clusters of 2 and one of 5: 6 duplicates, of a variance of 1 + 1 + 16
    assert drift.counts(duplicates(100, [2, 2, 5])) == Counts(100, {"minhash": 6}, design=3.0)
    labels = [("a", 3), ("b", 4), ("a", 5), (None, 1)]
    rows = [{"cluster": number, "topic": topic, "kept": kept} for number, (topic, kept) in enumerate(labels)]
    seeds = drift.counts(manifest_of("seed_topics", 13, 13, {"clusters": rows}))
    assert seeds == Counts(13, {"a": 8, "b": 4, "no label (cluster 3)": 1})
    tokens = {"seeds": 4, "by": {"topic": {"a": 900, "b": 100}}}
    assert drift.counts(manifest_of("token_lineage", 9, 9, tokens)) == Counts(4, {"a": 900, "b": 100})


@pytest.mark.parametrize("asset", drift.COUNTED)
def test_an_empty_version_or_one_that_counted_otherwise_has_no_figure(asset: str) -> None:
    assert drift.counts(manifest_of(asset, 0, 0, {})) is None


GENERATIONS = Flow(unit="documents", rows_in=100, rows_out=100)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace(CorpusStore(tmp_path), recipe())


def build(space: Workspace, bucket: str, truncated: int, revision: str = "1") -> Manifest:
    def produce(writer: DatasetWriter) -> None:
        writer.flow("documents", 1000, 1000)
        writer.summary = {"finish_length": truncated, "revision": revision}

    params = {"revision": revision}
    return space.build("generations", produce, stage_version="1", inputs=(), params=params, bucket=bucket)


TRUNCATION = drift_check("truncation_drift", "It stays.", of_share, "max_truncation_drift")


def test_a_version_is_compared_with_the_one_that_it_takes_the_place_of(space: Workspace) -> None:
    first = build(space, "b000", 20)
    passed, shown = TRUNCATION.test(first, space.recipe)
    assert passed
    assert (shown["now"], "before" in shown) == (0.02, False)
    assert "no earlier version" in shown["compared with"]
    second = build(space, "b000", 150, "2")
    passed, shown = TRUNCATION.test(second, space.recipe)
    assert not passed
    assert (shown["now"], shown["before"], shown["change"]) == (0.15, 0.02, 0.13)
    assert shown["compared with"] == f"version {first.version}"
    third = build(space, "b000", 152, "3")
    assert TRUNCATION.test(third, space.recipe)[0], "as the second"


def test_materializing_again_says_the_same_and_so_does_a_store_without_the_version_before(space: Workspace) -> None:
    build(space, "b000", 20)
    drifted = build(space, "b000", 150, "2")
    again = build(space, "b000", 150, "2")
    assert again == drifted
    for folder in space.store.place("generations", "b000").iterdir():
        if folder.name not in {drifted.version, "CURRENT", ".work"}:
            for path in folder.iterdir():
                path.unlink()
    current = space.store.open("generations", "b000").manifest
    assert TRUNCATION.test(current, space.recipe) == TRUNCATION.test(drifted, space.recipe)
    back = build(space, "b000", 20)
    assert back.run[drift.KEY]["of"] == f"version {drifted.version}", "it was gone, and is built anew"


def test_a_bucket_without_an_earlier_version_is_compared_with_the_others(space: Workspace) -> None:
    build(space, "b000", 20)
    build(space, "b001", 24)
    same = build(space, "b002", 25)
    assert same.run[drift.KEY] == {
        "of": "2 other buckets",
        "whole": 2000,
        "parts": {"truncated": 44},
        "unlisted": 0,
        "design": 1.0,
    }
    assert TRUNCATION.test(same, space.recipe)[0]
    assert not TRUNCATION.test(build(space, "b003", 130), space.recipe)[0]
    whole = build(space, ALL, 500)
    assert drift.KEY not in whole.run, "no bucket is a version of the whole"


def test_the_baseline_is_no_part_of_a_version(space: Workspace, tmp_path: Path) -> None:
    build(space, "b000", 20)
    second = build(space, "b000", 150, "2")
    elsewhere = Workspace(CorpusStore(tmp_path / "elsewhere"), space.recipe)
    assert build(elsewhere, "b000", 150, "2").version == second.version


def test_pooled_buckets_count_what_they_do_not_list() -> None:
    found = drift.pooled([Counts(10, {"a": 4}, 1), Counts(20, {"b": 6}, 2, 3.0)])
    assert found == Counts(30, {"a": 6, "b": 7}, 3, 3.0)


STILL_FOUND = next(check for check in CHECKS if check.name == "still_found")


def decontaminated(removed: Mapping[str, int], before: Mapping[str, int] | None, whole: int = 2000) -> Manifest:
    dropped = {f"contaminated_{name}": count for name, count in removed.items() if count}
    rows = [{"benchmark": name} for name in removed]
    found = manifest_of("decontaminated", whole, whole - sum(dropped.values()), {"benchmarks": rows}, **dropped)
    if before is not None:
        earlier = {"of": "version 0", "whole": whole, "parts": dict(before), "unlisted": 0, "design": 1.0}
        return found.model_copy(update={"run": {drift.KEY: earlier}})
    return found


@pytest.mark.parametrize(
    ("removed", "before", "passes"),
    [
        ({"mmlu": 0}, {"mmlu": 60}, False),
        ({"mmlu": 1}, {"mmlu": 60}, True),
        ({"mmlu": 0}, {"mmlu": 8}, True),
        ({"mmlu": 0}, None, True),
        ({"mmlu": 0}, {"mmlu": 0, "arc": 60}, True),
        ({"mmlu": 0, "arc": 30}, {"mmlu": 60}, False),
    ],
    ids=["vanished", "one_is_left", "by_chance", "first", "not_searched_any_more", "a_new_one_hides_nothing"],
)
def test_contamination_that_vanishes_blocks(
    removed: Mapping[str, int], before: Mapping[str, int] | None, passes: bool
) -> None:
    assert STILL_FOUND.blocking
    assert STILL_FOUND.test(decontaminated(removed, before), recipe())[0] is passes


def test_a_recipe_may_expect_no_contamination() -> None:
    limits = recipe().limits.model_copy(update={"min_contaminated": 0.0})
    vanished = decontaminated({"mmlu": 0}, {"mmlu": 60})
    assert STILL_FOUND.test(vanished, recipe().model_copy(update={"limits": limits}))[0]
    drifts: Check = next(check for check in CHECKS if check.name == "contamination_drift")
    assert not drifts.test(vanished, recipe())[0]
    assert not drifts.blocking
