"""An asset's most telling numbers, from the manifest of a version: what Dagster plots over its materializations.

Belongs here: for every asset the few numbers that an operator follows. Does not belong here: what all assets have
(rows, bytes, seconds: `reporting`), figures of a run, charts and tables (each stage's `assets`), bounds (its `checks`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from cosmo_assets.schemas.signals import REAL_SIGNALS, SEED_SIGNALS, TEXT_SIGNALS
from cosmo_resources.storage.manifest import Manifest

Figures = Mapping[str, float | int]


def figures_of(manifest: Manifest) -> Figures:
    """The numbers of a version; none of one that an older stage made, which counted otherwise."""
    try:
        found = FIGURES[manifest.asset](manifest)
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in found.items()}


def _part(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0


def _of_summary(*names: str) -> Callable[[Manifest], Figures]:
    return lambda manifest: {name: manifest.summary[name] for name in names}


def _left(manifest: Manifest) -> float:
    """The share of what came in that is left."""
    return _part(manifest.flow.rows_out, manifest.flow.rows_in)


def _lost(manifest: Manifest) -> int:
    return sum(manifest.flow.dropped.values())


def _seed_documents(manifest: Manifest) -> Figures:
    failed = sum(manifest.flow.failed.values())
    return {
        "kept_share": _left(manifest),
        "unreadable_rows": failed,
        **_of_summary("characters", "masked")(manifest),
    }


def _course_outlines(manifest: Manifest) -> Figures:
    courses = manifest.summary["courses"]
    return {
        "outlined_share": _part(manifest.flow.rows_out, courses),
        "units_per_course": _part(manifest.summary["units"], courses),
    }


def _largest(manifest: Manifest) -> Figures:
    sizes = manifest.summary["sizes"]
    return {"largest_cluster_share": _part(max(sizes, default=0), sum(sizes))}


def _topic_labels(manifest: Manifest) -> Figures:
    scores = manifest.summary["scores"]
    return {
        "labelled_share": _left(manifest),
        "agreed_share": _part(manifest.summary["agreed"], manifest.flow.rows_out),
        "mean_score": _part(sum(scores), len(scores)),
    }


def _educational_labels(manifest: Manifest) -> Figures:
    counts = manifest.summary["scores"]
    total = sum(score * count for score, count in enumerate(counts))
    return {"labelled_share": _part(sum(counts), manifest.summary["asked"]), "mean_label": _part(total, sum(counts))}


def _seed_topics(manifest: Manifest) -> Figures:
    excluded = manifest.rows - manifest.flow.rows_out
    kept = sum(row["kept"] > 0 for row in manifest.summary["clusters"])
    return {"excluded": excluded, "excluded_share": _part(excluded, manifest.rows), "topics_kept": kept}


def _seed_extracts(manifest: Manifest) -> Figures:
    extracts, tokens = (sum(manifest.summary[name].values()) for name in ("extracts", "tokens"))
    return {"extracts_per_seed": _part(extracts, manifest.flow.rows_out), "tokens_per_extract": _part(tokens, extracts)}


def _prompt_table(manifest: Manifest) -> Figures:
    summary = manifest.summary
    return {
        "prompts": summary["prompts"],
        "prompts_per_seed": _part(summary["prompts"], manifest.flow.rows_out),
        "prompts_about_a_unit": summary["of_a_unit"],
        "prompts_naming_their_topic": summary["named_topic"],
        "near_duplicates_dropped": sum(row["near_duplicates"] for row in summary["near_duplicates"]),
        "output_tokens_at_most": summary["max_tokens"],
    }


def _template_pilots(manifest: Manifest) -> Figures:
    found = [variant["statistics"] for variant in manifest.summary["variants"]]
    openers = [part["most_common"] for one in found for part in one["openers"] if part["words"] == 5]
    return {
        "variants_tried": len(found),
        "answers": sum(one["answers"] for one in found),
        "commonest_opener_share": float(max((share for common in openers for _, share in common), default=0.0)),
    }


def _generations(manifest: Manifest) -> Figures:
    """An empty bucket counted nothing."""
    summary, answered = manifest.summary, manifest.flow.rows_out
    tokens = summary.get("completion_tokens", 0)
    marks = ("truncated", "empty", "refusal", "repetitive")
    return {
        "completion_tokens": tokens,
        "tokens_per_answer": _part(tokens, answered),
        "unanswered": sum(manifest.flow.failed.values()),
        **{f"{mark}_share": _part(summary.get(f"mark_{mark}", 0), answered) for mark in marks},
    }


def _generation_quality(manifest: Manifest) -> Figures:
    asked, openers = manifest.flow.rows_in, manifest.summary["openers"]
    return {
        "kept_share": _left(manifest),
        "words_per_text": _part(manifest.summary["words"], asked),
        "commonest_opener_share": _part(openers[0][1] if openers else 0, asked),
    }


def _benchmark_index(manifest: Manifest) -> Figures:
    found = manifest.summary["benchmarks"]
    totals = {name: sum(row[name] for row in found) for name in ("items", "texts", "unchecked")}
    return {"benchmarks_read": len(found), **{f"{name}_of_all_benchmarks": count for name, count in totals.items()}}


def _contaminated_seeds(manifest: Manifest) -> Figures:
    found = manifest.summary["contaminated"]
    return {"contaminated_seeds": found, "contaminated_share": _part(found, manifest.flow.rows_in)}


def _decontaminated(manifest: Manifest) -> Figures:
    marked = sum(manifest.summary["of_contaminated_seeds"].values())
    return {
        "contaminated": _lost(manifest),
        "contaminated_share": _part(_lost(manifest), manifest.flow.rows_in),
        "of_contaminated_seeds": marked,
        "of_contaminated_seeds_share": _part(marked, manifest.flow.rows_in),
        "of_contaminated_seeds_kept": manifest.summary["of_contaminated_seeds"]["kept"],
    }


def _text_signatures(manifest: Manifest) -> Figures:
    size = sum(entry.bytes for entry in manifest.files if entry.role == "artifact")
    return {"documents_signed": manifest.rows, "signature_bytes_per_document": _part(size, manifest.rows)}


def _real_eligible(manifest: Manifest) -> Figures:
    tokens = sum(row["tokens"] for row in manifest.summary["sources"])
    return {"tokens": tokens, "kept_share": _left(manifest), "left_out": _lost(manifest)}


def _duplicate_clusters(manifest: Manifest) -> Figures:
    removed = sum(row["removed"] for row in manifest.summary["methods"])
    return {
        "clusters": manifest.summary["clusters"],
        "removed": removed,
        "removed_share": _part(removed, manifest.flow.rows_in),
        "largest_cluster": max((size for size, _ in manifest.summary["sizes"]), default=0),
    }


def _withdrawals(manifest: Manifest) -> Figures:
    return {"withdrawals_in_force": sum(manifest.summary["in_force"].values()), "entries": manifest.summary["entries"]}


def _measured(manifest: Manifest) -> Figures:
    return {"documents_measured": manifest.rows}


def _filtering_costs(manifest: Manifest) -> Figures:
    """Of the trials that keep the least: the worst of each measure."""
    trials = manifest.summary["trials"]
    hardest = [row for row in trials if row["fraction"] == min(row["fraction"] for row in trials)]
    return {
        "signals_swept": len({(row["signal"], row["prefer"]) for row in trials}),
        "largest_divergence": float(max((row["divergence"] for row in hardest), default=0.0)),
        "least_worth": float(min((row["effective"] for row in hardest), default=0.0)),
    }


def _mixture(manifest: Manifest) -> Figures:
    summary = manifest.summary
    return {
        "tokens": summary["tokens"],
        "copies": summary["copies"],
        "most_epochs": float(max((row["most_epochs"] for row in summary["components"]), default=0.0)),
        "largest_gap": float(max((abs(row["share"] - row["target"]) for row in summary["components"]), default=0.0)),
        "withdrawn_documents": summary["withdrawn"]["documents"],
        "withdrawn_tokens": summary["withdrawn"]["tokens"],
    }


def _tokenized_shards(manifest: Manifest) -> Figures:
    tokens = manifest.summary["tokens"]
    return {
        "tokens": tokens,
        "shard_files": len(manifest.summary["shards"]),
        "tokens_per_copy": _part(tokens, manifest.flow.rows_out),
    }


def _numbers(manifest: Manifest) -> Figures:
    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    return {name: value for name, value in manifest.summary.items() if number(value)}


FIGURES: Mapping[str, Callable[[Manifest], Figures]] = {
    "seed_documents": _seed_documents,
    "course_outlines": _course_outlines,
    "seed_embeddings": lambda manifest: {"seeds_embedded": manifest.rows},
    "cluster_model": lambda manifest: {**_of_summary("clusters", "fitted")(manifest), **_largest(manifest)},
    "seed_clusters": lambda manifest: {**_of_summary("outliers")(manifest), **_largest(manifest)},
    "topic_labels": _topic_labels,
    "topic_tree": _of_summary("topics", "named", "short"),
    "topic_seeds": _of_summary("topics", "full", "short", "empty", "without_seeds"),
    "seed_topics": _seed_topics,
    "topic_map": _of_summary("clusters", "laid_out", "shown", "same_cluster"),
    "seed_extracts": _seed_extracts,
    "prompt_table": _prompt_table,
    "template_pilots": _template_pilots,
    "generations": _generations,
    "generation_quality": _generation_quality,
    "benchmark_index": _benchmark_index,
    "contaminated_seeds": _contaminated_seeds,
    "decontaminated": _decontaminated,
    "text_signatures": _text_signatures,
    "text_embeddings": lambda manifest: {"documents_embedded": manifest.rows},
    "educational_labels": _educational_labels,
    "quality_classifier": _of_summary("labels", "spearman", "mae", "precision", "recall", "f1"),
    "language_model": _of_summary("words", "perplexity", "unknown_word_share"),
    **dict.fromkeys((*SEED_SIGNALS, *TEXT_SIGNALS, *REAL_SIGNALS), _measured),
    "real_documents": _seed_documents,
    "real_eligible": _real_eligible,
    "duplicate_clusters": _duplicate_clusters,
    "deduplicated": lambda manifest: {"duplicates": _lost(manifest), "duplicate_share": 1 - _left(manifest)},
    "withdrawals": _withdrawals,
    "selection": lambda manifest: {"unselected": _lost(manifest), "unselected_share": 1 - _left(manifest)},
    "mixture": _mixture,
    "corpus_diversity": lambda manifest: manifest.summary["measures"],
    "filtering_costs": _filtering_costs,
    "tokenized_shards": _tokenized_shards,
    "token_lineage": _of_summary("tokens", "documents", "prompts", "seeds"),
    "proxy_runs": lambda manifest: {"models_trained": len(manifest.summary["trainings"])},
    "proxy_evaluation": lambda manifest: {
        "pairs_compared": manifest.rows,
        "pairs_decided": sum(one["arm_is"] != "undecided" for one in manifest.summary["verdicts"]),
    },
    "corpus_report": _numbers,
    "corpus_export": lambda manifest: {f"exported_{name}": manifest.summary[name] for name in ("files", "tokens")},
    "push_to_hub": lambda manifest: {"files_sent": manifest.rows},
}
"""The numbers of every asset, under names that none of its charts and tables has."""
