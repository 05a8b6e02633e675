"""The parts of the report that are numbers: from the funnel to the licences.

Belongs here: what is counted, its tables and charts, and the sentence above them. Does not belong here: texts of the
corpus (`examples`), reading (`corpus`), HTML (`html`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from cosmo_assets.charts.bars import bars, stacked
from cosmo_assets.charts.curves import histogram
from cosmo_assets.charts.drawing import human
from cosmo_assets.mixture.nearness import Beside, beside, charts, optimum_of
from cosmo_assets.real.texts import DOCUMENTS
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.report.corpus import FUNNEL, Corpus, Section, scan
from cosmo_assets.report.html import Share, Table
from cosmo_assets.topics import mapping
from cosmo_resources.storage.store import Dataset

MAX_OPENERS = 12

STEPS = {
    "seed_documents": "Source rows become seeds",
    "prompt_table": "Seeds are taken for prompts",
    "generations": "Prompts are answered",
    "generation_quality": "Quality rules",
    "decontaminated": "Decontamination",
    "deduplicated": "Deduplication",
    "mixture": "Mixture",
    "tokenized_shards": "Tokenization",
    "token_lineage": "Token index",
}
ENDINGS = {"finish_stop": "ended by itself", "finish_length": "cut at the limit", "finish_none": "no answer"}

_TOKENS = (pl.col("end") - pl.col("start")).sum().alias("tokens")


def headline(corpus: Corpus) -> Section:
    seeds, asked = corpus.flow("seed_documents"), corpus.flow("generations").rows_in
    prompts, documents = corpus.summary("prompt_table"), corpus.flow("mixture").rows_out
    tokens = corpus.summary("token_lineage")["tokens"]
    sizes = [size for _, size in corpus.summary("tokenized_shards")["shards"]]
    kept, copies = documents / asked, corpus.flow("tokenized_shards").rows_out
    tiles = (
        ("Seeds", human(seeds.rows_out), f"of {seeds.rows_in:,} source rows"),
        ("Prompts", human(prompts["prompts"]), f"from {len(prompts['counts']['template'])} templates"),
        ("Documents", human(documents), f"of {asked:,} asked for"),
        ("Tokens", human(tokens), f"{tokens / copies:,.0f} to a document"),
        ("Shards", human(len(sizes)), f"the largest of {human(max(sizes), 'tokens')}"),
        ("Kept", human(kept, "%"), "of the documents asked for"),
    )
    figures = {
        "seeds": seeds.rows_out,
        "prompts": prompts["prompts"],
        "documents": documents,
        "tokens": tokens,
        "shards": len(sizes),
        "share_kept": round(kept, 6),
    }
    return Section("headline", {"tiles": tiles}, figures=figures)


def funnel(corpus: Corpus) -> Section:
    rows: list[tuple[object, ...]] = []
    figures: dict[str, float] = {}
    for stage in corpus.funnel():
        asset, flow = stage.asset, stage.flow
        kept = Share(flow.rows_out / flow.rows_in) if flow.rows_in else None
        lost = "; ".join(filter(None, [_listed(flow.dropped), _listed(flow.failed, "failed: ")]))
        rows.append((STEPS[asset], flow.unit, flow.rows_in, flow.rows_out, kept, lost, "yes" if stage.holds else "NO"))
        figures |= {f"{asset}.in": flow.rows_in, f"{asset}.out": flow.rows_out}
        figures |= {f"{asset}.dropped.{reason}": count for reason, count in flow.dropped.items()}
        figures |= {f"{asset}.failed.{reason}": count for reason, count in flow.failed.items()}
    used, prompts = corpus.flow("prompt_table").rows_out, corpus.summary("prompt_table")["prompts"]
    asked, documents = corpus.flow("generations").rows_in, corpus.flow("mixture").rows_out
    copies, tokens = corpus.flow("tokenized_shards").rows_out, corpus.summary("tokenized_shards")["tokens"]
    units = (
        f"Where the unit changes: {used:,} seeds give {prompts:,} prompts, which are asked {asked:,} times; "
        f"{documents:,} documents stand in the corpus as {copies:,} copies, which are {tokens:,} tokens."
    )
    sources = [
        (name, {"kept": part["kept"], **_named(Counter(part["dropped"]) + Counter(part["bad"]))})
        for name, part in corpus.summary("seed_documents")["funnel"].items()
    ]
    table = Table(("Stage", "Unit", "In", "Out", "Kept", "Lost", "Adds up"), rows)
    charts = [funnel_chart(figures), stacked("Source rows by source", sources)]
    return Section("funnel", {"funnel": table, "units": units}, charts, figures)


def funnel_chart(figures: Mapping[str, float]) -> str:
    """The funnel as a chart, from the figures of the report's section `funnel`; up to the mixture, after which nothing
    is lost."""
    parts: dict[str, dict[str, float]] = {asset: {} for asset in FUNNEL[: FUNNEL.index("mixture") + 1]}
    for name, value in figures.items():
        asset, _, part = name.partition(".")
        if asset in parts and part != "in":
            parts[asset]["kept" if part == "out" else part.split(".", 1)[1].replace("_", " ")] = value
    return stacked("Kept and lost, stage by stage", [(STEPS[asset], found) for asset, found in parts.items()])


def topics(corpus: Corpus) -> Section:
    tokens = dict(corpus.scan("token_lineage").group_by("cluster_id").agg(_TOKENS).collect().iter_rows())
    found = sorted(corpus.summary("seed_topics")["clusters"], key=lambda topic: (-topic["seeds"], topic["cluster"]))
    rows = [
        (
            topic["topic"] or f"no label (cluster {topic['cluster']})",
            topic["heading"],
            topic["score"],
            topic["seeds"],
            tokens.get(topic["cluster"], 0),
            f"excluded: {topic['excluded'].replace('_', ' ')}" if topic["excluded"] else "kept",
        )
        for topic in found
    ]
    flow, by_score = corpus.flow("seed_topics"), Counter[float]()
    by_decision = {"kept": flow.rows_out, **flow.dropped}
    for topic in found:
        by_score.update({topic["score"]: topic["seeds"]} if topic["score"] is not None else {})
    values = [(f"{score:g} of 10", seeds) for score, seeds in sorted(by_score.items())]
    return Section(
        "topics",
        {"topics": Table(("Topic", "Nearest heading", "Educational value", "Seeds", "Tokens", "Policy"), rows)},
        [
            bars("Seeds by the educational value of their topic", values),
            bars("Seeds by what the topic policy decides", falling(_named(by_decision))),
        ],
        {f"seeds.{decision}": count for decision, count in sorted(by_decision.items())},
    )


def topic_map(corpus: Corpus) -> Section:
    """The chart of the map; the page itself lies beside the report."""
    dataset = corpus.one("topic_map")
    chart = (dataset.folder / mapping.CHART).read_text(encoding="utf-8")
    return Section("map", {"map_page": mapping.PAGE, "map_shown": dataset.manifest.summary["shown"]}, [chart])


def prompts(corpus: Corpus) -> Section:
    summary = corpus.summary("prompt_table")
    total = summary["prompts"]
    lead = (
        f"{total:,} prompts, {summary['distinct']:,} of them distinct, from {corpus.flow('prompt_table').rows_out:,} "
        f"seeds; {summary['named_topic'] / total:.1%} name the topic of their seed."
    )
    counts = {column: summary["counts"][column] for column in ("source", "audience", "format", "template")}
    charts = [
        bars(f"Prompts by {column}", [(name, count / total) for name, count in falling(found)], unit="%")
        for column, found in counts.items()
    ]
    figures = {f"{column}.{name}": count for column, found in counts.items() for name, count in found.items()}
    return Section("prompts", {"prompts_lead": lead}, charts, figures)


def generation(corpus: Corpus) -> Section:
    flow, counters = corpus.flow("generations"), Counter[str]()
    for manifest in corpus.manifests("generations"):
        counters.update(manifest.summary)
    tokens, mean = counters["completion_tokens"], counters["completion_tokens"] / max(flow.rows_out, 1)
    lead = (
        f"{flow.rows_out:,} of {flow.rows_in:,} requests were answered. The model read {counters['prompt_tokens']:,} "
        f"tokens and wrote {tokens:,}, on average {mean:,.0f} to an answer."
    )
    endings = {name: count for name, count in counters.items() if name.startswith("finish_")}
    ended = [(ENDINGS.get(name, name.removeprefix("finish_")), count) for name, count in falling(endings)]
    lengths = sorted(_pairs(corpus, "lengths").items())
    makers = Counter(
        (params["model"], params["revision"], settings(params["sampling"]), params["samples"])
        for params in (manifest.params for manifest in corpus.manifests("generations"))
    )
    headers = ("Model", "Revision", "Sampling", "Samples of a prompt", "Buckets")
    table = Table(headers, [(*maker, buckets) for maker, buckets in sorted(makers.items())])
    charts = [bars("How answers ended", ended), histogram("Length of the answers", lengths, unit="words")]
    return Section("generation", {"generation_lead": lead, "generators": table}, charts, dict(sorted(counters.items())))


def quality(corpus: Corpus) -> Section:
    flow = corpus.flow("generation_quality")
    verdicts = [("kept", flow.rows_out), *_named(dict(falling(flow.dropped))).items()]
    openers = [(opener, count) for opener, count in falling(_pairs(corpus, "openers")) if count > 1][:MAX_OPENERS]
    rows = [(opener or "(no words)", count, Share(count / flow.rows_in)) for opener, count in openers]
    return Section(
        "quality",
        {"openers": Table(("Openings that answers share", "Answers", "Share"), rows)},
        [bars("Answers by verdict", verdicts)],
        {"words": sum(manifest.summary["words"] for manifest in corpus.manifests("generation_quality"))},
    )


def _optimum(rows: Sequence[Beside]) -> Table:
    headers = ("Source", "Available", "Realised", "Optimum", "From", "To", "Near")
    return Table(
        headers,
        [
            (
                row.source,
                *(
                    None if value is None else Share(value)
                    for value in (row.available, row.share, row.optimum, row.low, row.high)
                ),
                {True: "yes", False: "no", None: None}[row.near],
            )
            for row in rows
        ],
    )


def mixture(corpus: Corpus) -> Section:
    parts = corpus.summary("mixture")["components"]
    rows = [
        (
            *(part[name] for name in ("source", "documents", "available", "tokens")),
            *(Share(part[name]) for name in ("target", "share")),
            float(part["epochs"]),
        )
        for part in parts
    ]
    headers = ("Source", "Documents", "Tokens available", "Tokens taken", "Target", "Realised", "Epochs")
    bar = {
        title: {part["source"]: part[name] for part in parts}
        for title, name in (("target", "target"), ("realised", "share"))
    }
    figures = {
        f"{part['source']}.{name}": part[name] for part in parts for name in ("tokens", "target", "share", "epochs")
    }
    optimum = optimum_of(corpus.workspace.recipe)
    by_it = beside(parts, optimum) if optimum else []
    return Section(
        "mixture",
        {"mixture": Table(headers, rows), "optimum": _optimum(by_it)},
        [
            stacked("Shares of the tokens", list(bar.items()), unit="%"),
            bars(
                "Epochs: how often a document stands in the corpus",
                [(part["source"], part["epochs"]) for part in parts],
            ),
            *(charts(by_it, optimum.method).values() if optimum else ()),
        ],
        figures,
    )


def tokens(corpus: Corpus) -> Section:
    by = corpus.summary("token_lineage")["by"]
    charts = [bars(f"Tokens by {column}", falling(by[column])) for column in ("source", "template", "topic", "format")]
    return Section("tokens", {}, charts, {f"{column}.{name}": by[column][name] for column in by for name in by[column]})


def licences(corpus: Corpus) -> Section:
    sources, seeds = pl.col("source").unique().sort().str.join(", "), pl.col("seed_id").n_unique().alias("seeds")
    found = corpus.scan("token_lineage").group_by("licence").agg(sources, seeds, _TOKENS).collect().sort("licence")
    total = found["tokens"].sum()
    rows = [(*row, Share(row[-1] / total)) for row in found.iter_rows()]
    table = Table(("Licence", "Sources", "Seeds", "Tokens", "Share of tokens"), rows)
    headers = ("Name", "Part", "Licence", "Attribution", "Homepage")
    real = corpus.one(DOCUMENTS) if corpus.has_real else None
    content = {
        "licences": table,
        "parties": Table(headers, parties(corpus.workspace.recipe, corpus.one("seed_documents"), real)),
    }
    return Section("licences", content, figures={row[0]: row[3] for row in rows})


def parties(recipe: Recipe, seeds: Dataset, real: Dataset | None) -> list[tuple[object, ...]]:
    """Whose work the corpus is made with: name, part, licence, attribution, homepage. Licences and attributions of
    seeds and real documents are those of the rows, which may differ within a source."""
    homepages = _homepages(recipe)
    columns = ["source", "kind", "licence", "attribution"]
    rows = scan(seeds.paths()).select(columns).unique().sort(columns, nulls_last=True).collect().iter_rows()
    mixed_in: list[tuple[Any, ...]] = []
    if real is not None:
        columns.remove("kind")
        mixed_in = scan(real.paths()).select(columns).unique().sort(columns, nulls_last=True).collect().rows()
    model = recipe.generation.model
    return [
        *((source, f"seeds, {kind}", *terms, homepages.get(source)) for source, kind, *terms in rows),
        *((source, "real documents", *terms, homepages.get(source)) for source, *terms in mixed_in),
        (model.name, "generator", model.licence, None, model.homepage),
        *((item.name, "benchmark", item.licence, None, item.homepage) for item in recipe.decontamination.benchmarks),
    ]


def described(recipe: Recipe) -> dict[str, Any]:
    """The part of a recipe that the report and the export quote, as a stage's parameters."""
    named = {"name", "licence", "homepage"}
    return {
        "name": recipe.name,
        "description": recipe.description,
        "homepages": _homepages(recipe),
        "model": recipe.generation.model.model_dump(),
        "benchmarks": [item.model_dump(include=named) for item in recipe.decontamination.benchmarks],
    }


def _homepages(recipe: Recipe) -> dict[str, str | None]:
    return {source.name: source.homepage for source in recipe.all_sources}


def falling(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts by falling size, equal ones by name."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def settings(values: Mapping[str, Any]) -> str:
    """Sampling parameters in a line."""
    return ", ".join(f"{name} {value:g}" for name, value in values.items()) or "the model's own"


def _pairs(corpus: Corpus, name: str) -> Counter[Any]:
    """Sums over the buckets of a list of (key, count) in the summaries of `generation_quality`."""
    counters: Counter[Any] = Counter()
    for manifest in corpus.manifests("generation_quality"):
        counters.update(dict(manifest.summary[name]))
    return counters


def _named(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason.replace("_", " "): count for reason, count in counts.items()}


def _listed(counts: Mapping[str, int], prefix: str = "") -> str:
    items = [f"{reason} {count:,}" for reason, count in _named(dict(falling(counts))).items()]
    return prefix + ", ".join(items) if items else ""
