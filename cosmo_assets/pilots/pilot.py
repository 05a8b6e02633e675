"""Pilots: a few hundred answers to one template, kept, measured, and set beside earlier ones.

Belongs here: the stage. Does not belong here: what is measured (`statistics`), how it is shown (`page`), which seeds
are taken (`cosmo_assets.prompts.sampling`).

A variant is a template at one state of its file with one model and its sampling. Answers are kept by the ids that they
would have in the corpus, so asking for more of them, or for another template as well, asks the model for new ones
alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from cosmo_assets.asking import answered, build_asking
from cosmo_assets.ids import doc_id, request_seed
from cosmo_assets.pilots.page import Variant, pilot_page
from cosmo_assets.pilots.statistics import Answer, measure_pilot
from cosmo_assets.prompts.sampling import SamplePrompt, sample_prompts
from cosmo_assets.prompts.templates import Template
from cosmo_assets.recipe.generation import Model
from cosmo_assets.schemas.generation import TEMPLATE_PILOTS
from cosmo_assets.stage import Workspace
from cosmo_resources.inference.answers import AnswerLog, Client
from cosmo_resources.inference.client import Request
from cosmo_resources.storage.digest import json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from cosmo_resources.storage.writer import DatasetWriter

ASSET = "template_pilots"
STAGE_VERSION = "1"
PAGE = "pilot.html"
SHOWN = 12
"""Answers of each variant on the page."""


@dataclass(frozen=True)
class Trial:
    """A template to be tried on `count` seeds with a model."""

    template: Template
    model: Model
    count: int


def build(workspace: Workspace, trials: Sequence[Trial], client: Callable[[], Client]) -> Manifest:
    """Build `template_pilots`: the answers of these trials, and, beside each, those that earlier pilots of the same
    template gave with another state of it or another model. All trials are of one model, that of the client.

    Cost: one request for each answer that no earlier pilot has.

    Raises:
        CosmoError: the seeds are not built yet, or none suits a template.
    """
    store, recipe = workspace.store, workspace.recipe
    outlined = ("course_outlines",) if recipe.prompts.outlines is not None else ()
    inputs = [store.open(asset).ref() for asset in ("seed_documents", "seed_topics", "seed_extracts", *outlined)]
    asked = {trial: sample_prompts(store, recipe, trial.template, trial.count) for trial in trials}
    params = {
        "trials": [
            {
                "variant": variant_key(trial, recipe.generation.sampling.given),
                "count": trial.count,
                "words": recipe.prompts.words,
                "max_tokens": recipe.generation.max_tokens,
            }
            for trial in trials
        ]
    }
    return build_asking(
        workspace,
        ASSET,
        lambda writer, log: _produce(writer, workspace, asked, log),
        client,
        stage_version=STAGE_VERSION,
        inputs=tuple(inputs),
        params=params,
        fresh=lambda manifest: not manifest.flow.failed,
    )


def variant_key(trial: Trial, sampling: Mapping[str, Any]) -> str:
    """What makes a variant: the template's text and limits, the model, the sampling."""
    template = asdict(trial.template)
    shown = {name: value for name, value in template.items() if name not in ("checks", "description")}
    return json_digest([shown, trial.model.name, trial.model.revision, sampling])


def _produce(
    writer: DatasetWriter, workspace: Workspace, asked: Mapping[Trial, Sequence[SamplePrompt]], log: AnswerLog
) -> None:
    rows = {trial: _planned(workspace, trial, samples) for trial, samples in asked.items()}
    wanted = {row["key"]: row for mine in rows.values() for row in mine}
    known = answered(workspace.store, ASSET, STAGE_VERSION, wanted)
    for key, row in known.items():
        wanted[key] |= {name: row[name] for name in ("status", "text", "finish_reason", "error", "tokens")}
    new = [key for key, row in wanted.items() if row["status"] != "ok"]
    done = len(wanted) - len(new)
    for answer in log.answers(_requests(workspace, rows, set(new))):
        wanted[answer.key] |= {
            "status": answer.status,
            "text": answer.text.encode("utf-8", "replace").decode(),
            "finish_reason": answer.finish_reason,
            "error": answer.error,
            "tokens": answer.completion_tokens,
        }
        done += 1
        workspace.progress(done, len(wanted), "answers")
    beside = _beside(workspace.store, rows)
    table = pa.Table.from_pylist([*wanted.values(), *beside], schema=TEMPLATE_PILOTS)
    writer.reused_rows = table.num_rows - len(new)
    failed = [row for row in wanted.values() if row["status"] != "ok"]
    for row in failed:
        writer.reject(row["key"], row["status"], field="text", detail=row["error"])
    variants = _variants([*wanted.values(), *beside])
    writer.write(table)
    writer.flow(
        "answers",
        len(wanted),
        len(wanted) - len(failed),
        failed={status: sum(row["status"] == status for row in failed) for status in {row["status"] for row in failed}},
    )
    writer.summary = {
        "variants": [
            {"label": variant.label, "facts": dict(variant.facts), "statistics": variant.statistics.as_json()}
            for variant in variants
        ]
    }
    title = "Pilot of " + ", ".join(dict.fromkeys(trial.template.id for trial in asked))
    writer.artifact(PAGE, lambda path: _write(path, pilot_page(title, variants)))


def _write(path: Any, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _planned(workspace: Workspace, trial: Trial, samples: Sequence[SamplePrompt]) -> list[dict[str, Any]]:
    generation, template = workspace.recipe.generation, trial.template
    sampling = {**generation.sampling.given, "max_tokens": min(template.max_tokens, generation.max_tokens)}
    return [
        {
            "key": doc_id(
                prompt=sample.prompt_id,
                model=trial.model.name,
                revision=trial.model.revision,
                sampling=sampling,
                sample_index=0,
            ),
            "variant": variant_key(trial, generation.sampling.given),
            "template": template.id,
            "template_version": template.version,
            "model": trial.model.name,
            "model_revision": trial.model.revision,
            "sampling": ", ".join(f"{name} {value:g}" for name, value in sampling.items()),
            "seed_id": sample.seed_id,
            "prompt": sample.prompt,
            "extract": sample.extract,
            "status": "failed",
            "text": "",
            "finish_reason": None,
            "error": None,
            "tokens": 0,
        }
        for sample in samples
    ]


def _requests(
    workspace: Workspace, rows: Mapping[Trial, Sequence[Mapping[str, Any]]], new: set[str]
) -> Iterable[Request]:
    generation = workspace.recipe.generation
    for trial, mine in rows.items():
        limit = min(trial.template.max_tokens, generation.max_tokens)
        for row in mine:
            if row["key"] in new:
                messages = [{"role": "user", "content": row["prompt"]}]
                seed = request_seed(row["key"])
                body = {"messages": messages, **generation.sampling.given, "max_tokens": limit, "seed": seed}
                yield Request(row["key"], body)


def _beside(store: CorpusStore, rows: Mapping[Trial, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of other variants of the same templates, of the version of each that has most answers."""
    templates = {trial.template.id for trial in rows}
    mine = {row["variant"] for found in rows.values() for row in found}
    best: dict[str, list[dict[str, Any]]] = {}
    for version in store.versions(ASSET):
        if version.manifest.stage_version != STAGE_VERSION:
            continue
        stored = version.table().to_pylist()
        stored.sort(key=lambda row: row["variant"])
        for variant, group in groupby(stored, key=lambda row: row["variant"]):
            found = list(group)
            if variant not in mine and found[0]["template"] in templates and len(found) > len(best.get(variant, [])):
                best[variant] = found
    return [row for _, found in sorted(best.items()) for row in found]


def _variants(rows: Sequence[Mapping[str, Any]]) -> list[Variant]:
    """The columns of the page, in the order of the rows."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["variant"], []).append(row)
    variants = []
    for mine in groups.values():
        first = mine[0]
        answers = [
            Answer(row["text"], row["prompt"], row["extract"], row["finish_reason"], row["tokens"])
            for row in mine
            if row["status"] == "ok"
        ]
        facts = {
            "template": first["template"],
            "version": first["template_version"],
            "model": first["model"],
            "revision": first["model_revision"],
            "sampling": first["sampling"],
            "prompts": str(len(mine)),
            "failed": str(len(mine) - len(answers)),
        }
        label = f"{first['template']} {first['template_version']} · {first['model'].rsplit('/', 1)[-1]}"
        variants.append(Variant(label, facts, measure_pilot(answers), answers[:SHOWN]))
    return variants
