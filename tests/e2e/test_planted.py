"""Bad texts at known rates in the answers of a model, in corpora by shipped recipes: what of them the selection finds,
and what it takes with them; and a model that falls into a template.

The model is the replay server's: it answers with pages of the web, sections of textbooks and pages of the demo, but
for one answer in twenty of each kind of bad text.
"""

import json
import random
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiohttp import web

from cosmo_assets.automation import materialize, plan_runs
from cosmo_assets.diversity import stage as diversity_stage
from cosmo_assets.ids import bucket_name
from cosmo_assets.recipe.diversity import Diversity
from cosmo_assets.recipe.mixture import Component, Mixture
from cosmo_assets.recipe.recipe import Recipe, load_recipe
from cosmo_resources.deployments import settings
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore
from tests.corpora import ROOT, Corpus
from tests.doubles.replay_server import replaying
from tests.e2e.test_real_sample import asked_in_chat
from tests.unit.cosmo_assets.selection.test_planted_texts import looping, menus, noise
from tests.unit.cosmo_assets.selection.test_planted_toxicity import abuse, abuse_in_a_page

pytestmark = [pytest.mark.samples, pytest.mark.timeout(900)]  # two corpora of hundreds of documents

EACH = 0.05
TEMPLATE = "Nobody who has ever watched a river would believe what is known about this today."
"""Of what the templates forbid it has nothing: no rule for a single text finds it."""
DRAWS = 1 << 32
PER_SEED = {"demo": 0.6, "real-sample": 0.35}


def late_loop(page: str, draw: random.Random) -> str:
    """A page whose last sentence is said again and again."""
    last = page.rstrip(". ").rsplit(". ", 1)[-1]
    return f"{page} {f'{last}. ' * 12}"


def half_menu(page: str, draw: random.Random) -> str:
    """A page among the parts of a web page around it, which are 30 % of its lines or more."""
    lines = textwrap.wrap(page, 120)
    return "\n".join([*lines, *menus(draw.randrange(DRAWS)).splitlines()[: max(4, len(lines) // 2)]])


PLANTS: dict[str, Callable[[str, random.Random], str]] = {
    "noise": lambda page, draw: noise(draw.randrange(DRAWS)),
    "menus": lambda page, draw: menus(draw.randrange(DRAWS)),
    "looping": lambda page, draw: looping(draw.randrange(DRAWS)),
    "abuse": lambda page, draw: abuse(draw, page),
    "abuse in a page": lambda page, draw: abuse_in_a_page(draw, page),
    "a page that ends in a loop": late_loop,
    "a page with a menu": half_menu,
}
FOUND = ("noise", "menus", "looping", "abuse", "abuse in a page")
"""Of which nine in ten or more must be found."""


@dataclass
class Model:
    """Answers by the prompt and the model's revision alone. `planted` holds what each answer is; `alike` is the share
    that begins with the template."""

    pages: list[str]
    plant: bool = True
    revision: str = "1"
    alike: float = 0.0
    planted: dict[str, str] = field(default_factory=dict)

    def __call__(self, body: dict[str, Any], _: int) -> web.Response | None:
        if "response_format" in body:
            return None
        prompt = body["messages"][-1]["content"]
        draw = random.Random(blake2b(f"{self.revision}/{prompt}".encode()).digest())
        page, kind, rank = draw.choice(self.pages), "", draw.random()
        if self.plant and rank < EACH * len(PLANTS):
            kind = list(PLANTS)[int(rank / EACH)]
        text = PLANTS[kind](page, draw) if kind else page
        text = f"{TEMPLATE} {text}" if draw.random() < self.alike else text
        self.planted[text] = kind
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 50, "completion_tokens": len(text.split()), "total_tokens": 50}
        return web.json_response({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage})


@pytest.fixture(scope="module")
def pages(samples_folder: Path) -> list[str]:
    path = samples_folder / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt"
    found = textwrap.wrap(path.read_text(encoding="utf-8"), 1500, replace_whitespace=False)
    books = sorted(samples_folder.glob("openstax_ccby/*.text.jsonl"))
    demo = sorted((ROOT / "cosmo_assets" / "recipes" / "demo" / "web").glob("pages-[!m]*.jsonl"))
    rows = [line for path in (*books, *demo) for line in path.read_text(encoding="utf-8").splitlines()]
    return [*found, *(text[:1500] for row in rows if len(text := json.loads(row)["text"]) >= 700)]


@dataclass
class Built:
    """A corpus by a shipped recipe, with so many prompts a seed that there is something to count."""

    recipe: Recipe
    corpus: Corpus
    model: Model
    url: str

    @property
    def store(self) -> CorpusStore:
        return CorpusStore(self.corpus.data / self.recipe.name)

    def build(self, *assets: str, **changes: Any) -> list[str]:
        """Asked of the model's present revision: every answer is new."""
        named = self.recipe.generation.model.model_copy(update={"revision": self.model.revision})
        generation = self.recipe.generation.model_copy(update={"model": named})
        recipe = self.recipe.model_copy(update={"generation": generation, **changes})
        environment = self.corpus.environment(self.url, workers=2, concurrency=16)
        chosen = settings({**environment, "COSMO_RECIPE": recipe.name})
        with dg.DagsterInstance.ephemeral() as instance:
            return materialize(recipe, chosen, instance, plan_runs(recipe, assets))


def with_signals(name: str) -> Recipe:
    """A shipped recipe with what real-sample selects by, and so many prompts that there is something to count."""
    recipe, asked = asked_in_chat(load_recipe(name)), load_recipe("real-sample")
    mixes = {
        kind: mix.model_copy(
            update={
                "templates": tuple(
                    one.model_copy(update={"per_seed": PER_SEED[name] / len(mix.templates)}) for one in mix.templates
                )
            }
        )
        for kind, mix in recipe.prompts.mixes.items()
    }
    prompts = recipe.prompts.model_copy(update={"mixes": mixes})
    return recipe.model_copy(
        update={
            "prompts": prompts,
            "signals": asked.signals,
            "selection": asked.selection,
            "diversity": Diversity(block=20, sample=300),
            "mixture": Mixture(components={name: Component() for name in recipe.mixture.components}),
        }
    )


@pytest.fixture(scope="module", params=["demo", "real-sample"])
def built(
    request: pytest.FixtureRequest, samples_folder: Path, pages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    model = Model(pages)
    with pytest.MonkeyPatch.context() as patch, replaying(fault=model) as server:
        patch.setenv("COSMO_SAMPLES", str(samples_folder))
        server.topic = lambda prompt: prompt.split("fits them best from: ")[1].split(". ")[0].split(";")[0]
        found = Built(with_signals(request.param), Corpus(tmp_path_factory.mktemp("planted")), model, server.url)
        found.build()
        yield found


def test_what_is_planted_among_the_answers_is_found_and_pages_stay(built: Built) -> None:
    """Found is what breaks a rule of quality or a limit of the selection. docs/signals.md has the figures."""
    store, model = built.store, built.model
    kind_of, broken = {}, {}
    for bucket in (bucket_name(index) for index in range(built.recipe.buckets)):
        texts = store.open("generations", bucket).table(["doc_id", "text"]).to_pylist()
        kind_of |= {row["doc_id"]: model.planted[row["text"]] for row in texts if row["text"] in model.planted}
        broken |= {
            row["doc_id"]: row["reasons"] for row in store.open("generation_quality", bucket).table().to_pylist()
        }
    selection = {row["doc_id"]: row["reason"] for row in store.open("selection").table().to_pylist()}
    judged, found, reasons = Counter[str](), Counter[str](), defaultdict(set)
    for doc_id, kind in kind_of.items():
        said = [reason for reason in broken[doc_id] if not reason.startswith("template_")]
        said += [reason for reason in [selection.get(doc_id)] if reason]
        if doc_id in selection or said:  # the others have not the form of their template, or are duplicates
            judged[kind] += 1
            found[kind] += bool(said)
            reasons[kind].update(said)
    for kind in judged:
        print(f"{kind or 'pages'}: {found[kind]} of {judged[kind]}: {', '.join(sorted(reasons[kind]))}")
    assert judged[""] > 100
    assert found[""] <= 0.03 * judged[""], "of the pages nearly all stay"
    for kind in FOUND:
        assert judged[kind] >= 5, kind
        assert found[kind] >= 0.9 * judged[kind], kind
    assert sum(found[kind] for kind in FOUND) >= 0.9 * (found.total() - found["a page that ends in a loop"])
    assert found["a page that ends in a loop"] >= 0.9 * judged["a page that ends in a loop"]
    assert found["a page with a menu"] <= 0.5 * judged["a page with a menu"], "the bounds do not see these"
    assert "toxicity.worst_paragraph" in reasons["abuse in a page"]


@pytest.mark.parametrize("built", ["real-sample"], indirect=True)  # the demo has too few seeds for two blocks
def test_a_model_that_begins_one_answer_in_twenty_alike_gets_no_shards(built: Built) -> None:
    store, model = built.store, built.model
    shards, first = (store.open(asset).manifest.version for asset in ("tokenized_shards", "corpus_diversity"))
    model.plant, model.revision, model.alike = False, "2", 0.05
    with pytest.raises(CosmoError, match="diversity"):
        built.build()
    second = store.open("corpus_diversity").manifest
    assert second.run["before"]["of"] == f"version {first}"
    found = {verdict.measure: verdict for verdict in diversity_stage.verdicts(second, built.recipe) if verdict.worse}
    print({name: (verdict.now, verdict.before) for name, verdict in found.items()}, second.summary["sample"])
    assert found["opener"].phrase == "nobody who has ever watched"
    assert 0.02 < found["opener"].now < 0.08
    assert store.open("tokenized_shards").manifest.version == shards
