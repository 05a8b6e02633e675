"""Generation quality: one row of measures and a verdict per answered prompt of a bucket.

Belongs here: the stage. Does not belong here: the measures and rules (`rules`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.prompts.templates import OutputChecks
from cosmo_assets.quality.rules import broken_checks, broken_rules, measure
from cosmo_assets.recipe.generation import QualityPolicy
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import GENERATION_QUALITY
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "2"
MAX_OPENERS = 20


def build(workspace: Workspace, bucket: str) -> Manifest:
    """Build `generation_quality` of a bucket. Cost: linear in the text of documents that no earlier version measured in
    the same way, and reading the others; memory for a shard and the bucket's prompts."""
    generations = workspace.store.open("generations", bucket)
    prompts = workspace.store.open("prompt_table")
    return workspace.build_rows(
        "generation_quality",
        lambda writer, earlier: _produce(writer, workspace, generations, prompts, bucket, earlier),
        key="doc_id",
        sources=[RowSource(generations, ("text", "finish_reason"))],
        bucket=bucket,
        stage_version=STAGE_VERSION,
        inputs=(generations.ref(), prompts.ref(bucket)),
        params=params(workspace.recipe),
    )


def params(recipe: Recipe) -> dict[str, Any]:
    """What of the recipe `generation_quality` depends on."""
    checks = {name: asdict(template.checks) for name, template in used_templates(recipe).items()}
    return {**recipe.quality.model_dump(), "checks": checks}


def _produce(
    writer: DatasetWriter, workspace: Workspace, generations: Dataset, prompts: Dataset, bucket: str, earlier: Earlier
) -> None:
    asked = {
        row["prompt_id"]: row for row in prompts.table(["prompt_id", "prompt", "template"], bucket=bucket).to_pylist()
    }
    checks = {name: template.checks for name, template in used_templates(workspace.recipe).items()}
    policy = workspace.recipe.quality
    verdicts: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    openers: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    total = words = 0
    for table in generations.tables(["doc_id", "prompt_id", "status", "text", "finish_reason", "completion_tokens"]):
        answered = table.filter(pc.equal(table["status"], "ok")).to_pylist()
        known = earlier.take([answer["doc_id"] for answer in answered])
        rows = []
        for answer in answered:
            key = answer["doc_id"]
            if key in known:
                (row,), rejected = known[key], earlier.rejected(key)
                boilerplate = rejected["detail"] if rejected else None
                writer.reused_rows += 1
            else:
                prompt = asked[answer["prompt_id"]]
                row, boilerplate = _judged(answer, prompt["prompt"], policy, checks.get(prompt["template"]))
            reasons = row["reasons"]
            verdict = reasons[0] if reasons else "keep"
            verdicts[verdict] += 1
            tokens[verdict] += answer["completion_tokens"]
            openers[row["opener"]] += 1
            lengths[min(row["words"] // 25, 40)] += 1
            words += row["words"]
            total += 1
            rows.append(row)
            if reasons:
                writer.reject(key, verdict, detail=boilerplate)
        writer.write(pa.Table.from_pylist(rows, schema=GENERATION_QUALITY))
        workspace.progress(total, generations.manifest.rows, "documents")
    kept = verdicts.pop("keep", 0)
    flow = generations.manifest.flow
    writer.flow("documents", flow.rows_out, kept, dropped=verdicts, tokens=flow.tokens_through(tokens))
    common = sorted(openers.items(), key=lambda item: (-item[1], item[0]))[:MAX_OPENERS]
    writer.summary = {
        "openers": [[opener, count] for opener, count in common],
        "words": words,
        "lengths": [[25 * step, count] for step, count in sorted(lengths.items())],
    }


def _judged(
    answer: Mapping[str, Any], prompt: str, policy: QualityPolicy, checks: OutputChecks | None
) -> tuple[dict[str, Any], str | None]:
    """The row of one answer, and the boilerplate found in it. A template that the recipe names no more checks
    nothing."""
    measures = measure(answer["text"], prompt)
    reasons = broken_rules(measures, answer["finish_reason"], policy)
    reasons += broken_checks(answer["text"], measures.words, checks) if checks else []
    row = {
        "doc_id": answer["doc_id"],
        "keep": not reasons,
        "reasons": reasons,
        "words": measures.words,
        "repetition": measures.repetition,
        "language": measures.language,
        "seed_overlap": measures.seed_overlap,
        "opener": measures.opener,
    }
    return row, measures.boilerplate
