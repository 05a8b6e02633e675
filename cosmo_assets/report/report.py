"""The corpus report: the whole corpus on one page, `report.html`, the map of its seeds beside it, and its key figures
as a table.

Belongs here: the stage, and the order of the report's parts. Does not belong here: what a part holds (`figures`,
`examples`, `filtering`), what is read (`corpus`), HTML (`html`).

The page's digest is part of the report's identity, so the page is a function of the versions that it reads: it holds
nothing of a manifest's `run`, no volatile column, and no order that a hash table chose. The exceptions are what the
device time of the runs was, in the account, and what the accepted version measured, in diversity: the digest is that of
the page without them.
"""

from functools import partial

import pyarrow as pa

from cosmo_assets.mixture.nearness import optimum_of
from cosmo_assets.real.texts import DOCUMENTS
from cosmo_assets.report import accounts, examples, figures, filtering
from cosmo_assets.report.corpus import Corpus, Section, read_corpus
from cosmo_assets.report.html import Table, page
from cosmo_assets.schemas.corpus import CORPUS_REPORT
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import mapping
from cosmo_resources.storage.digest import digest
from cosmo_resources.storage.files import link_or_copy, write_text
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import ALL
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "5"
PAGE = "report.html"

SECTIONS = (
    figures.headline,
    figures.funnel,
    figures.topics,
    figures.topic_map,
    figures.prompts,
    figures.generation,
    figures.quality,
    examples.decontamination,
    examples.duplicates,
    figures.mixture,
    figures.tokens,
    figures.licences,
    examples.samples,
    examples.traces,
)


def build(workspace: Workspace) -> Manifest:
    """Build `corpus_report`. Cost: a few columns of the token index and of the verdicts, the chosen documents; memory
    for the latter.

    Raises:
        CosmoError: an asset is not built yet.
    """
    corpus, optimum = read_corpus(workspace), optimum_of(workspace.recipe)
    return workspace.build(
        "corpus_report",
        lambda writer: _produce(writer, corpus),
        stage_version=STAGE_VERSION,
        inputs=corpus.inputs,
        params={
            **figures.described(workspace.recipe),
            "gpu_hour_price": workspace.recipe.budget.gpu_hour_price,
            **({"optimum": optimum.model_dump()} if optimum else {}),
            **({"age": workspace.recipe.age.model_dump()} if workspace.recipe.age else {}),
            **({"diversity_rate": workspace.recipe.diversity.rate} if workspace.recipe.diversity else {}),
        },
        of_outdated=True,  # it says so
    )


def _produce(writer: DatasetWriter, corpus: Corpus) -> None:
    recipe = corpus.workspace.recipe
    sections = []
    for number, section in enumerate(SECTIONS):
        corpus.workspace.progress(number, len(SECTIONS), "sections")
        sections.append(section(corpus))
    found = accounts.accounts(corpus)
    timed = any(row["device_seconds"] for row in found["source"])
    priced = recipe.budget.gpu_hour_price > 0
    sections.append(accounts.section(found, timed=False, priced=False))
    content = {name: value for section in sections for name, value in section.content.items()}
    plain, compared = (filtering.parts(corpus, compared=compared) for compared in (False, True))
    content |= {
        "name": recipe.name,
        "description": recipe.description,
        "stale": corpus.stale(),
        "versions": _versions(corpus),
    }
    rows = [
        {"section": section.name, "name": name, "value": float(value)}
        for section in (*sections, *plain)
        for name, value in section.figures.items()
    ]
    writer.write(pa.Table.from_pylist(rows, schema=CORPUS_REPORT))
    charts = {section.name: section.charts for section in sections}
    account = accounts.section(found, timed=timed, priced=priced).content
    full = page({**content, **account, **_asked(compared)}, {**charts, **{part.name: part.charts for part in compared}})
    bare = page({**content, **_asked(plain)}, {**charts, **{part.name: part.charts for part in plain}})
    writer.artifact(PAGE, partial(write_text, text=full), content=digest(bare))
    writer.run = {"accounts": {name: accounts.leading(rows, name) for name, rows in found.items()}}
    writer.artifact(mapping.PAGE, partial(link_or_copy, corpus.one("topic_map").folder / mapping.PAGE))
    documents = corpus.one("mixture").manifest.rows
    writer.flow("documents", documents, documents)
    searched = corpus.flow("decontaminated")
    contaminated = searched.rows_in - searched.rows_out
    writer.summary = {**sections[0].figures, "searched": searched.rows_in, "contaminated": contaminated}


def _asked(parts: list[Section]) -> dict[str, object]:
    return {"asked": parts, "asked_titles": tuple((part.name, part.content["title"]) for part in parts)}


def _versions(corpus: Corpus) -> Table:
    """Everything that the report depends on; the buckets last, folded away."""
    read = ("seed_documents", *([DOCUMENTS] if corpus.has_real else []), "benchmark_index")
    external = [ref for asset in read for ref in corpus.one(asset).manifest.inputs]
    rows: list[tuple[object, ...]] = [(ref.asset, None, None, None, ref.version) for ref in external]
    for asset, group in corpus.datasets.items():
        for bucket, manifest in ((bucket, dataset.manifest) for bucket, dataset in group.items()):
            name = None if bucket == ALL else bucket
            rows.append((asset, name, manifest.stage_version, manifest.rows, manifest.version))
    return Table(
        ("Asset", "Bucket", "Stage version", "Rows", "Version"),
        rows,
        shown=sum(bucket is None for _, bucket, *_ in rows),
    )
