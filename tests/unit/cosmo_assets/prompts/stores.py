"""A small store up to the prompt table: seeds, topics, extracts, and a recipe whose templates lie beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmo_assets.prompts import seed_extracts, table
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.stage import Workspace
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.store import CorpusStore
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer

BODIES = {
    "lesson": "Write {{ words }} words.\n{% if topic %}Topic: {{ topic }}\n{% endif %}{{ extract }}\nNo title.",
    "story": "Tell a story.\n{% if title %}{{ title }}\n{% endif %}{{ extract }}",
    "letter": "Write a letter about this:\n{{ extract }}",
}


def seed(name: str, *, text: str | None = None, **columns: Any) -> dict[str, Any]:
    key = digest("seed", name)
    words = prose(name, 60) if text is None else text
    return {"seed_id": key, "kind": "web", "source": "pages", "text": words, "licence": "CC0-1.0", **columns}


def seeds(count: int, tag: str = "seed") -> list[dict[str, Any]]:
    return [seed(f"{tag} {number}") for number in range(count)]


def write_templates(folder: Path, bodies: Mapping[str, str], **fields: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        front = {"id": name, "version": "1", "audience": "general", "format": name, "words": 100, "max_tokens": 200}
        front |= {"kinds": "[web, course]", "extract_tokens": 40 if "{{ extract }}" in body else 0} | fields
        lines = [f'{key}: "{value}"' if key == "version" else f"{key}: {value}" for key, value in front.items()]
        (folder / f"{name}.md").write_text("---\n" + "\n".join(lines) + f"\n---\n{body}\n", encoding="utf-8")


def described(folder: Path, uses: Mapping[str, float], *, buckets: int = 3, **prompts: Any) -> Recipe:
    """A recipe that uses some templates of `folder`, each at a rate."""
    mix = {"templates": [{"template": name, "per_seed": rate} for name, rate in uses.items()]}
    sections = {"mixes": {"web": mix}, "template_folders": ["templates"], **prompts}
    found = recipe(buckets=buckets, prompts=sections)
    return found.model_copy(update={"folder": folder})


def put_seeds(
    space: Workspace, rows: Sequence[Mapping[str, Any]], *, parts: int = 1, topics: Mapping[str, Any] | None = None
) -> None:
    """Seeds and their topics, in some parts."""
    cut = [list(rows[number::parts]) for number in range(parts)]
    put(space, "seed_documents", _parts(cut), version=json_digest([list(rows), parts]))
    decided = [
        [
            {"seed_id": row["seed_id"], "cluster_id": 0, "topic": "Rivers", **(topics or {}).get(row["seed_id"], {})}
            for row in part
        ]
        for part in cut
    ]
    put(space, "seed_topics", _parts(decided), version=json_digest(decided))


def _parts(parts: Sequence[Sequence[Mapping[str, Any]]]) -> dict[Any, Sequence[Mapping[str, Any]]]:
    return {None if number == 0 else f"part {number}": part for number, part in enumerate(parts)}


def build(
    store: Path,
    rows: Sequence[Mapping[str, Any]],
    made_of: Recipe,
    *,
    parts: int = 1,
    workers: int = 1,
    topics: Mapping[str, Any] | None = None,
) -> tuple[Workspace, Manifest]:
    """The prompt table of some seeds."""
    space = Workspace(CorpusStore(store), made_of)
    put_seeds(space, rows, parts=parts, topics=topics)
    seed_extracts.build(space, tiny_tokenizer())
    return space, table.build(space, workers)


def prompts(space: Workspace) -> dict[str, dict[str, Any]]:
    """All prompts by id."""
    rows: list[dict[str, Any]] = space.store.open("prompt_table").table().to_pylist()
    return {row["prompt_id"]: row for row in rows}
