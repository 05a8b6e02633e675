"""Traces and selections as tables for a terminal, and as plain values for JSON.

Belongs here: what of an answer is shown, and how it is named. Does not belong here: options and exit codes
(`cosmo_assets.cli`), answering (`trace`).
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from cosmo_assets.lineage.find import Found
from cosmo_assets.lineage.lookup import Key, Selection
from cosmo_assets.lineage.snippets import GUARANTEED
from cosmo_assets.lineage.trace import Trace
from cosmo_assets.real.texts import REAL
from cosmo_assets.tokenization.stages import stage_of

SHORT_CHARS = 400
LISTED = 10


def trace_values(found: Trace) -> dict[str, Any]:
    """Everything behind a token, as plain values."""
    return asdict(found)


def trace_table(found: Trace) -> Table:
    """The chain behind a token, a line for each step."""
    span, copies, row = found.span, len(found.copies), found.document
    places = ", ".join(f"{copy['shard']} {copy['start']}-{copy['end']}" for copy in found.copies[:LISTED])
    lines = {
        "token": f"{found.token} of {found.shard} (id {found.token_id}), document at {span['start']}-{span['end']}"
        + (f", stage {stage}" if (stage := stage_of(found.shard)) else ""),
        "document": span["doc_id"] + (f", copy {span['copy'] + 1} of {copies}: {places}" if copies > 1 else ""),
        "text": short(found.token_text),
        **(_origin(found) if found.prompt and found.seed else _real_origin(row)),
        "versions": "\n".join(f"{asset} {version}" for asset, version in found.manifests.items()),
        "Dagster run": found.run_id,
    }
    table = Table(show_header=False, box=None, padding=(0, 1))
    for name, value in lines.items():
        table.add_row(f"[bold]{name}[/]", escape(value))
    return table


def _origin(found: Trace) -> dict[str, str]:
    """Who wrote a generated document, and of what."""
    span, prompt, seed = found.span, found.prompt or {}, found.seed or {}
    return {
        "model": f"{span['model']} ({span['model_revision']}), sampling {span['sampling'][:12]}, "
        f"seed {found.document['request_seed']}, finished by {found.document['finish_reason']}",
        "prompt": f"{span['prompt_id']}  {span['template']} v{span['template_version']}, "
        f"{span['format']} for {span['audience']}",
        "prompt text": short(prompt["prompt"]),
        "topic": f"{span['topic']} (cluster {span['cluster_id']})",
        "seed": f"{span['seed_id']}  {span['source']} {seed['native_id']}, {span['licence']}",
        "seed text": short(seed["text"]),
    }


def _real_origin(row: Mapping[str, Any]) -> dict[str, str]:
    """Where a real document was read."""
    said = {"title": row["title"], "attribution": row["attribution"], "url": row["url"]}
    return {
        "real document": f"of {row['source']}, no prompt and no model: {row['place']}",
        "native id": row["native_id"],
        "licence": row["licence"],
        **{name: short(value) for name, value in said.items() if value},
    }


def found_values(found: Found) -> dict[str, Any]:
    """The documents that hold a text, as plain values."""
    return {**asdict(found), "says": said(found)}


def said(found: Found) -> str:
    """What a search found, in a sentence or two."""
    inside = sum(bool(match.spans) for match in found.matches)
    outside = len(found.matches) - inside
    count = {0: "No document", 1: "One document"}.get(inside, f"{inside} documents")
    text = f"{count} of the corpus {'holds' if inside < 2 else 'hold'} these {found.words} words."
    if outside:
        made = "generated or read" if any(match.bucket == REAL for match in found.matches) else "generated"
        text += f" {outside} more {'was' if outside == 1 else 'were'} {made} and did not get into the corpus."
    if found.more:
        text += f" {found.more} more may hold them: give more of the text."
    if not found.sure:
        text += (
            f" There may be others: only pieces of {GUARANTEED} whole words are always found by fingerprints. To read "
            f"all texts ({found.unread_bytes / 1e9:.1f} GB), ask with --scan."
        )
    return text


def found_table(found: Found) -> Table:
    """The documents that hold a text, a row each."""
    table = Table("document", "copies in the corpus", "at characters")
    for match in found.matches:
        table.add_row(match.doc_id, str(len(match.spans)), f"{match.start}-{match.end}")
    return table


def selection_values(keys: Mapping[Key, str | None], found: Selection, start: int, limit: int) -> dict[str, Any]:
    """A selection's totals, and `limit` of its spans from number `start` on, as plain values."""
    spans = found.frame(start, limit).to_dicts()
    return {"keys": dict(keys), "totals": asdict(found.totals), "start": start, "spans": spans}


def selection_table(keys: Mapping[Key, str | None], found: Selection, start: int, limit: int) -> Table:
    """Spans of a selection, a row each."""
    title = ", ".join(f"{key.removesuffix('_id')} {value}" for key, value in keys.items())
    table = Table("shard", "start", "end", "tokens", "document", "prompt", title=escape(title))
    for row in found.frame(start, limit).iter_rows(named=True):
        places = (row["start"], row["end"], row["end"] - row["start"])
        table.add_row(row["shard"], *map(str, places), row["doc_id"][:12], (row["prompt_id"] or "")[:12])
    return table


def totals_line(found: Selection) -> str:
    totals = found.totals
    return f"{totals.tokens} tokens in {totals.spans} spans of {totals.documents} documents"


def short(text: str) -> str:
    """The beginning of a text on one line."""
    flat = " ".join(text.split())
    return flat if len(flat) <= SHORT_CHARS else flat[: SHORT_CHARS - 1] + "…"
