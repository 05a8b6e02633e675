"""The parts of the report that show texts: worst cases of contamination, near-duplicates, samples, worked traces.

Belongs here: which rows are shown, and what of them. Does not belong here: escaping (`html`): all of it is untrusted.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from cosmo_assets.charts.bars import bars
from cosmo_assets.decontamination.cases import MAX_CASES, rank
from cosmo_assets.decontamination.tally import Splits, found_items, split_table
from cosmo_assets.lineage.trace import Trace, trace
from cosmo_assets.report.corpus import Corpus, Section
from cosmo_assets.report.html import Table
from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.tokenizers import load_tokenizer

MAX_SEED_CASES, MAX_GROUPS, SAMPLES = 2, 3, 6
CONTEXT_TOKENS, OPENING_CHARS = 24, 420


def decontamination(corpus: Corpus) -> Section:
    """Cosmopedia's table, what each benchmark cost, and the worst cases: an item beside the text that holds it."""
    removed = corpus.scan("decontaminated").filter(~pl.col("keep"))
    splits = Splits()
    for row in removed.select("source", "benchmark", "items", "place", "seed_item").collect().to_dicts():
        splits.add(row["source"], row["benchmark"], found_items(row))
    searched = corpus.scan("decontaminated").group_by("source").len().collect()
    by_split = split_table(splits.cells(), dict(searched.iter_rows()))
    benchmarks = [*by_split[0]][2:-1]
    index, flow = corpus.summary("benchmark_index"), corpus.flow("decontaminated")
    tokens = Counter[str]()
    for manifest in corpus.manifests("decontaminated"):
        tokens.update({row["benchmark"]: row["tokens"] for row in manifest.summary["benchmarks"]})
    rows = [
        (name, row["items"], splits.removed(None, name), tokens[name], splits.unique_items(None, name))
        for row in index["benchmarks"]
        for name in [row["benchmark"]]
    ]
    rules = "; or ".join(rule["says"] for rule in index["rules"])
    lead = (
        f"A document goes where it, or its prompt, {rules}: {flow.rows_in - flow.rows_out:,} of {flow.rows_in:,} "
        f"documents, with {sum(tokens.values()):,} tokens. {_seeds(corpus)}"
    )
    content = {
        "decontamination_lead": lead,
        "splits": Table(("Split", "Documents", *benchmarks, "All"), [tuple(row.values()) for row in by_split]),
        "benchmarks": Table(("Benchmark", "Items", "Documents removed", "Tokens removed", "Items found in them"), rows),
        "cases": _cases(corpus),
        "seed_cases": [_case(case, f"Seed {case['key']}") for case in corpus.summary("contaminated_seeds")["cases"]][
            :MAX_SEED_CASES
        ],
    }
    figures = {f"{name}.removed": count for name, _, count, *_ in rows}
    figures |= {f"{name}.tokens": count for name, _, _, count, _ in rows}
    figures |= {"seeds.contaminated": corpus.summary("contaminated_seeds")["contaminated"], **_marked(corpus)}
    return Section("decontamination", content, figures=figures)


def _seeds(corpus: Corpus) -> str:
    """What the corpus has to do with contaminated seeds, in a sentence."""
    found, total = corpus.summary("contaminated_seeds")["contaminated"], corpus.flow("contaminated_seeds").rows_in
    marked = _marked(corpus)
    return (
        f"Seeds that hold an item: {found:,} of {total:,} ({found / max(total, 1):.2%}); documents made of them: "
        f"{sum(marked.values()):,}, of which {marked['of_contaminated_seeds.kept']:,} are kept, marked with the item."
    )


def _marked(corpus: Corpus) -> dict[str, int]:
    counts = [manifest.summary["of_contaminated_seeds"] for manifest in corpus.manifests("decontaminated")]
    return {f"of_contaminated_seeds.{name}": sum(count[name] for count in counts) for name in ("kept", "removed")}


def _cases(corpus: Corpus) -> list[dict[str, Any]]:
    """The worst case of each of the most contaminating items, of all buckets."""
    listed = [case for manifest in corpus.manifests("decontaminated") for case in manifest.summary["cases"]]
    worst: dict[tuple[str, str], dict[str, Any]] = {}
    for case in sorted(listed, key=rank):
        worst.setdefault((case["benchmark"], case["item"]), case)
    where = {"text": "Document", "prompt": "Prompt of document"}
    return [_case(case, f"{where[case['place']]} {case['key']}") for case in list(worst.values())[:MAX_CASES]]


def _case(case: Mapping[str, Any], title: str) -> dict[str, Any]:
    return {
        "left_title": f"{case['benchmark']}, item {case['item']} ({case['part'].replace('_', ' and ')}): "
        f"{case['ratio']:.0%} of it found by {case['rule']}",
        "left": case["pieces_of_item"],
        "right_title": title,
        "right": case["pieces_of_text"],
    }


def duplicates(corpus: Corpus) -> Section:
    summary, flow = corpus.summary("duplicate_clusters"), corpus.flow("deduplicated")
    gone = flow.rows_in - flow.rows_out
    lead = (
        f"Clusters of duplicates: {summary['clusters']:,}, with {summary['in_clusters']:,} documents. The best of a "
        f"cluster stays: {gone:,} of {flow.rows_in:,} documents go, {gone / max(flow.rows_in, 1):.2%} (of Cosmopedia "
        "went less than 1 %)."
    )
    methods = Table(
        ("Method", "Clusters", "Documents in them", "Documents removed", "Tokens removed"),
        [
            tuple(row[name] for name in ("method", "clusters", "documents", "removed", "tokens"))
            for row in summary["methods"]
        ],
    )
    repeated = [row for row in summary["by_template"] if row["removed"]]
    templates = Table(
        ("Template", "Documents", "Removed", "Share removed"),
        [(row["template"], row["documents"], row["removed"], f"{row['share']:.2%}") for row in repeated],
    )
    between = Table(
        ("Template", "Repeats a document of", "Documents"),
        [(row["template"], row["of_template"], row["documents"]) for row in summary["pairs"]],
    )
    groups = [group for group in summary["examples"] if group["documents"]][:MAX_GROUPS]
    wanted = {doc for group in groups for doc in (group["survivor"], group["documents"][0])}
    members = corpus.scan("duplicate_clusters").filter(pl.col("doc_id").is_in(wanted)).select("doc_id", "bucket")
    documents = corpus.documents(dict(members.collect().iter_rows()))
    pairs = []
    for group in groups:
        stays, goes = group["survivor"], group["documents"][0]
        if stays not in documents:
            continue  # of another corpus
        others = f", one of {group['size'] - 1:,}" if group["size"] > 2 else ""
        pairs.append(
            {
                "left_title": f"Stays: {stays}",
                "left": [[_opening(documents[stays]["text"]), False]],
                "right_title": f"Goes{others} ({group['method']}): {goes}",
                "right": [[_opening(documents[goes]["text"]), False]],
            }
        )
    content = {
        "duplicates_lead": lead,
        "duplicates": pairs,
        "duplicates_methods": methods,
        "duplicates_templates": templates,
        "duplicates_pairs": between,
    }
    sizes = [(f"{size:,} documents", count) for size, count in summary["sizes"]]
    sources = [(row["source"], row["removed"]) for row in summary["by_source"] if row["removed"]]
    topics = [(row["topic"] or "no topic", row["removed"]) for row in summary["by_topic"] if row["removed"]]
    charts = [
        bars(title, items, unit="documents")
        for title, items in (
            ("Clusters of duplicates by size", [(label, count) for label, count in sizes]),
            ("Duplicates by source", sources),
            ("Duplicates by topic", topics),
        )
        if items
    ]
    figures = {"clusters": summary["clusters"], "in_clusters": summary["in_clusters"]}
    figures |= {f"removed.{row['method']}": row["removed"] for row in summary["methods"]}
    return Section("duplicates", content, charts, figures)


def samples(corpus: Corpus) -> Section:
    """The documents with the smallest ids."""
    chosen = corpus.scan("mixture").select("doc_id", "bucket").bottom_k(SAMPLES, by="doc_id").collect()
    documents = sorted(corpus.documents(dict(chosen.iter_rows())).values(), key=lambda row: str(row["doc_id"]))
    wanted = [row["seed_id"] for row in documents if "seed_id" in row]
    seeds = corpus.scan("seed_documents").filter(pl.col("seed_id").is_in(wanted)).select("seed_id", "title").collect()
    titles = dict(seeds.iter_rows())
    return Section("samples", {"samples": [_sample(row, titles) for row in documents]})


def _sample(row: Mapping[str, Any], titles: Mapping[str, str | None]) -> dict[str, Any]:
    if "prompt_id" not in row:
        title, kind = row["title"] or "Without a title", f"real document of {row['source']}, {row['licence']}"
        return {"title": title, "kind": kind, "doc_id": row["doc_id"], "prompt": "", "text": row["text"]}
    return {
        "title": titles.get(row["seed_id"]) or row["topic"] or "Seed without a title",
        "kind": f"{row['format']} for {row['audience']}, from {row['source']}, {row['completion_tokens']:,} tokens",
        **{name: row[name] for name in ("doc_id", "prompt", "text")},
    }


def traces(corpus: Corpus) -> Section:
    """The tokens at a quarter, half and three quarters of all shards laid end to end."""
    shards = corpus.one("tokenized_shards")
    sizes = shards.manifest.summary["shards"]
    total = sum(size for _, size in sizes)
    found = []
    for position in (total // 4, total // 2, 3 * total // 4):
        start = 0
        for name, size in sizes:
            if start <= position < start + size:
                found.append(_traced(trace(corpus.workspace.store, name, position - start), shards.folder))
            start += size
    return Section("traces", {"traces": found})


def _traced(found: Trace, folder: Path) -> dict[str, Any]:
    span, document, token = found.span, found.document, found.token
    decode = load_tokenizer(str(folder / TOKENIZER_NAME)).tokenizer.decode
    shard = map_shard(folder / found.shard)
    parts = (
        (max(span["start"], token - CONTEXT_TOKENS), token),
        (token, token + 1),
        (token + 1, min(span["end"], token + CONTEXT_TOKENS)),
    )
    before, middle, after = (decode(shard[start:end].tolist(), skip_special_tokens=False) for start, end in parts)
    return {
        "title": f"Token {token:,} of {found.shard}",
        "command": f"cosmo trace --shard {found.shard} --token {token}",
        "passage": (before, middle, after),
        "steps": [
            (
                "Token",
                [
                    ("Id", str(found.token_id)),
                    ("Span of its document", f"{span['start']:,} to {span['end']:,}, copy {span['copy'] + 1}"),
                    (
                        "Span, decoded",
                        "equal to the document"
                        if found.token_text == document["text"]
                        else "not equal to the document",
                    ),
                ],
                "",
            ),
            *(_made(found) if found.prompt and found.seed else _read(found)),
        ],
    }


Step = tuple[str, list[tuple[str, str]], str]
"""A step of a trace: title, facts, text."""


def _read(found: Trace) -> list[Step]:
    """Where a real document was read."""
    span, row = found.span, found.document
    facts = [("Id", span["doc_id"]), ("Source", f"{span['source']}, {row['native_id']}, {span['licence']}")]
    return [("Real document", [*facts, ("Read from", row["place"])], row["text"])]


def _made(found: Trace) -> list[Step]:
    """A generated document, its prompt, its seed."""
    span, document, prompt, seed = found.span, found.document, found.prompt or {}, found.seed or {}
    return [
        (
            "Document",
            [
                ("Id", span["doc_id"]),
                ("Model", f"{span['model']}, {span['model_revision']}"),
                ("Sampling", f"{span['sampling']}, seed {document['request_seed']}"),
            ],
            document["text"],
        ),
        (
            "Prompt",
            [
                ("Id", span["prompt_id"]),
                ("Template", f"{span['template']}, version {span['template_version']}"),
                ("Form", f"{span['format']} for {span['audience']}"),
            ],
            prompt["prompt"],
        ),
        (
            "Seed",
            [
                ("Id", span["seed_id"]),
                ("Source", f"{span['source']}, {seed['native_id']}, {span['licence']}"),
                ("Title and topic", f"{seed['title'] or 'no title'}; {span['topic'] or 'no topic'}"),
            ],
            seed["text"],
        ),
    ]


def _opening(text: str) -> str:
    return text if len(text) <= OPENING_CHARS else f"{text[:OPENING_CHARS]} …"
