"""Topics: how seeds are grouped and labelled, and what may be written about.

Belongs here: clusters, labels, the topic policy, topic trees, the map. Does not belong here: how many prompts a topic
gets (`prompts`).
"""

import re
from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share


class Clustering(Section):
    """How seeds are grouped, on their embeddings and the words that they use."""

    clusters: Count
    method: Literal["graph", "kmeans", "hdbscan"] = "graph"
    """graph: neighbours grouped and merged by Ward's criterion. kmeans: spherical k-means. hdbscan: by density; then
    `clusters` says how small a cluster may be, and not how many there are."""
    sample: Annotated[int, Field(ge=2)] = 100_000
    """Seeds that the model is fitted on, drawn by their ids; all seeds are then assigned by it."""
    dimensions: Annotated[int, Field(ge=2, le=1024)] = 128
    """Principal components that are clustered."""
    lexical: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the words of a text beside its meaning; 0 leaves them out."""
    outliers: Annotated[float, Field(ge=0, le=0.5)] = 0.01
    """Share of the fitted seeds that lie farthest from their clusters: a seed as far away as these is an outlier and
    makes no prompt, unless its source is exempt from the topic filter."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @pydantic.model_validator(mode="after")
    def _sample_suffices(self) -> Self:
        if self.sample < self.clusters:
            raise ValueError(f"sample {self.sample} is less than clusters {self.clusters}")
        return self


class Labelling(Section):
    """How the model is asked for a cluster's topic and educational value: twice, of different extracts, and again where
    the two answers differ."""

    form: Literal["chat", "text"] = "chat"
    """chat: an instruction that is answered with JSON. text: a catalogue that is continued, for models too small to
    follow an instruction."""
    central_extracts: Count = 10
    random_extracts: Count = 10
    extract_chars: Count = 420
    question_tokens: Annotated[int, Field(ge=200)] = 1600
    """Longest question in tokens of the recipe's tokenizer; extracts that have no room are left out."""
    votes: Annotated[int, Field(ge=2)] = 5
    score_tolerance: Annotated[float, Field(ge=0)] = 2.0
    topic_similarity: Share = 0.6
    """Cosine similarity of two invented topics from which they count as the same; chosen ones are the same or not."""
    attempts: Count = 3
    max_tokens: Count = 160
    shortlist: Count = 3
    """Where the recipe has headings: how many of the nearest ones the model chooses from."""


class TopicPolicy(Section):
    """Which topics may become prompts. Changing it re-runs the decisions on seeds and what follows, not the labels."""

    min_score: Annotated[float, Field(ge=1, le=10)] = 1.0
    deny: tuple[str, ...] = ()
    """Regular expressions, case-insensitive, searched in the topic that the model answered."""
    allow: tuple[str, ...] = ()
    """The same; where there are any, a topic that matches none of them is excluded."""
    deny_headings: tuple[str, ...] = ()
    """Headings of the recipe: a cluster whose nearest heading is one of them is excluded."""
    overrides: dict[str, Literal["keep", "drop"]] = {}
    """Decisions of a reviewer by topic label; they go before everything else."""
    overrides_file: str | None = None
    """A YAML list of such decisions with who made them and why, relative to the recipe."""
    unlabelled: Literal["keep", "drop"] = "drop"

    @pydantic.field_validator("deny", "allow")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return value


class TopicTree(Section):
    """Topic-first mode: a tree of topics, and for each topic the seeds that a full-text search finds best."""

    path: str
    """A shipped tree by its name, or a .yaml or .csv file, relative to the recipe's file."""
    subtopics: Annotated[int, Field(ge=0, le=50)] = 8
    """Subtopics wanted per subcategory: the model is asked for those that the file does not name. 0 asks nothing."""
    attempts: Count = 3
    max_tokens: Count = 400
    pages_per_topic: Count = 1000
    boost: Annotated[float, Field(gt=0)] = 2.0
    """Weight of the subtopic's words in a search; those of category and subcategory weigh 1."""
    min_score: Annotated[float, Field(ge=0)] = 0.0
    """Lowest BM25 score of a seed in a topic's search; it grows with the number and rarity of the words found."""
    top_up: bool = False
    """Whether a topic with fewer than k hits takes seeds that hold words of its category and subcategory only."""


class TopicMap(Section):
    """The map of the seeds."""

    points: Annotated[int, Field(ge=1, le=10_000)] = 5_000
    """Seeds that are laid out at most, and shown at most; the others are placed among these."""
    seed: int = 0
    """Another number draws other seeds."""


class Topics(Section):
    embedding: Literal["all-MiniLM-L6-v2"] = "all-MiniLM-L6-v2"
    headings: dict[str, str] = {}
    """Subject headings and what each is about. With them the model chooses a topic from those nearest to the cluster
    (by embedding) instead of inventing one: needed by small models, and the same words from any model."""
    clustering: Clustering
    labelling: Labelling = Labelling()
    policy: TopicPolicy = TopicPolicy()
    map: TopicMap = TopicMap()
    tree: TopicTree | None = None
