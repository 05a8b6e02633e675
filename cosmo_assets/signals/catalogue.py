"""The families of signals and the names of their signals, with what they are: the columns of their tables.

Belongs here: names, types and meanings, as data. Does not belong here: computing them (`families` says what does).
"""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

COUNT, SHARE = pa.int64(), pa.float64()

WORDS = (
    ("words_and_marks", COUNT, "Words and punctuation marks"),
    ("words", COUNT, "Words that are not symbols alone"),
    ("mean_word_length", SHARE, "Mean characters of these words"),
    ("letter_word_share", SHARE, "Share of words and marks with a letter"),
    ("stop_words", COUNT, "How many of the, be, to, of, and, that, have, with stand in it"),
)
MARKS = (
    ("hash_ratio", SHARE, "Hash signs per word or mark"),
    ("ellipsis_ratio", SHARE, "Ellipses per word or mark"),
)
LINES = (
    ("bullet_line_share", SHARE, "Share of lines that begin with a bullet or hyphen"),
    ("ellipsis_line_share", SHARE, "Share of lines that end in an ellipsis"),
)
PARAGRAPHS = (
    ("duplicate_paragraph_share", SHARE, "Share of paragraphs that stood in the text before"),
    ("duplicate_paragraph_char_share", SHARE, "Their characters, as a share of all"),
)
REPEATED_LINES = (
    ("duplicate_line_share", SHARE, "Share of lines that stood in the text before"),
    ("duplicate_line_char_share", SHARE, "Their characters, as a share of all"),
)
GRAMS = (
    *((f"top_{n}gram_char_share", SHARE, f"Share of the characters in the commonest {n}-gram") for n in (2, 3, 4)),
    *(
        (f"duplicate_{n}gram_char_share", SHARE, f"Share of the characters in {n}-grams that stood in the text before")
        for n in range(5, 11)
    ),
)
C4 = (
    ("c4_lines", COUNT, "Lines"),
    ("c4_long_word_lines", COUNT, "Lines with a word above 1,000 characters"),
    ("c4_unended_lines", COUNT, "Of the others, lines without a terminal mark"),
    ("c4_short_lines", COUNT, "Of the others, lines below three words"),
    ("c4_javascript_lines", COUNT, "Of the others, lines that name JavaScript"),
    ("c4_policy_lines", COUNT, "Of the others, lines about cookies, privacy or terms of use"),
    ("c4_lorem_ipsum_lines", COUNT, "Of the others, lines with lorem ipsum"),
    ("c4_curly_bracket_lines", COUNT, "Of the others, lines with a curly bracket"),
    ("c4_curly_bracket_first", COUNT, "1 where such a line comes before any with lorem ipsum"),
    ("c4_sentences", COUNT, "Sentences of the lines that are left"),
)
FINEWEB = (
    ("filled_lines", COUNT, "Lines that are not blank"),
    ("ended_line_share", SHARE, "Share of these that end in a terminal mark"),
    ("short_line_share", SHARE, "Share of these of at most 30 characters"),
    ("repeated_line_char_share", SHARE, "Share of the characters in such lines that stood in the text before"),
    ("newline_ratio", SHARE, "Newlines per word or mark"),
)
GROUPS = (
    (("characters", COUNT, "Characters"),), WORDS, MARKS, LINES, PARAGRAPHS, REPEATED_LINES, GRAMS, C4, FINEWEB
)  # fmt: skip


class Signal(NamedTuple):
    """A column of a family's table; where `null`, some texts have none."""

    name: str
    kind: pa.DataType
    meaning: str
    null: bool = False


STATISTICS: tuple[Signal, ...] = tuple(Signal(*found) for group in GROUPS for found in group)
"""Those that published heuristics judge by, in order."""

TOXICITY = (
    Signal("score", SHARE, "Toxicity of the text, 0 to 1; null where it is too short to be judged", null=True),
    Signal(
        "worst_paragraph", SHARE, "The highest toxicity of its paragraphs; null where none can be judged", null=True
    ),
)

SPANS = pa.list_(pa.struct([("kind", pa.string()), ("start", COUNT), ("end", COUNT)]))
PRIVACY = (
    Signal("emails", COUNT, "E-mail addresses"),
    Signal("ip_addresses", COUNT, "Public IP addresses"),
    Signal("phones", COUNT, "Telephone numbers"),
    Signal("cards", COUNT, "Numbers of payment cards with a right check digit"),
    Signal("ibans", COUNT, "International bank account numbers with right check digits"),
    Signal("ssns", COUNT, "United States social security numbers"),
    Signal("personal", COUNT, "All of these"),
    Signal("placeholders", COUNT, "Addresses and numbers that are nobody's, as masking puts in their place"),
    Signal("spans", SPANS, "Where each stands in the text, placeholders as well: kind, first character, end"),
)

SCRIPTS = ("latin", "cyrillic", "greek", "arabic", "devanagari", "han")
LANGUAGE = (
    Signal("language", pa.string(), "Language (ISO 639-1) as detected; zxx where there are no letters"),
    Signal("confidence", SHARE, "Its probability, as the detector has it"),
    Signal("letters", COUNT, "Letters"),
    *(Signal(f"{script}_share", SHARE, f"Share of these that are {script.capitalize()}") for script in SCRIPTS),
)

COPIES = (
    Signal("longest_copy", COUNT, "Words of the longest run that the text has verbatim from its prompt"),
    Signal("copied_share", SHARE, "Share of its words in runs of ten or more that it has verbatim from its prompt"),
)

AGE = (
    Signal("latest_year", COUNT, "The latest year that the text names; null where it names none", null=True),
    Signal("years", COUNT, "How many different years it names"),
)

PERPLEXITY: tuple[Signal, ...] = (
    Signal("perplexity", SHARE, "exp of the mean nats per word by a language model of the reference text"),
    Signal("bits_per_byte", SHARE, "Bits that the model needs for the text, per byte of it"),
    Signal("unknown_word_share", SHARE, "Share of the words that the model does not know"),
)
EDUCATIONAL: tuple[Signal, ...] = (
    Signal("score", SHARE, "What the text teaches, 0 to 5, as the classifier has learned it from the model's labels"),
    Signal("probability", SHARE, "Probability that the model would give it 3 or more"),
)
NEURAL: tuple[Signal, ...] = (
    Signal("perplexity", SHARE, "exp of the mean nats per token by the last model; null below two tokens", null=True),
    Signal("bits_per_byte", SHARE, "Bits that it needs, per byte of these tokens; null below two tokens", null=True),
    Signal("el2n", SHARE, "Mean norm of the models' errors on a token, EL2N; null below two tokens", null=True),
    Signal("memorization", SHARE, "Share of 32 tokens that it gives after 32; null below 64 tokens", null=True),
)

CATALOGUE: Mapping[str, tuple[Signal, ...]] = {
    "statistics": STATISTICS,
    "toxicity": TOXICITY,
    "privacy": PRIVACY,
    "language": LANGUAGE,
    "copies": COPIES,
    "age": AGE,
    "perplexity": PERPLEXITY,
    "educational": EDUCATIONAL,
    "neural": NEURAL,
}
"""The signals of each family."""

OF_GENERATED = frozenset({"copies"})
"""The families that hold a text against its prompt: there are none of seeds and real texts."""
