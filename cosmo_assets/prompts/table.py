"""The prompt table: which seed meets which templates, rendered, with ids, stored by bucket.

Belongs here: allocation and assembly. Does not belong here: templates and their rendering (`templates`), where an
extract may end (`extracts`).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from cosmo_assets.ids import bucket_name, bucket_of, prompt_id, uniform
from cosmo_assets.prompts.extracts import cut
from cosmo_assets.prompts.templates import SeedView, Template, load_templates, render, variables
from cosmo_assets.recipe import PromptMix, Recipe
from cosmo_assets.schemas import PROMPT_TABLE
from cosmo_assets.seeds.licences import DENIED, refusal
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.decisions import Decision, decisions
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.earlier import Earlier, RowSource
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter
from cosmo_resources.tokenizers import NamedTokenizer

STAGE_VERSION = "5"


def build(workspace: Workspace, tokenizer: NamedTokenizer) -> Manifest:
    """Build `prompt_table`. Cost: cutting the extracts of seeds that no earlier version cut to the same number of
    tokens, and rendering all prompts, which costs about a hundredth as much; rows of all buckets are held in memory."""
    store, recipe = workspace.store, workspace.recipe
    outlined = ("course_outlines",) if recipe.prompts.outlines is not None else ()
    inputs = [store.open(asset) for asset in ("seed_documents", "seed_topics", *outlined)]
    templates = used_templates(recipe)
    params = {
        "prompts": recipe.prompts.model_dump(exclude={"template_folders", "outlines"}),
        "licences": recipe.licences.model_dump(),
        "templates": {key: _template_digest(template) for key, template in sorted(templates.items())},
        "max_tokens": recipe.generation.max_tokens,
        "buckets": recipe.buckets,
        "tokenizer": tokenizer.digest,
    }
    return workspace.build_rows(
        "prompt_table",
        lambda writer, earlier: _produce(writer, workspace, templates, tokenizer, earlier),
        key="seed_id",
        sources=[RowSource(inputs[0], ("text",))],
        depends=lambda params: (params["tokenizer"], params["prompts"]["extract_tokens"]),
        stage_version=STAGE_VERSION,
        inputs=tuple(dataset.ref() for dataset in inputs),
        params=params,
    )


def used_templates(recipe: Recipe) -> dict[str, Template]:
    """The templates that a recipe names.

    Raises:
        CosmoError: one does not exist, or does not suit the kind of source that it is named for.
    """
    known = load_templates([recipe.folder / folder for folder in recipe.prompts.template_folders])
    used: dict[str, Template] = {}
    for kind, mix in recipe.prompts.mixes.items():
        for use in mix.templates:
            template = known.get(use.template)
            if template is None or kind not in template.kinds:
                problem = "there is no such template" if template is None else f"it is made for {template.kinds}"
                suited = sorted(key for key, value in known.items() if kind in value.kinds)
                raise CosmoError(
                    f"recipe field prompts.mixes.{kind}.templates: {use.template}: {problem}",
                    remedy=f"name one of {', '.join(suited)}",
                )
            used[use.template] = template
    return used


def allocate(seed: str, mix: PromptMix) -> list[str]:
    """The templates that a seed without an outline meets, each at most once."""
    return [template for template, _ in allocate_units(seed, mix, (), ())]


def allocate_units(
    seed: str, mix: PromptMix, units: Sequence[str], by_unit: Collection[str]
) -> list[tuple[str, str | None]]:
    """The templates that a course meets, those in `by_unit` each with the unit that it is about; no pair comes twice.
    Another unit in the outline moves none of the pairs that are still drawn."""
    weights: dict[tuple[str, ...], float] = {}
    for use in mix.templates:
        if units and use.template in by_unit:
            weights |= {(use.template, unit): use.weight / len(units) for unit in units}
        else:
            weights[use.template,] = use.weight
    return [(template, unit[0] if unit else None) for template, *unit in _drawn(seed, mix, weights)]


def seed_view(
    seed: Mapping[str, Any],
    topic: str | None,
    name_topic: bool,
    extract: str,
    unit: str | None = None,
    outline: Sequence[str] = (),
) -> SeedView:
    return SeedView(seed["title"], tuple(seed["context"]), extract, topic, name_topic, unit, tuple(outline))


def _drawn(seed: str, mix: PromptMix, weights: Mapping[tuple[str, ...], float]) -> list[tuple[str, ...]]:
    """As many of these as the mix gives a seed, each at most once.

    A weighted draw without replacement from keys that depend on the seed and one candidate alone (Efraimidis and
    Spirakis, 2006, algorithm A: the largest u^(1/w) win, here by their logarithms, since small weights make all powers
    zero), so that no other seed and no added row can change it.
    """
    count = int(mix.per_seed) + (uniform("prompts", seed) < mix.per_seed % 1)
    draws = {parts: max(uniform("template", seed, *parts), 1e-300) for parts in weights}
    keys = {parts: math.log(draws[parts]) / weight for parts, weight in weights.items()}
    return sorted(keys, key=lambda parts: (-keys[parts], parts))[:count]


def _produce(
    writer: DatasetWriter,
    workspace: Workspace,
    templates: Mapping[str, Template],
    tokenizer: NamedTokenizer,
    earlier: Earlier,
) -> None:
    store, recipe = workspace.store, workspace.recipe
    before = earlier.rows()
    lengths = dict(zip(before["seed_id"].to_pylist(), before["extract_chars"].to_pylist(), strict=True))
    decision_on = decisions(store)
    outlines = _outlines(store) if recipe.prompts.outlines is not None else {}
    by_unit = {key for key, template in templates.items() if "unit" in variables(template)}
    seeds = store.open("seed_documents")
    dropped: Counter[str] = Counter()
    denied: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    buckets: dict[str, list[dict[str, Any]]] = {bucket_name(index): [] for index in range(recipe.buckets)}
    done = used = 0
    for seed in (row for table in seeds.tables() for row in table.to_pylist()):
        done += 1
        decision = _found(decision_on, seed["seed_id"])
        mix, outline = recipe.prompts.mixes[seed["kind"]], outlines.get(seed["seed_id"], [])
        chosen = allocate_units(seed["seed_id"], mix, outline, by_unit)
        if why := refusal(seed["licence"], recipe.licences):
            dropped[DENIED] += 1
            denied[seed["licence"]] += 1
            writer.reject(seed["seed_id"], DENIED, field="licence", detail=f"{seed['licence']}: {why}")
        elif decision.excluded is not None:
            dropped[decision.excluded] += 1
            writer.reject(seed["seed_id"], decision.excluded, detail=decision.topic)
        elif not chosen:
            dropped["not_drawn"] += 1
        else:
            try:
                extract = _extract(seed, lengths, recipe.prompts.extract_tokens, tokenizer)
                rows = list(_prompts(seed, extract, chosen, outline, decision, templates, recipe))
            except CosmoError as error:  # one seed that a template cannot take does not stop the others
                failed["not_rendered"] += 1
                writer.reject(seed["seed_id"], "not_rendered", detail=error.message)
                continue
            used += 1
            writer.reused_rows += len(rows) if seed["seed_id"] in lengths else 0
            for row in rows:
                buckets[row["bucket"]].append(row)
        if done % 1000 == 0:
            workspace.progress(done, seeds.manifest.rows, "seeds")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for bucket, rows in buckets.items():
        rows.sort(key=lambda row: row["prompt_id"])
        writer.write(pa.Table.from_pylist(rows, schema=PROMPT_TABLE), bucket=bucket)
        for row in rows:
            for column in ("bucket", "source", "licence", "template", "audience", "format"):
                counts[column][row[column]] += 1
    writer.flow("seeds", seeds.manifest.rows, used, dropped=dropped, failed=failed)
    ids = [row["prompt_id"] for rows in buckets.values() for row in rows]
    writer.summary = {
        "prompts": len(ids),
        "distinct": len(set(ids)),
        "counts": {column: dict(sorted(values.items())) for column, values in counts.items()},
        "licence_denied": dict(sorted(denied.items())),
        "of_a_unit": sum(row["unit"] is not None for rows in buckets.values() for row in rows),
        "named_topic": sum(row["topic_clause"] for rows in buckets.values() for row in rows),
        "max_tokens": sum(row["max_tokens"] for rows in buckets.values() for row in rows),
    }


def _found(decision_on: Mapping[str, Decision], seed: str) -> Decision:
    if (decision := decision_on.get(seed)) is None:
        raise CosmoError(
            f"seed_topics knows nothing of seed {seed}: it was built of other seeds",
            remedy="run `cosmo run` with the assets from seed_documents to seed_topics, then this again",
        )
    return decision


def _outlines(store: CorpusStore) -> dict[str, list[str]]:
    """The units of every course that has an outline."""
    table = store.open("course_outlines").table(["seed_id", "units"])
    return {row["seed_id"]: row["units"] for row in table.to_pylist() if row["units"]}


def _extract(seed: Mapping[str, Any], lengths: Mapping[str, int], tokens: int, tokenizer: NamedTokenizer) -> str:
    """A seed's extract, which is the beginning of its text; where an earlier version cut it, it is cut there again."""
    text: str = seed["text"]
    if (length := lengths.get(seed["seed_id"])) is not None:
        return text[:length]
    if extract := cut(text, tokens, tokenizer.count):
        return extract
    raise CosmoError(
        f"seed {seed['seed_id']}: not even its first word, formula or code block fits an extract",
        remedy="raise prompts.extract_tokens in the recipe",
    )


def _prompts(
    seed: Mapping[str, Any],
    extract: str,
    chosen: Sequence[tuple[str, str | None]],
    outline: Sequence[str],
    decision: Decision,
    templates: Mapping[str, Template],
    recipe: Recipe,
) -> Iterator[dict[str, Any]]:
    for key, unit in chosen:
        template = templates[key]
        about = () if unit is None else (unit,)
        draw = uniform("topic", seed["seed_id"], key, *about)
        name_topic = decision.topic is not None and draw < recipe.prompts.topic_clause
        topic = decision.topic if name_topic else None
        text = render(template, seed_view(seed, topic, name_topic, extract, unit, outline))
        identity = prompt_id(
            seed=seed["seed_id"],
            template=template.id,
            template_version=template.version,
            audience=template.audience,
            format=template.format,
            choices={"name_topic": name_topic} | ({} if unit is None else {"unit": unit}),
            text=text,
        )
        yield {
            "prompt_id": identity,
            "bucket": bucket_of(identity, recipe.buckets),
            "seed_id": seed["seed_id"],
            "source": seed["source"],
            "kind": seed["kind"],
            "licence": seed["licence"],
            "cluster_id": decision.cluster_id,
            "topic": decision.topic,
            "unit": unit,
            "template": template.id,
            "template_version": template.version,
            "audience": template.audience,
            "format": template.format,
            "topic_clause": name_topic,
            "prompt": text,
            "extract_chars": len(extract),
            "max_tokens": min(template.max_tokens, recipe.generation.max_tokens),
        }


def _template_digest(template: Template) -> str:
    return digest(
        template.id, template.version, template.audience, template.format, str(template.max_tokens), template.body
    )
