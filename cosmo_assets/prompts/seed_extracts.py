"""Seed extracts: how much of every seed the templates of its kind show, in characters of its text.

Belongs here: the stage, and which budgets the templates need. Does not belong here: where a text may be cut
(`extracts`), which prompts are made (`table`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from cosmo_assets.prompts.extracts import cut_all, first_end
from cosmo_assets.prompts.mixes import used_templates
from cosmo_assets.prompts.templates import Template
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.schemas.generation import SEED_EXTRACTS
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import Dataset
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

STAGE_VERSION = "1"
TOO_LONG = "first_word_too_long"
_BATCH = 512
_SPACE = re.compile(r"\s*")

Budgets = Mapping[str, Mapping[int, bool]]
"""By kind of source the budgets in tokens, and whether all segments of that length are wanted or the first alone."""


def budgets(templates: Mapping[str, Template], recipe: Recipe) -> Budgets:
    """What the templates that a recipe uses show of their seeds."""
    found: dict[str, dict[int, bool]] = defaultdict(dict)
    for mix in recipe.prompts.mixes.values():
        for template in (templates[use.template] for use in mix.templates):
            if tokens := budget(template, recipe):
                mine = found[str(mix.kind)]
                mine[tokens] = mine.get(tokens, False) or template.segments
    return {kind: dict(sorted(found[kind].items())) for kind in sorted(found)}


def budget(template: Template, recipe: Recipe) -> int:
    """The tokens of a seed that a template shows at most; 0 where it shows nothing."""
    return min(template.extract_tokens, recipe.prompts.extract_tokens)


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `seed_extracts`: for every seed and budget of its kind one row, or one for each segment; none for a seed of
    whose text not even the first word fits, which is recorded.

    Cost: tokenizing the beginnings of seeds that no earlier version cut in the same way. Memory: one part of the seeds,
    and the rows of the earlier version.
    """
    seeds = workspace.store.open("seed_documents")
    wanted = budgets(used_templates(workspace.recipe), workspace.recipe)
    return workspace.build_rows(
        "seed_extracts",
        lambda writer, earlier: _produce(writer, workspace, seeds, wanted, tokenizer, earlier),
        key="seed_id",
        sources=[RowSource(seeds, ("kind", "text"))],
        stage_version=STAGE_VERSION,
        inputs=(seeds.ref(),),
        params={
            "budgets": {
                kind: {str(tokens): whole for tokens, whole in sizes.items()} for kind, sizes in wanted.items()
            },
            "tokenizer": tokenizer.digest,
        },
    )


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    seeds: Dataset,
    wanted: Budgets,
    tokenizer: NamedTokenizer,
    earlier: Earlier,
) -> None:
    done = failed = 0
    tokens: Counter[str] = Counter()
    extracts: Counter[str] = Counter()
    for table in seeds.tables(["seed_id", "kind", "text"]):
        known = earlier.take(table["seed_id"].to_pylist())
        rows: list[dict[str, Any]] = []
        for start in range(0, table.num_rows, _BATCH):
            batch = table.slice(start, _BATCH).to_pylist()
            cut = _cut([seed for seed in batch if seed["seed_id"] not in known], wanted, tokenizer)
            for seed in batch:
                mine = known.get(seed["seed_id"], [])
                writer.reused_rows += len(mine)
                mine = mine or cut.get(seed["seed_id"], [])
                rows += mine
                if not mine and wanted.get(seed["kind"]):
                    failed += 1
                    detail = "raise prompts.extract_tokens in the recipe"
                    writer.reject(seed["seed_id"], TOO_LONG, field="text", detail=detail)
            done += len(batch)
            workspace.progress(done, seeds.manifest.rows, "seeds")
        for row in rows:
            tokens[str(row["budget"])] += row["tokens"]
            extracts[str(row["budget"])] += 1
        writer.write(pa.Table.from_pylist(rows, schema=SEED_EXTRACTS))
    writer.flow("seeds", seeds.manifest.rows, done - failed, failed={TOO_LONG: failed} if failed else {})
    writer.summary = {
        "extracts": dict(sorted(extracts.items(), key=lambda item: int(item[0]))),
        "tokens": dict(sorted(tokens.items(), key=lambda item: int(item[0]))),
    }


def _cut(
    seeds: Sequence[Mapping[str, Any]], wanted: Budgets, tokenizer: NamedTokenizer
) -> dict[str, list[dict[str, Any]]]:
    """The rows of new seeds. A seed is left out as soon as one of its budgets is too small for its first word; a later
    word (formula, code block) that is longer than a segment may be is passed over, and with it a segment's number."""
    found: dict[str, list[dict[str, Any]]] = {seed["seed_id"]: [] for seed in seeds}
    for kind, sizes in wanted.items():
        mine = [seed for seed in seeds if seed["kind"] == kind]
        for tokens, whole in sizes.items():
            open_at = {seed["seed_id"]: _begin(seed["text"], 0) for seed in mine if seed["seed_id"] in found}
            segment = 0
            while open_at:
                now = [seed for seed in mine if seed["seed_id"] in open_at]
                texts = [seed["text"][open_at[seed["seed_id"]] :] for seed in now]
                for seed, text, end in zip(now, texts, cut_all(texts, tokens, tokenizer), strict=True):
                    key, start = seed["seed_id"], open_at.pop(seed["seed_id"])
                    if end.end == 0 and text and segment == 0:
                        del found[key]
                        continue
                    if end.end or segment == 0:
                        row = {"budget": tokens, "segment": segment, "start": start, "end": start + end.end}
                        found[key].append({"seed_id": key, **row, "tokens": end.tokens})
                    following = _begin(seed["text"], start + (end.end or first_end(text)))
                    if whole and following < len(seed["text"]):
                        open_at[key] = following
                segment += 1
    return found


def _begin(text: str, position: int) -> int:
    """Where the next segment begins: behind white space."""
    space = _SPACE.match(text, position)
    return space.end() if space else position
