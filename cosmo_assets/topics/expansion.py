"""The topic tree: subcategories of the recipe's file, and the subtopics that the model names for each.

Belongs here: the question, cleaning what is answered, taking over earlier answers. Does not belong here: the file
(`tree`), or which seeds a topic gets (`search`).
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from cosmo_assets.asking import Ahead, answered, build_asking
from cosmo_assets.ids import request_seed
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.topics import TopicTree
from cosmo_assets.schemas.topics import TOPIC_TREE
from cosmo_assets.stage import Workspace
from cosmo_assets.topics.tree import Subcategory, recipe_tree
from cosmo_resources.errors import CosmoError
from cosmo_resources.fulltext import ANALYZER, terms
from cosmo_resources.inference.answers import AnswerLog, Client
from cosmo_resources.inference.client import Request
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.manifest import Manifest
from cosmo_resources.storage.writer import DatasetWriter

STAGE_VERSION = "1"
SHORTEST, LONGEST = 3, 80
"""Characters of a subtopic."""

MOST_WORDS = 12

NUMBERING = re.compile(
    r"^(?:[-*•–—]+|\(?\d{1,3}[.):](?=\s|[^\W\d])|\(?[a-h]\)|(?:chapter|unit|topic|lesson)\s+\d+[.:]?)\s*", re.IGNORECASE
)
GENERIC = frozenset(
    word
    for text in ("introduction basics fundamentals overview principles concepts essentials foundations advanced topics",
                 "introductory elementary general theory practice key important various other applications")
    for word in terms(text)
)  # fmt: skip
"""Terms that make no topic of their own: a subcategory's name with these is the subcategory again."""

USABLE = ("given", "ok", "subcategory")
"""Statuses of a subcategory that is as it was wanted."""


@dataclass
class Node:
    """A subcategory under question: what is asked (as a digest), what has been answered, what of it is used."""

    place: Subcategory
    wanted: int
    key: str | None = None
    answers: list[str] = field(default_factory=list)
    error: str | None = None
    named: list[str] = field(default_factory=list)
    status: str = "given"

    @property
    def missing(self) -> int:
        return max(0, self.wanted - len(self.place.subtopics) - len(self.named))


def topic_id(category: str, subcategory: str, subtopic: str) -> str:
    """Id of a topic: the hash of its path in the tree."""
    return digest("topic", category, subcategory, subtopic)


def build(workspace: Workspace, client: Callable[[], Client]) -> Manifest:
    """Build `topic_tree`. Cost: one to `attempts` requests per subcategory that names fewer subtopics than wanted and
    was not asked about before, in an earlier version or in a build that was killed; the client is made if needed."""
    recipe = workspace.recipe
    tree = recipe_tree(recipe)
    return build_asking(
        workspace,
        "topic_tree",
        lambda writer, log: _produce(writer, workspace, tree, log),
        client,
        stage_version=STAGE_VERSION,
        inputs=(),
        params={
            "tree": json_digest([[node.category, node.name, list(node.subtopics)] for node in tree]),
            "analyzer": ANALYZER,
            **_asking(recipe),
        },
        fresh=lambda manifest: "failed" not in manifest.flow.failed,
    )


def ahead(workspace: Workspace) -> Ahead:
    """What `build` would ask."""
    wanted = _tree(workspace.recipe)
    asked = [node for node in _nodes(workspace, recipe_tree(workspace.recipe)) if node.key]
    there = sum(bool(node.answers) for node in asked)
    return Ahead.of("topic_tree", "subcategories", len(asked), there, wanted.attempts, wanted.max_tokens)


def question(place: Subcategory, covered: Sequence[str], wanted: int) -> str:
    """The prompt that asks for subtopics of a subcategory; `covered` are those that it has."""
    known = f"These are there already: {'; '.join(covered)}. Name others.\n" if covered else ""
    return (
        "You plan a library of textbook units and articles.\n"
        f"Category: {place.category}\nSubject: {place.name}\n{known}"
        f"Name {wanted} specific topics within this subject, each different from the others, each fit for one unit. "
        "Two to six words each, without numbers, and not the name of the subject itself.\n"
        'Answer with JSON only: an object with one field, "subtopics", a list of strings.'
    )


def answer_schema(wanted: int) -> dict[str, Any]:
    """The JSON schema of an answer: a list of as many names as are wanted."""
    name = {"type": "string", "minLength": SHORTEST, "maxLength": LONGEST}
    names = {"type": "array", "items": name, "minItems": wanted, "maxItems": wanted}
    return {
        "type": "object",
        "properties": {"subtopics": names},
        "required": ["subtopics"],
        "additionalProperties": False,
    }


def parse(answer: str) -> list[str]:
    """The names of a raw answer, without numbering and quotes; what is no name is left out.

    Raises:
        ValueError: it is not the JSON that was asked for.
    """
    value = json.loads(answer)
    names = value.get("subtopics") if isinstance(value, dict) else None
    if not isinstance(names, list):
        raise ValueError("no list of subtopics")
    return [text for name in names if isinstance(name, str) and (text := tidy(name))]


def tidy(name: str) -> str:
    """A name without numbering, quotes, a full stop at its end; empty where it is no name: too short or long, no
    letter, brackets in it, or the same words again and again."""
    text = NUMBERING.sub("", " ".join(name.split())).strip(" \"'`“”‘’*_.;:,")
    words = re.findall(r"\w+", text.lower())
    usable = SHORTEST <= len(text) <= LONGEST and any(map(str.isalpha, text)) and not set(text) & set("{}[]<>|\\")
    return text if usable and len(words) <= min(MOST_WORDS, 2 * len(set(words))) else ""


def meaning(name: str) -> frozenset[str]:
    """What makes a name another one than its neighbours: its search terms without generic ones, in any order."""
    return frozenset(terms(name)) - GENERIC


def reason_against(name: str, place: Subcategory, taken: Collection[frozenset[str]]) -> str | None:
    """Why a name cannot be a subtopic: it says no more than its parents do, or what another topic says already."""
    said = meaning(name)
    if said <= meaning(place.category) | meaning(place.name):
        return "restates_parent"
    return "duplicate" if said in taken else None


def _asking(recipe: Recipe) -> dict[str, Any]:
    """The part of the recipe that an answer depends on, beside the node."""
    tree = _tree(recipe)
    model = recipe.generation.model
    return {
        "subtopics": tree.subtopics,
        "attempts": tree.attempts,
        "max_tokens": tree.max_tokens,
        "model": model.name,
        "revision": model.revision,
    }


def _nodes(workspace: Workspace, tree: Sequence[Subcategory]) -> list[Node]:
    """The subcategories, with a key where the model is asked about them, and what earlier versions were answered."""
    recipe = workspace.recipe
    nodes = [Node(place, _tree(recipe).subtopics) for place in tree]
    asked = {json_digest([_body(node, 0, recipe), _asking(recipe)]): node for node in nodes if node.missing}
    known = answered(workspace.store, "topic_tree", STAGE_VERSION, asked)
    for key, node in asked.items():
        node.key = key
        for answer in known[key]["answers"] if key in known else ():
            _read(node, answer)
    return nodes


def _produce(writer: DatasetWriter, workspace: Workspace, tree: Sequence[Subcategory], log: AnswerLog) -> None:
    nodes = _nodes(workspace, tree)
    old = {(node.place.category, node.place.name) for node in nodes if node.answers}
    _ask(workspace, [node for node in nodes if node.missing and not node.answers], log)
    rows, dropped = _rows(nodes, writer)
    writer.reused_rows = sum((row["category"], row["subcategory"]) in old for row in rows)
    writer.write(pa.Table.from_pylist(rows, schema=TOPIC_TREE))
    failed = Counter(node.status for node in nodes if node.status not in USABLE)
    for node in nodes:
        if node.status not in USABLE:
            last = node.answers[-1] if node.answers else None
            writer.reject(_path(node.place), node.status, field="subtopics", detail=node.error or last)
    writer.flow("subcategories", len(tree), len(nodes) - failed.total(), failed=failed)
    per_node = Counter((row["category"], row["subcategory"]) for row in rows)
    writer.summary = {
        "categories": _by_category(rows),
        "topics": len(rows),
        "named": sum(row["status"] == "ok" for row in rows),
        "short": sum(per_node[node.place.category, node.place.name] < node.wanted for node in nodes),
        "dropped": dict(sorted(dropped.items())),
    }


def _ask(workspace: Workspace, nodes: Sequence[Node], log: AnswerLog) -> None:
    """Ask for the subtopics of nodes, again where an answer leaves some missing."""
    by_key = {str(number): node for number, node in enumerate(nodes)}
    for attempt in range(_tree(workspace.recipe).attempts):
        open_ = {key: node for key, node in by_key.items() if node.missing and node.status != "refused"}
        requests = (Request(key, _body(node, attempt, workspace.recipe)) for key, node in open_.items())
        for answer in log.answers(requests):
            if answer.status == "ok":
                _read(by_key[answer.key], answer.text)
            else:
                by_key[answer.key].status, by_key[answer.key].error = answer.status, answer.error
            workspace.progress(sum(not node.missing for node in nodes), len(nodes), "subcategories")


def _read(node: Node, text: str) -> None:
    """Add what an answer names to a node; names that say nothing new within the node are left out."""
    node.answers.append(text)
    try:
        names = parse(text)
    except (ValueError, RecursionError):
        node.status = "ok" if node.named else "unreadable"
        return
    for name in names:
        has = {meaning(other) for other in (*node.place.subtopics, *node.named)}
        if node.missing and reason_against(name, node.place, has) is None:
            node.named.append(name)
    node.status, node.error = ("ok" if node.named else "unusable"), None


def _body(node: Node, attempt: int, recipe: Recipe) -> dict[str, Any]:
    prompt = question(node.place, (*node.place.subtopics, *node.named), node.missing)
    schema = {"name": "subtopics", "schema": answer_schema(node.missing), "strict": True}
    return {
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0.0 if attempt == 0 else 0.3 + 0.2 * attempt,
        "max_tokens": _tree(recipe).max_tokens,
        "seed": request_seed(digest("subtopics", recipe.generation.model.name, prompt, str(attempt))),
        "response_format": {"type": "json_schema", "json_schema": schema},
    }


def _rows(nodes: Sequence[Node], writer: DatasetWriter) -> tuple[list[dict[str, Any]], Counter[str]]:
    """The topics, and how many names were dropped because another subcategory has them: what the file names goes
    first, then the order of the tree."""
    dropped: Counter[str] = Counter()
    taken = {meaning(name) for node in nodes for name in (node.place.name, *node.place.subtopics)}
    rows = []
    for node in nodes:
        topics = [(name, "given") for name in node.place.subtopics]
        for name in node.named:
            reason = reason_against(name, node.place, taken)
            if reason is None:
                taken.add(meaning(name))
                topics.append((name, "ok"))
            else:
                dropped[reason] += 1
                writer.reject(_path(node.place), reason, field="subtopics", detail=name)
        if node.status == "ok" and len(topics) == len(node.place.subtopics):
            node.status = "unusable"
        if not topics:
            topics = [(node.place.name, node.status if node.key else "subcategory")]
        rows += [
            {
                "topic_id": topic_id(node.place.category, node.place.name, name),
                "category": node.place.category,
                "subcategory": node.place.name,
                "subtopic": name,
                "status": status,
                "key": None if node.error else node.key,
                "answers": node.answers,
            }
            for name, status in topics
        ]
    return rows, dropped


def _by_category(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["category"]].append(row)
    return [
        {
            "category": category,
            "subcategories": len({row["subcategory"] for row in members}),
            "topics": len(members),
            "named": sum(row["status"] == "ok" for row in members),
        }
        for category, members in found.items()
    ]


def _path(place: Subcategory) -> str:
    return f"{place.category} / {place.name}"


def _tree(recipe: Recipe) -> TopicTree:
    if recipe.topics.tree is None:
        raise CosmoError(f"recipe {recipe.name} has no topics.tree", remedy="name a tree there, for example: general")
    return recipe.topics.tree
