"""datatrove's filters of web pages with their defaults, and what they say of a text.

Belongs here: the filters as an oracle, with the words of a given tokenizer. Does not belong here: expected verdicts.
"""

from collections.abc import Mapping

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.utils.word_tokenizers import WordTokenizer


def filters(words: WordTokenizer | str) -> dict[str, BaseFilter]:
    """The filters by the name of the rule set here; `words` is a tokenizer, or a language for datatrove's own."""
    return {
        "gopher_quality": GopherQualityFilter(language=words),
        "gopher_repetition": GopherRepetitionFilter(language=words),
        "c4": C4QualityFilter(language=words),
        "fineweb": FineWebQualityFilter(language=words),
    }


def reasons(text: str, by_name: Mapping[str, BaseFilter]) -> dict[str, str | None]:
    """Why each filter drops a text; None where it keeps it."""
    found = {}
    for name, chosen in by_name.items():
        verdict = chosen.filter(Document(text=text, id="0"))
        found[name] = verdict[1] if isinstance(verdict, tuple) else None
    return found
