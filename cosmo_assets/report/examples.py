"""The parts of the report that show texts: worst cases of contamination, near-duplicates, samples, worked traces.

Belongs here: which rows are shown, and what of them. Does not belong here: escaping (`html`): all of it is untrusted.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from cosmo_assets.charts import bars
from cosmo_assets.decontamination.words import words_of
from cosmo_assets.lineage.trace import Trace, trace
from cosmo_assets.report.corpus import Corpus, Section
from cosmo_assets.report.html import Table
from cosmo_assets.tokenization.shards import TOKENIZER_NAME, map_shard
from cosmo_resources.tokenizers import load_tokenizer

MAX_CASES, MAX_GROUPS, SAMPLES = 5, 3, 6
CONTEXT_CHARS, CONTEXT_TOKENS, OPENING_CHARS = 240, 24, 420


def decontamination(corpus: Corpus) -> Section:
    removed = corpus.scan("decontaminated").filter(~pl.col("keep")).group_by("benchmark").len().collect()
    documents = dict(removed.iter_rows())
    held = corpus.scan("decontaminated").select(pl.col("items").explode().drop_nulls().unique()).collect()
    items = Counter(name.split(":", 1)[0] for name in held["items"])
    index, flow = corpus.summary("benchmark_index"), corpus.flow("decontaminated")
    sizes = {row["benchmark"]: row["items"] for row in index["benchmarks"]}
    rows = [(name, size, documents.get(name, 0), items[name]) for name, size in sizes.items()]
    rules = "; or ".join(rule["says"] for rule in index["rules"])
    lead = (
        f"A document goes where it, or its prompt, {rules}: {flow.rows_in - flow.rows_out:,} of {flow.rows_in:,} "
        "documents. Texts are compared, and shown here, in lower case and without punctuation."
    )
    table = Table(("Benchmark", "Items", "Documents removed", "Items found in them"), rows)
    content = {"decontamination_lead": lead, "benchmarks": table, "cases": list(_cases(corpus))}
    return Section("decontamination", content, figures={f"{name}.removed": count for name, _, count, _ in rows})


def _cases(corpus: Corpus) -> Iterator[dict[str, str]]:
    """The worst case of each of the most contaminating items: the item beside the passage of the document or prompt."""
    listed = [
        (case, bucket)
        for bucket, dataset in corpus.datasets["decontaminated"].items()
        for case in dataset.manifest.summary["cases"]
    ]
    by_item: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
    for case, bucket in sorted(listed, key=lambda pair: (-pair[0]["ratio"], pair[0]["doc_id"])):
        by_item.setdefault((case["benchmark"], case["item"]), (case, bucket))
    worst = list(by_item.values())[:MAX_CASES]
    documents = corpus.documents({case["doc_id"]: bucket for case, bucket in worst})
    wanted = {(case["benchmark"], case["item"], case["part"]) for case, _ in worst}
    items = {
        key: " ".join(words_of(text, "folded"))
        for table in corpus.one("benchmark_index").tables(["benchmark", "item", "part", "text"])
        for *key_columns, text in zip(*(column.to_pylist() for column in table.columns), strict=True)
        if (key := tuple(key_columns)) in wanted
    }
    for case, _ in worst:
        span, of_prompt = case["span"], case["place"] == "prompt"
        document = documents[case["doc_id"]]
        passage = " ".join(words_of(document["prompt" if of_prompt else "text"], "folded"))
        yield {
            "left_title": f"{case['benchmark']}, item {case['item']}: {case['ratio']:.0%} of it found",
            "left": _around(items.get((case["benchmark"], case["item"], case["part"]), span), span),
            "right_title": f"{'Prompt of document' if of_prompt else 'Document'} {case['doc_id']}",
            "right": _around(passage, span),
            "span": span,
        }


def duplicates(corpus: Corpus) -> Section:
    summary, flow = corpus.summary("duplicate_clusters"), corpus.flow("deduplicated")
    lead = (
        f"Groups of near-duplicates: {summary['clusters']:,}, with {summary['in_clusters']:,} documents. The longest "
        f"of a group stays: {flow.rows_in - flow.rows_out:,} of {flow.rows_in:,} documents go."
    )
    groups = summary["examples"][:MAX_GROUPS]
    members = corpus.scan("duplicate_clusters").filter(
        pl.col("doc_id").is_in([doc for group in groups for doc in group])
    )
    rows = {row["doc_id"]: row for row in members.collect().to_dicts()}
    documents = corpus.documents({doc: row["bucket"] for doc, row in rows.items()})
    pairs = []
    for group in groups:
        stays = rows[group[0]]["survivor"]
        goes = next(doc for doc in group if doc != stays)
        others = f", one of {len(group) - 1}" if len(group) > 2 else ""
        pairs.append(
            {
                "left_title": f"Stays: {stays}",
                "left": _opening(documents[stays]["text"]),
                "right_title": f"Goes{others}: {goes}",
                "right": _opening(documents[goes]["text"]),
                "span": "",
            }
        )
    sizes = [(f"{size:,} documents", count) for size, count in summary["sizes"]]
    charts = [bars("Groups of near-duplicates by size", sizes)] if sizes else []
    figures = {"clusters": summary["clusters"], "in_clusters": summary["in_clusters"]}
    return Section("duplicates", {"duplicates_lead": lead, "duplicates": pairs}, charts, figures)


def samples(corpus: Corpus) -> Section:
    """The documents with the smallest ids."""
    chosen = corpus.scan("mixture").select("doc_id", "bucket").bottom_k(SAMPLES, by="doc_id").collect()
    documents = sorted(corpus.documents(dict(chosen.iter_rows())).values(), key=lambda row: str(row["doc_id"]))
    wanted = [row["seed_id"] for row in documents]
    seeds = corpus.scan("seed_documents").filter(pl.col("seed_id").is_in(wanted)).select("seed_id", "title").collect()
    titles = dict(seeds.iter_rows())
    shown = [
        {
            "title": titles.get(row["seed_id"]) or row["topic"] or "Seed without a title",
            "kind": f"{row['format']} for {row['audience']}, from {row['source']}, {row['completion_tokens']:,} tokens",
            **{name: row[name] for name in ("doc_id", "prompt", "text")},
        }
        for row in documents
    ]
    return Section("samples", {"samples": shown})


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
    span, seed, document, token = found.span, found.seed, found.document, found.token
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
                found.prompt["prompt"],
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
        ],
    }


def _around(text: str, span: str) -> str:
    """The part of a text around a span."""
    start = max(text.find(span), 0)
    low, high = max(0, start - CONTEXT_CHARS), min(len(text), start + len(span) + CONTEXT_CHARS)
    return f"{'… ' if low else ''}{text[low:high]}{' …' if high < len(text) else ''}"


def _opening(text: str) -> str:
    return text if len(text) <= OPENING_CHARS else f"{text[:OPENING_CHARS]} …"
