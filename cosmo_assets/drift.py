"""Drift: what of an asset's content is counted, what it was before, and whether it has changed by more than chance.

Belongs here: counting a version's figure, the baseline that a new version is compared with, and the statistics. Does
not belong here: limits (`recipe.limits`), or checks (each stage's `checks`, by `reporting.drift_check`).

The baseline is written into `run` of the version that is being built (`Workspace.build`). So a check says the same
whenever it is computed: for a version that is materialized or adopted again, and after `cosmo gc` has removed the
version before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL, CorpusStore

KEY = "before"
"""Where the baseline stands in a manifest's `run`."""

CHANCE = 1e-3
"""Changes that chance makes more often than this are none."""
BLOCKING_CHANCE = 1e-6
"""The same where a check stops a run: a corpus has a thousand buckets."""

MAX_OTHERS = 32
"""Other buckets that a bucket without an earlier version is compared with: more say hardly more, and cost a look."""


@dataclass(frozen=True)
class Counts:
    """A figure as it was counted: `parts` of `whole` units, by name.

    A list of parts may have been cut: a part that is not listed has at most `unlisted`. `design` is the design effect:
    how many times larger the variance of the sum of the parts is than that of independent units.
    """

    whole: int
    parts: Mapping[str, int]
    unlisted: int = 0
    design: float = 1.0

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Change:
    """What a figure is, and what it was: shares, except that `change` may be a distance. `before` is None where there
    is nothing to compare with; `chance` bounds the probability of such a change where nothing has changed."""

    now: float
    part: str = ""
    before: float | None = None
    change: float = 0.0
    chance: float = 1.0
    compared_with: str = "nothing: no earlier version, no other bucket"
    figures: Mapping[str, Any] = field(default_factory=dict)

    def exceeds(self, limit: float, chance: float = CHANCE) -> bool:
        return abs(self.change) > limit and self.chance < chance


Rule = Callable[[Counts, Counts], Change]


def _truncated(manifest: Manifest) -> Counts:
    return Counts(manifest.flow.rows_out, {"truncated": manifest.summary.get("finish_length", 0)})


def _openers(manifest: Manifest) -> Counts:
    """Only the commonest are listed: the others are no more frequent than the last of them."""
    parts = dict(manifest.summary["openers"])
    cut = sum(parts.values()) < manifest.flow.rows_in
    return Counts(manifest.flow.rows_in, parts, unlisted=min(parts.values()) if cut else 0)


def _contaminated(manifest: Manifest) -> Counts:
    """By benchmark, those included of which nothing was found."""
    dropped = {reason.removeprefix("contaminated_"): count for reason, count in manifest.flow.dropped.items()}
    return Counts(manifest.flow.rows_in, {row["benchmark"]: 0 for row in manifest.summary["benchmarks"]} | dropped)


def _duplicates(manifest: Manifest) -> Counts:
    """By method. A cluster of `s` documents gives `s - 1` duplicates at once: where clusters come independently, the
    variance of their sum is `sum((s - 1)^2)`, that of single documents `sum(s - 1)`."""
    parts = {row["method"]: row["removed"] for row in manifest.summary["methods"]}
    single, squared = (
        sum(count * (size - 1) ** power for size, count in manifest.summary["sizes"]) for power in (1, 2)
    )
    return Counts(manifest.flow.rows_in, parts, design=squared / single if single else 1.0)


def _seeds_by_topic(manifest: Manifest) -> Counts:
    """The seeds that are kept, by the topic of their cluster; clusters with one label are one topic."""
    parts: dict[str, int] = {}
    for row in manifest.summary["clusters"]:
        name = row["topic"] or f"no label (cluster {row['cluster']})"
        parts[name] = parts.get(name, 0) + row["kept"]
    return Counts(sum(parts.values()), parts)


def _tokens_by_topic(manifest: Manifest) -> Counts:
    """Tokens of one seed go together, whatever was made of it: what counts as independent is the seeds."""
    return Counts(manifest.summary["seeds"], manifest.summary["by"]["topic"])


COUNTED: Mapping[str, Callable[[Manifest], Counts]] = {
    "seed_topics": _seeds_by_topic,
    "generations": _truncated,
    "generation_quality": _openers,
    "decontaminated": _contaminated,
    "duplicate_clusters": _duplicates,
    "token_lineage": _tokens_by_topic,
}
"""The figure of each asset whose drift is watched."""


def counts(manifest: Manifest) -> Counts | None:
    """The figure of a version; None where the asset has none, the version is empty, or it is of a stage that counted
    otherwise."""
    try:
        found = COUNTED[manifest.asset](manifest)
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.whole and found.parts else None


def baseline(store: CorpusStore, asset: str, bucket: str) -> dict[str, Any] | None:
    """What a version that is about to be built is compared with, as plain fields: the figure of the version that it
    takes the place of. A bucket without one is compared with the other buckets, of which each is an unbiased sample.

    Cost: one manifest, or up to `MAX_OTHERS`.
    """
    if asset not in COUNTED:
        return None
    earlier = store.current_manifest(asset, bucket)
    if earlier is not None and (found := counts(earlier)) is not None:
        return {"of": f"version {earlier.version}", **asdict(found)}
    others: list[Counts] = []
    for name in store.buckets(asset) if bucket != ALL else ():
        if name != bucket and len(others) < MAX_OTHERS and (other := store.current_manifest(asset, name)) is not None:
            others += [found] if (found := counts(other)) is not None else []
    named = f"{len(others)} other bucket{'s' if len(others) > 1 else ''}"
    return {"of": named, **asdict(pooled(others))} if others else None


def pooled(found: Sequence[Counts]) -> Counts:
    """Several counts as one. A part that some of them do not list is taken for as frequent there as it can be."""
    names = sorted({name for one in found for name in one.parts})
    return Counts(
        sum(one.whole for one in found),
        {name: sum(one.parts.get(name, one.unlisted) for one in found) for name in names},
        sum(one.unlisted for one in found),
        max(one.design for one in found),
    )


def compare(manifest: Manifest, rule: Rule) -> Change | None:
    """The change of a version's figure since its baseline; None where the version has no figure."""
    now, before = counts(manifest), manifest.run.get(KEY)
    if now is None:
        return None
    if before is None:
        found = rule(now, now)
        return Change(found.now, found.part)
    found = rule(now, Counts(**{key: value for key, value in before.items() if key != "of"}))
    return Change(**{**vars(found), "compared_with": before["of"]})


def of_share(now: Counts, before: Counts) -> Change:
    """The share of all parts together, by Fisher's exact test (1935), which holds at any counts. Where units are not
    independent, numbers are divided by the design effect first (Rao and Scott 1992): by the larger of the two, for who
    has no cluster does not show how large they are."""
    share, share_before = (one.total / one.whole for one in (now, before))
    design = max(now.design, before.design)
    effective = [(round(one.total / design), round(one.whole / design)) for one in (now, before)]
    return Change(share, "", share_before, share - share_before, _fisher(*effective))


def of_parts_in_both(now: Counts, before: Counts) -> Change:
    """`of_share`, of the parts that both count: a benchmark that is looked for no more has not vanished."""
    both = now.parts.keys() & before.parts.keys()
    kept = [Counts(one.whole, {name: one.parts[name] for name in both}) for one in (now, before)]
    return of_share(kept[0], kept[1])


def of_commonest(now: Counts, before: Counts) -> Change:
    """The part whose share has risen most, by Fisher's exact test for each and Bonferroni's correction for all the
    parts that there may be: as many as there are units. What was not listed is taken for as frequent as it can be; a
    share that falls is no loss."""

    def risen(part: str) -> tuple[float, int, str]:
        share, share_before = now.parts[part] / now.whole, before.parts.get(part, before.unlisted) / before.whole
        return share - share_before, now.parts[part], part

    change, _, part = max(risen(part) for part in now.parts)
    counted = before.parts.get(part, before.unlisted)
    chance = now.whole * _fisher((now.parts[part], now.whole), (counted, before.whole)) if change > 0 else 1.0
    return Change(now.parts[part] / now.whole, part, counted / before.whole, change, min(1.0, chance))


def of_distribution(now: Counts, before: Counts) -> Change:
    """The total-variation distance between two distributions: half the sum of the differences of their shares. `now`
    and `before` are the shares of the part that differs most.

    Between samples of n and m units of one distribution p the distance is on average at most
    sum_i sqrt(p_i (1 - p_i) (1/n + 1/m)) / 2 (Jensen), and exceeds that by t with a probability of at most
    exp(-2 t^2 / (1/n + 1/m)) (McDiarmid 1989: one unit moves it by 1/n or 1/m at most). p is estimated from both.
    """
    names = sorted(now.parts.keys() | before.parts.keys())
    shares = [tuple(one.parts.get(name, 0) / max(one.total, 1) for one in (now, before)) for name in names]
    rough, units = 1 / now.whole + 1 / before.whole, now.whole + before.whole
    both = [(share * now.whole + share_before * before.whole) / units for share, share_before in shares]
    distance = sum(abs(share - share_before) for share, share_before in shares) / 2
    by_chance = sum(math.sqrt(share * (1 - share) * rough) for share in both) / 2
    chance = math.exp(-2 * max(0.0, distance - by_chance) ** 2 / rough)
    (share, share_before), part = max(
        zip(shares, names, strict=True), key=lambda row: (abs(row[0][0] - row[0][1]), row[0][0])
    )
    return Change(share, part, share_before, distance, chance, figures={"distance by chance": round(by_chance, 4)})


def _fisher(now: tuple[int, int], before: tuple[int, int]) -> float:
    """Two-sided."""
    from scipy.stats import fisher_exact  # not where datasets are built: it takes longer than the rest together

    table = [[part, whole - part] for part, whole in (now, before)]
    return float(fisher_exact(table).pvalue)
