"""The recipe: the typed, frozen description of a corpus, read from YAML.

Belongs here: every field of a recipe with its meaning, bounds and default. Does not belong here: where things run
(`cosmo_resources.deployments`) or state of any kind.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import pydantic
import yaml
from pydantic import Field

from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.digest import json_digest

SHIPPED = Path(__file__).parent / "recipes"
BENCHMARKS = Path(__file__).parent / "benchmarks.yaml"
"""The registry: what is known of a benchmark by its name."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
SourceKind = Literal["web", "course", "book", "topic_tree", "title_list", "maths", "code", "conversation"]


class Section(pydantic.BaseModel):
    """Base of all parts of a recipe: immutable, unknown fields refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Source(Section):
    """Where seed documents come from. `path` is relative to the recipe's file and may be a glob; `${NAME}` is taken
    from the environment. "hub:owner/name@commit" is a dataset of the Hugging Face hub."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    kind: SourceKind
    reader: str
    path: str
    licence: str
    attribution: str | None = None
    homepage: str | None = None
    options: dict[str, Any] = {}
    topic_filter: bool = True
    """Whether seeds in a cluster that the topic policy excludes are dropped (curated sources are exempt)."""
    max_documents: Count | None = None
    expected_seeds: Count | None = None
    """Seeds that it should give: what a plan counts with until it was read."""


class SeedPolicy(Section):
    """Cleaning of seeds, before anything is spent on them. Lengths in characters."""

    min_chars: dict[SourceKind, int] = {"web": 200, "maths": 200, "book": 200, "conversation": 15, "course": 60}
    max_chars: Count = 50_000
    languages: tuple[str, ...] = ("en",)
    mask_personal_data: bool = True
    boilerplate_share: Share = 0.5
    """A text with more than this share of its lines looking like navigation or notices is dropped."""
    min_alphabetic_words: Share = 0.6
    """Share of words with at least one letter below which a text of 200 characters or more says too little."""
    word_chars: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] = (3.0, 10.0)
    """Shortest and longest mean word of such a text."""
    max_compression: Annotated[float, Field(gt=0)] = 6.0
    """How many times such a text may be compressed (zlib): more is repetition."""
    max_toxicity: Share = 0.9
    """Toxicity score above which a text of 100 characters or more is dropped; 1 keeps all."""
    near_duplicate_threshold: Share | None = 0.7
    """Jaccard similarity of word 5-grams above which only the first of a group of seeds is kept; null switches off."""


class LicencePolicy(Section):
    """Which licences may become prompts. Changing it re-runs the prompt table, not the seeds.

    Patterns are shell globs over SPDX identifiers and `LicenseRef-*`, case-insensitive. By default every licence that
    is stated is allowed."""

    deny: tuple[str, ...] = ()
    """They go before `allow`."""
    allow: tuple[str, ...] = ()
    unlisted: Literal["allow", "deny"] = "allow"
    """What becomes of a licence that no pattern names."""


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


class TemplateUse(Section):
    """One template in a mix: how many of the seeds meet it. A seed never meets the same template twice."""

    template: str
    per_seed: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Prompts per seed. What is added to a mix changes nothing about the other templates in it."""
    sources: tuple[str, ...] = ()
    """The sources whose seeds meet it; none named: all of the mix's kind."""
    min_score: float | None = None
    """Lowest educational score (1 to 10) of the topic of a seed that meets it; a seed without a score does not."""
    max_score: float | None = None
    """Scores from here on do not meet it, so that two templates can share the scores between them."""


class PromptMix(Section):
    """A part of the prompts: which templates the seeds of one kind meet."""

    kind: SourceKind | None = None
    """Whose seeds these are; a mix that is named like a kind need not say it."""
    prompts: Count | None = None
    """How many prompts it shall have: `per_seed` of its templates are then relative to one another."""
    templates: Annotated[tuple[TemplateUse, ...], Field(min_length=1)]


class Shares(Section):
    """Shares of the prompts by source, audience and format; what is not named takes what is left."""

    source: dict[str, Share] = {}
    audience: dict[str, Share] = {}
    format: dict[str, Share] = {}

    @pydantic.model_validator(mode="after")
    def _sums_fit(self) -> Self:
        for name in ("source", "audience", "format"):
            if (total := sum(getattr(self, name).values())) > 1 + 1e-9:
                raise ValueError(f"the shares by {name} sum to {total:g}, which is more than 1")
        return self


class Caps(Section):
    """Largest shares of the prompts that a source, audience, format or topic may have."""

    source: dict[str, Share] = {}
    audience: dict[str, Share] = {}
    format: dict[str, Share] = {}
    topic: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of any one topic, in each mix."""


class Outlines(Section):
    """Course outlines: the model names the units of a course's textbook, and a prompt is about one of them."""

    form: Literal["chat", "text"] = "chat"
    """chat: an instruction that is answered with JSON. text: a list that is continued, for models too small to follow
    an instruction."""
    min_units: Annotated[int, Field(ge=2)] = 5
    max_units: Annotated[int, Field(ge=2)] = 12
    attempts: Count = 3
    max_tokens: Count = 400
    description_chars: Count = 1500

    @pydantic.model_validator(mode="after")
    def _bounds_agree(self) -> Self:
        if self.min_units > self.max_units:
            raise ValueError(f"min_units {self.min_units} is more than max_units {self.max_units}")
        return self


class Prompts(Section):
    mixes: dict[str, PromptMix]
    scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Every target of a mix is multiplied by it: the same corpus, smaller."""
    shares: Shares = Shares()
    caps: Caps = Caps()
    topic_balance: Share = 1.0
    """How a mix spreads over topics: a topic with n seeds gets prompts in proportion to n to this power. At 1 all seeds
    are used alike; at 0 all topics are, so that a seed of a rare topic is used more than one of a common topic."""
    outlines: Outlines | None = None
    """Outlines of the courses; null (the default) asks for none."""
    topic_clause: Share = 0.5
    extract_tokens: Count = 100_000
    """Longest part of a seed that any template shows, in tokens; a template's own bound may be lower."""
    words: Count = 100_000
    """Longest text that any template asks for, in words; the same."""
    near_duplicate_threshold: Share = 0.8
    """Jaccard similarity of what two prompts of a template take from their seeds, above which one of them is dropped:
    word 5-grams of title, place and extract."""
    template_folders: tuple[str, ...] = ()
    """Folders with further templates, relative to the recipe; one there replaces a shipped one of the same id."""

    @pydantic.field_validator("mixes")
    @classmethod
    def _name_their_kinds(cls, value: dict[str, PromptMix]) -> dict[str, PromptMix]:
        kinds = get_args(SourceKind)
        if unclear := [name for name, mix in value.items() if mix.kind is None and name not in kinds]:
            raise ValueError(f"{unclear[0]}: name its kind of source, as in kind: web (one of {', '.join(kinds)})")
        named = {name: mix if mix.kind else mix.model_copy(update={"kind": name}) for name, mix in value.items()}
        for name, mix in named.items():
            uses = [use.template for use in mix.templates]
            if twice := [template for template in uses if uses.count(template) > 1]:
                raise ValueError(f"{name}.templates: {twice[0]} stands there twice")
        return named


class Sampling(Section):
    """Sampling parameters, by their names in the OpenAI and vLLM interfaces; null leaves one to the server, which takes
    the model's own."""

    temperature: Annotated[float, Field(ge=0)] | None = 0.6
    top_p: Share | None = 0.95
    top_k: Count | None = 50
    repetition_penalty: Annotated[float, Field(gt=0)] | None = 1.2

    @property
    def given(self) -> dict[str, float | int]:
        """Those that are sent with every request."""
        return self.model_dump(exclude_none=True)


class Model(Section):
    """The generator by name and revision: part of every document's id, unlike the server that happens to run it."""

    name: str
    revision: str
    licence: str
    homepage: str | None = None


class RolloutUse(Section):
    """How one document comes about: the name of a rollout, or module:function of one's own, and its options."""

    name: str = "single"
    options: dict[str, Any] = {}


class Generation(Section):
    model: Model
    sampling: Sampling = Sampling()
    rollout: RolloutUse = RolloutUse()
    samples: Count = 1
    max_tokens: Count = 600
    """Upper bound of any answer; a template may set a lower one."""
    shard_rows: Count = 1000


class Budget(Section):
    """What generation may cost; a prompt table that is expected to cost more stops before anything is generated."""

    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    cost: Annotated[float, Field(gt=0)] | None = None
    gpu_hour_price: Annotated[float, Field(ge=0)] = 2.5
    """Of one hour of one device, in the currency of `cost`."""
    gpu_watts: Annotated[float, Field(gt=0)] = 500.0
    """What one device draws, where it does not say so itself."""
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None
    """Output tokens of one device; null takes the shipped table's figure for the model."""


class QualityPolicy(Section):
    """Rules a generated text must pass."""

    min_words: Count = 40
    max_repetition: Share = 0.35
    drop_truncated: bool = False
    languages: tuple[str, ...] = ("en",)
    max_seed_overlap: Share = 0.6


Part = Literal[
    "question_answer",
    "question",
    "long_question",
    "answer",
    "context",
    "choices",
    "lettered",
    "marked",
    "q_a",
    "filled",
]


class BenchmarkFields(Section):
    """In which fields of a row things stand; a dotted name reaches inside a field. `id`, `context` and `choices` may be
    missing from rows where they have these names; every other field that is named must be there."""

    id: str | None = "id"
    """null: the row's number is its id."""
    context: str | None = "context"
    question: str | tuple[str, ...] = "question"
    """Of several fields the texts follow each other."""
    choices: str | tuple[str, ...] | None = "choices"
    """A field with all of them, or a field for each."""
    answer: str | None = "answer"
    answer_as: Literal["text", "index", "number", "label"] = "text"
    """text: what it says; of a list the first, and a whole number among choices in words is an index. index: its place
    among the choices from 0. number: from 1. label: the label of the choice, a letter where the row has none."""


class Benchmark(Section):
    """A benchmark to keep out. Of one in the registry (`benchmarks.yaml`) a recipe need not say more than its path."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    path: str
    """A file or a glob (JSON Lines, Parquet), or "hub:owner/name@commit"."""
    licence: str
    homepage: str | None = None
    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("question_answer",)
    """The texts of an item that are searched for; an item is found where any of them is."""
    fields: Annotated[tuple[BenchmarkFields, ...], Field(min_length=1)] = (BenchmarkFields(),)
    """Ways in which rows may be laid out; a row is read in the first of which it has all fields."""
    config: str | None = None
    """Configuration and split of a data set of the hub."""
    split: str = "test"

    @pydantic.model_validator(mode="before")
    @classmethod
    def _with_what_is_known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = known_benchmarks().get(str(given.get("name")), {})
        if not known and "licence" not in given:
            raise ValueError(
                f"{given.get('name')!r} is none of {', '.join(known_benchmarks())}: state the licence of its data"
            )
        fields = given.get("fields")
        return {**known, **given, **({"fields": [fields]} if isinstance(fields, dict) else {})}

    @pydantic.field_validator("parts")
    @classmethod
    def _parts_once(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if twice := [part for part in value if value.count(part) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return value


@cache
def known_benchmarks() -> dict[str, dict[str, Any]]:
    """The registry: fields of `Benchmark` by the benchmark's name."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(BENCHMARKS.read_text(encoding="utf-8"))
    return found


class CosmopediaRule(Section):
    """A shared n-gram makes a candidate; matching blocks of more than `ratio` of the item's characters condemn."""

    rule: Literal["cosmopedia"] = "cosmopedia"
    ngram: Count = 10
    ratio: Share = 0.5


class NgramRule(Section):
    """Any shared n-gram condemns."""

    rule: Literal["ngram"] = "ngram"
    ngram: Count = 13


class LabelRule(Section):
    """Any shared n-gram that reaches into the item's answer condemns."""

    rule: Literal["label"] = "label"
    ngram: Count = 12


class CoverageRule(Section):
    """Shared n-grams that hold at least `share` of the item's words condemn."""

    rule: Literal["coverage"] = "coverage"
    ngram: Count = 8
    share: Share = 0.8


class ShortRule(Section):
    """An item of fewer than `below` words condemns where all of it stands in the text."""

    rule: Literal["short"] = "short"
    below: Count = 10


DecontaminationRule = Annotated[
    CosmopediaRule | NgramRule | LabelRule | CoverageRule | ShortRule, Field(discriminator="rule")
]


class Decontamination(Section):
    """Benchmarks, and the rules by which a text that holds one of their items is found; one rule is enough."""

    benchmarks: tuple[Benchmark, ...]
    rules: Annotated[tuple[DecontaminationRule, ...], Field(min_length=1)] = (
        CosmopediaRule(),
        CoverageRule(),
        ShortRule(),
    )
    seeds: Literal["mark", "drop"] = "mark"
    """What becomes of a document whose seed holds an item that stands neither in its prompt nor in its text."""

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        rules: list[str] = [rule.rule for rule in self.rules]
        benchmarks = [benchmark.name for benchmark in self.benchmarks]
        for field, names in (("rules", rules), ("benchmarks", benchmarks)):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {', '.join(twice)} is there twice; each may be named once")
        return self


class ExactMethod(Section):
    """Texts of the same words: case, punctuation, spaces and Unicode forms make no difference."""

    method: Literal["exact"] = "exact"


class MinHashMethod(Section):
    """Texts with similar sets of word n-grams, by MinHash: bands x rows hashes."""

    method: Literal["minhash"] = "minhash"
    ngram: Count = 5
    bands: Count = 14
    rows: Count = 8
    seed: int = 1


class PassagesMethod(Section):
    """Texts of whose windows of `words` words at least `share` stand in better texts."""

    method: Literal["passages"] = "passages"
    words: Count = 50
    share: Annotated[float, Field(gt=0, le=1)] = 0.5


class SemanticMethod(Section):
    """Texts with embeddings of at least this cosine similarity."""

    method: Literal["semantic"] = "semantic"
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.97
    cell: Count = 20_000
    """Documents that are compared with one another, about; more of them are divided by k-means first."""
    seed: int = 1


DeduplicationMethod = Annotated[
    ExactMethod | MinHashMethod | PassagesMethod | SemanticMethod, Field(discriminator="method")
]


class Deduplication(Section):
    """What makes a document a duplicate, one method after the other, and which one of several is kept."""

    methods: Annotated[tuple[DeduplicationMethod, ...], Field(min_length=1)] = (ExactMethod(), MinHashMethod())
    survivor: tuple[Literal["quality", "words"], ...] = ("quality", "words")
    """What decides, in order; at last the smallest id."""
    against: tuple[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], ...] = ()
    """Corpora beside this one whose documents are kept, and not repeated here."""

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [method.method for method in self.methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"methods: {', '.join(twice)} is there twice; each method may be named once")
        return self

    @property
    def compares_meanings(self) -> bool:
        return any(isinstance(method, SemanticMethod) for method in self.methods)


class Component(Section):
    """One source's part of the mixture: its share of tokens relative to the others, and how often it may repeat."""

    weight: Annotated[float, Field(gt=0)]
    max_epochs: Annotated[float, Field(gt=0)] = 1.0


class Mixture(Section):
    components: dict[str, Component]


class Tokenization(Section):
    tokenizer: str = "smollm2-135m-instruct"
    """The embedded model's own, by its name, or the path of a tokenizer.json, relative to the recipe."""
    eos: str = "<|endoftext|>"
    shard_tokens: Count = 100_000_000


class Limits(Section):
    """Bounds of the data-quality checks, as shares."""

    max_failed: Share = 0.01
    max_truncated: Share = 0.2
    max_empty: Share = 0.01
    max_refusals: Share = 0.02
    max_repetitive: Share = 0.1
    max_low_quality: Share = 0.3
    max_contaminated: Share = 0.05
    min_contaminated: Share | None = None
    """null: any, once there are enough documents for none at all to be suspicious."""
    max_contaminated_seeds: Share = 0.05
    min_contaminated_seeds: Share | None = None
    max_duplicates: Share = 0.05
    max_bad_seed_rows: Share = 0.02
    max_unexpanded: Share = 0.1
    max_near_duplicate_prompts: Share = 0.01
    min_full_topics: Share = 0.5
    min_seeds_used: Share = 0.1
    max_excluded: Share = 0.5
    max_opener_share: Share = 0.1
    min_label_agreement: Share = 0.5
    min_outlined: Share = 0.8


class Recipe(Section):
    """A corpus. Its name names the folder of its data; its digest is recorded, and is never by itself a reason to redo
    a row."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    description: str
    buckets: Annotated[int, Field(ge=1, le=1024)]
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    seeds: SeedPolicy = SeedPolicy()
    licences: LicencePolicy = LicencePolicy()
    topics: Topics
    prompts: Prompts
    generation: Generation
    budget: Budget = Budget()
    quality: QualityPolicy = QualityPolicy()
    decontamination: Decontamination
    deduplication: Deduplication = Deduplication()
    mixture: Mixture
    tokenization: Tokenization = Tokenization()
    limits: Limits = Limits()
    folder: Path = Field(default=Path(), exclude=True)
    """Where the recipe was read from: relative paths start here. No part of the recipe's digest."""

    @pydantic.model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"sources: names must differ, got {names}")
        if unknown := set(self.mixture.components) - set(names):
            raise ValueError(f"mixture.components: no such source: {sorted(unknown)}")
        if unknown := set(self.topics.policy.deny_headings) - set(self.topics.headings):
            raise ValueError(f"topics.policy.deny_headings: no such heading: {sorted(unknown)}")
        if missing := {source.kind for source in self.sources} - {mix.kind for mix in self.prompts.mixes.values()}:
            raise ValueError(f"prompts.mixes: no templates for source kind: {sorted(missing)}")
        kinds = {source.name: source.kind for source in self.sources}
        for name, mix in self.prompts.mixes.items():
            for source in (source for use in mix.templates for source in use.sources):
                if kinds.get(source) != mix.kind:
                    raise ValueError(f"prompts.mixes.{name}: {source} is no source of kind {mix.kind}")
        met: dict[tuple[str, str], str] = {}
        for name, mix in self.prompts.mixes.items():
            of_kind = [source.name for source in self.sources if source.kind == mix.kind]
            for use in mix.templates:
                for source in use.sources or of_kind:
                    if other := met.get((use.template, source)):
                        raise ValueError(
                            f"prompts.mixes.{name}: {use.template} meets the seeds of {source} in {other} already"
                        )
                    met[use.template, source] = name
        for field in ("shares", "caps"):
            if unknown := set(getattr(self.prompts, field).source) - set(names):
                raise ValueError(f"prompts.{field}.source: no such source: {sorted(unknown)}")
        return self

    @property
    def digest(self) -> str:
        return json_digest(self.model_dump(mode="json"))

    def paths(self, pattern: str, *, field: str) -> list[Path]:
        """The files that a path of the recipe names, sorted.

        Raises:
            CosmoError: as `located`.
        """
        return self.located(pattern, field=field)[1]

    def located(self, pattern: str, *, field: str, folder: bool = False) -> tuple[Path, list[Path]]:
        """The files that a path of the recipe names, sorted, below the folder where the search for them starts: its
        name depends on the path alone, not on which files are there. With `folder` the path may name a folder itself.

        Raises:
            CosmoError: an environment variable in it is not set, or nothing matches.
        """
        missing = [name for name in re.findall(r"\$\{?(\w+)", pattern) if name not in os.environ]
        if missing:
            raise CosmoError(
                f"recipe {self.name}, {field}: {pattern!r} uses an environment variable that is not set",
                remedy=f"set it, for example: export {missing[0]}=/path/to/data",
            )
        base = (self.folder / os.path.expandvars(pattern)).absolute()
        if base.is_file() or (folder and base.is_dir()):
            return base.parent, [base]
        root = next(parent for parent in base.parents if parent.is_dir())  # no pattern: its name may hold [ or *
        found = [] if base.exists() else sorted(p for p in root.glob(str(base.relative_to(root))) if p.is_file())
        if not found:
            raise CosmoError(
                f"recipe {self.name}, {field}: no file matches {base}", remedy="correct the path in the recipe"
            )
        return root, found


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by its name, or any by the path of its YAML file.

    Raises:
        CosmoError: no such recipe, or a field is missing, unknown or out of bounds; the message names each.
    """
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else SHIPPED / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.yaml")))
        raise CosmoError(f"no recipe {name_or_path!r}", remedy=f"name one of {known}, or the path of a .yaml file")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Recipe.model_validate({**(fields or {}), "folder": path.resolve().parent})
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path}: not a YAML mapping: {error}", remedy="mend the file") from error
    except pydantic.ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc'])) or 'recipe'}: {item['msg']}" for item in error.errors()]
        raise CosmoError(f"{path}:\n  " + "\n  ".join(lines), remedy="correct these fields") from error
