"""Sources: where seed documents and real documents come from, and which of them are kept.

Belongs here: sources and their kinds, the cleaning of texts, licences. Does not belong here: what may be written about
(`topics`), or the readers (`cosmo_assets.seeds.readers`).
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from cosmo_assets.recipe.fields import Count, Section, Share

SourceKind = Literal["web", "course", "book", "topic_tree", "title_list", "maths", "code", "conversation"]
TextKind = SourceKind | Literal["real"]


class Source(Section):
    """Where seed documents come from. `path` is relative to the recipe's file and may be a glob; `${NAME}` is taken
    from the environment. "hub:owner/name@commit" is a dataset of the Hugging Face hub."""

    field: ClassVar[str] = "sources"
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
    """Seeds that it should give, of courses with outlines their units: what a plan counts with until it was read."""


class RealSource(Section):
    """Where real documents come from: texts that stand in the corpus as they are. Fields as those of `Source`."""

    field: ClassVar[str] = "real.sources"
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    reader: str
    path: str
    licence: str
    attribution: str | None = None
    homepage: str | None = None
    options: dict[str, Any] = {}
    max_documents: Count | None = None
    expected_tokens: Count | None = None
    """Tokens that it should give: what a plan counts with until it was read."""

    @property
    def kind(self) -> TextKind:
        return "real"


TextSource = Source | RealSource
"""What the readers are given."""


class SeedPolicy(Section):
    """Cleaning of texts, before anything is spent on them. Lengths in characters."""

    min_chars: dict[TextKind, int] = {"web": 200, "maths": 200, "book": 200, "conversation": 15, "course": 60}
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


class RealFilters(SeedPolicy):
    """Cleaning of real documents: as of seeds, but that one may be longer than what a prompt shows."""

    min_chars: dict[TextKind, int] = {"real": 200}
    max_chars: Count = 1_000_000


class RealData(Section):
    """Real text that is mixed in beside what is generated."""

    sources: tuple[RealSource, ...] = ()
    filters: RealFilters = RealFilters()


class LicencePolicy(Section):
    """Which licences may become prompts, and real documents of the corpus. Changing it re-runs the prompt table and
    the choice of real documents; no source is read again.

    Patterns are shell globs over SPDX identifiers and `LicenseRef-*`, case-insensitive. By default every licence that
    is stated is allowed."""

    deny: tuple[str, ...] = ()
    """They go before `allow`."""
    allow: tuple[str, ...] = ()
    unlisted: Literal["allow", "deny"] = "allow"
    """What becomes of a licence that no pattern names."""
