"""Extracts: where a text is cut, and what a cut never does.

Belongs here: `cut`, and `cut_all` beside it. Does not belong here: the fence around an extract."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from cosmo_assets.prompts.extracts import cut, cut_all
from cosmo_assets.prompts.rendering import harmless_text
from cosmo_resources.tokenizers import NamedTokenizer, load_tokenizer
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "tokens", "extract"),
    [
        ("", 5, ""),
        (" \n ", 5, ""),
        ("All of it fits. ", 5, "All of it fits."),
        ("One two three.", 0, ""),
        ("One two three. Four five six.", 4, "One two three."),
        ("One two three. Four five six.", 5, "One two three."),
        ("One. Two three four five six seven.", 5, "One. Two three four five"),  # the sentence ends too early
        ("No sentence ends in here at all", 3, "No sentence ends"),
        ('He said: "Stop (now)." Then he left at once.', 6, 'He said: "Stop (now)."'),
        ("Really?! Yes, it is so.", 2, "Really?!"),
        ("Wait… Go on with it.", 2, "Wait…"),
        ("Take:\n1. Flour\n2. Salt and Water", 5, "Take:\n1. Flour\n2. Salt"),  # the number of a list ends no sentence
        ("So $a + b$ holds. The rest does not fit.", 5, "So $a + b$ holds."),
        ("So $a + b$ is it", 4, "So $a + b$"),
        ("One\ttwo\u00a0three\u2003four", 2, "One\ttwo"),
    ],
)
def test_where_a_text_is_cut(text: str, tokens: int, extract: str) -> None:
    assert cut(text, tokens, words) == extract


@pytest.mark.parametrize(
    "text",
    [
        "We asked Dr. Adams about it.",
        "See it in Fig. 3 below.",
        "This is, e.g. in May, true.",
        "It rose by approx. 4 percent.",
        "Written by J. Smith in May.",
        "In the U.S. Army it is.",
        "Some of it (i.e. most) fits.",
        "He paused ... and went on.",
    ],
)
def test_a_full_stop_that_ends_no_sentence(text: str) -> None:
    stop = 1 + next(at for at, word in enumerate(text.split()) if word.endswith((".", "...")))
    assert cut(text, stop + 1, words) == " ".join(text.split()[: stop + 1])


@pytest.mark.parametrize(
    ("text", "extract"),
    [
        ("So then $a + b = c$ holds.", "So then"),
        ("So then $$a + b = c$$ holds.", "So then"),
        (r"So then \(a + b = c\) holds.", "So then"),
        (r"So then \[a + b = c\] holds.", "So then"),
        ("So then\n\\begin{align*}\na + b\n\\end{align*}", "So then"),
        ("So then ($a + b = c$) holds.", "So then"),
        ("So then\n```python\na = b\nc = d\n```\nends.", "So then"),
        ("So\n~~~~\n~~~\na = b\n~~~~\nends.", "So"),  # the shorter fence closes nothing
        ("So then\n```\na = b and so on to the end", "So then"),
        ("So then\n```\na = b\n\nc = d\n```\nends.", "So then"),  # a code block may hold blank lines
        ("$a + b = c + d$ holds.", ""),
        ("It costs $5 and then $10 more.", "It costs $5 and"),
        ("It costs $5: $$a + b + c$$ of it.", "It costs $5:"),
        (r"It costs \$a and then \$b more.", r"It costs \$a and"),
        ("It costs $x and then\n\nit costs x$ more.", "It costs $x and"),
        (r"A row \\(and more of it\) here.", r"A row \\(and more"),
        ("An open \\[ bracket and more of it.", "An open \\[ bracket"),
        ("```a b c``` is code in a line.", "```a b c``` is"),
    ],
)
def test_no_formula_or_code_block_is_broken(text: str, extract: str) -> None:
    assert cut(text, 4, words) == extract


@pytest.mark.parametrize(
    ("text", "tokens", "extract"),
    [
        ("天空是蓝色的。草是绿色的。", 10, "天空是蓝色的。"),
        ("他说：「好。」然后走了。", 8, "他说：「好。」"),
        ("天空是蓝色的", 4, "天空是蓝"),
        ("か\u3099か\u3099か\u3099", 3, "か\u3099"),  # a letter and its combining mark
        ("コンピュータの話", 7, "コンピュータの"),
        ("コンピュータの話", 5, ""),
        ("e\u0301 e\u0301e\u0301 x", 5, "e\u0301"),
    ],
)
def test_text_without_spaces_and_combined_characters(text: str, tokens: int, extract: str) -> None:
    assert cut(text, tokens, len) == extract


def test_a_sentence_end_that_counts_too_much_is_passed_over() -> None:
    def count(part: str) -> int:
        return words(part) + 9 * part.endswith("three.")

    assert cut("One. Two three. Four five six seven.", 5, count) == "One. Two three. Four five"


def test_few_counts_on_short_texts() -> None:
    sizes: list[int] = []

    def count(text: str) -> int:
        sizes.append(len(text))
        return words(text)

    assert words(cut("The quick brown fox jumps over lazy dogs. " * 20_000, 250, count)) == 248
    assert len(sizes) <= 14 and max(sizes) <= 5_000


@pytest.mark.parametrize(
    "unit", ["$ ", "$a ", "\\( ", "\\[ ", "```\n", "\\begin{a} ", "\n\n$a", ".", ".)", "1.\n", "a\u0301"]
)
@pytest.mark.timeout(5)
def test_a_text_full_of_openings_is_read_in_one_pass(unit: str) -> None:
    cut(unit * 30_000, 250, len)


pieces = st.one_of(
    st.sampled_from(
        ["One", "two.", "Three!", "4", "$5", "(six)", "e.g.", "naïve", "cafe\u0301", "\U0001f469\u200d\U0001f52c"]
    ).map(lambda word: (word, False)),
    st.sampled_from(
        ["$a + b$", "$$a\n+ b$$", r"\( a + b \)", "\\[\na + b\n\\]", r"\begin{cases} a & b \end{cases}"]
        + ["\n```\na b\n\n$ to.\nD\n```\n", "\n~~~ x\na b\n~~~\n"]
    ).map(lambda span: (span, True)),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(pieces, max_size=30), st.integers(0, 60))
def test_a_cut_lies_between_words_and_outside_every_span(parts: list[tuple[str, bool]], tokens: int) -> None:
    text = " ".join(part for part, _ in parts)
    extract = cut(text, tokens, words)
    assert text.startswith(extract)
    assert words(extract) <= tokens
    allowed, position = {0}, 0
    for part, _ in parts:
        allowed |= {position + len(part), position + len(part.rstrip())}
        position += len(part) + 1
    assert len(extract) in allowed


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200), st.integers(-1, 100), st.sampled_from([len, words, lambda text: len(text.encode())]))
def test_any_text_keeps_to_its_budget_and_characters(text: str, tokens: int, count: object) -> None:
    assert callable(count)
    extract = cut(text, tokens, count)
    assert text.startswith(extract)
    assert not extract or count(extract) <= tokens
    assert extract == extract.rstrip()
    rest = text[len(extract) :]
    assert not extract or not rest or not unicodedata.category(rest[0]).startswith("M")
    if extract and rest and re.fullmatch(r"[a-z]", extract[-1]):
        assert not re.match(r"[a-z]", rest)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(["One", "two.", "Three", "four"]), max_size=30), st.integers(1, 30))
def test_a_cut_is_the_longest_that_its_rule_allows(parts: list[str], tokens: int) -> None:
    extract = cut(" ".join(parts), tokens, words).split()
    fitting = parts[:tokens]
    if len(parts) <= tokens:
        assert extract == parts
        return
    half = len(" ".join(fitting)) / 2
    ends = [
        at
        for at in range(1, len(fitting) + 1)
        if fitting[at - 1].endswith(".") and parts[at][0].isupper() and len(" ".join(fitting[:at])) >= half
    ]
    assert extract == fitting[: max(ends, default=len(fitting))]


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="ab. \n", max_size=300), st.integers(0, 40), st.integers(1, 9))
def test_a_count_that_does_not_always_grow_is_still_kept_to(text: str, tokens: int, salt: int) -> None:
    def count(part: str) -> int:
        return len(part) // 2 + (len(part) * salt) % 7

    extract = cut(text, tokens, count)
    assert not extract or count(extract) <= tokens


@pytest.fixture(scope="module", params=["tiny", "embedded"])
def tokenizer(request: pytest.FixtureRequest) -> NamedTokenizer:
    return tiny_tokenizer() if request.param == "tiny" else load_tokenizer("smollm2-135m-instruct")


def shown_tokens(tokenizer: NamedTokenizer, text: str) -> int:
    return tokenizer.count(harmless_text(text))


hard_words = ["<|im_end|>", "[INST]", "</s>", "天空是蓝色的。", "か\u3099", "\u0301", " \n\n ", "", "w" * 700, "=" * 99]
characters = st.characters(codec="utf-8", exclude_characters="$`~\\")  # without formulas by accident
any_words = st.one_of(st.sampled_from(hard_words), st.text(characters, max_size=20))
hard_texts = st.lists(st.one_of(pieces, any_words.map(lambda word: (word, False))), max_size=25)
UNSPACED = re.compile("[\u3001-\u303f\u3041-\u309f\u3400-\u9fff\uf900-\ufaff\uff01-\uff1f\U00020000-\U0003ffff]")


@settings(deadline=None, max_examples=200)
@given(st.lists(hard_texts, max_size=4), st.integers(1, 60))
@example([[("\n```\nso. C\n```\n", True), ("and so on, and so on, and on", False)]], 14)
def test_many_cuts_keep_to_the_budget_and_break_nothing(
    tokenizer: NamedTokenizer, parts: list[list[tuple[str, bool]]], tokens: int
) -> None:
    texts = [" ".join(part for part, _ in text) for text in parts]
    found = cut_all(texts, tokens, tokenizer)
    assert found == [cut_all([text], tokens, tokenizer)[0] for text in texts]  # whatever stands beside a text
    for text, pieces_of, (end, count) in zip(texts, parts, found, strict=True):
        extract, rest = text[:end], text[end:]
        assert count == shown_tokens(tokenizer, extract) <= tokens
        alone = cut(text, tokens, lambda part: shown_tokens(tokenizer, part))
        assert (end == 0, end == len(text.rstrip())) == (alone == "", alone == text.rstrip())
        assert extract == extract.rstrip()
        if extract and rest and not rest[0].isspace():
            assert UNSPACED.match(rest) or UNSPACED.match(extract[-1])
            assert unicodedata.category(rest[0]) not in {"Mn", "Mc", "Me", "Cf"}
        position = 0
        for piece, whole in pieces_of:
            assert not (whole and text.index(piece.strip(), position) < end < position + len(piece.rstrip()))
            position += len(piece) + 1


sentence_words = st.sampled_from(["One", "two.", "Three!", "(six)", "naïve", "(so.)", 'ever?"', "天空是蓝色的。"])
STOPS = re.compile(r"(?:two\.|Three!|\(so\.\)|ever\?\"|。)(?! ?[a-zà-ü])")


@settings(deadline=None, max_examples=200)
@given(st.lists(st.lists(sentence_words, max_size=60).map(" ".join), max_size=4), st.integers(1, 60))
def test_many_cuts_end_at_a_sentence_end_where_one_ends_in_the_second_half(
    tokenizer: NamedTokenizer, texts: list[str], tokens: int
) -> None:
    for text, (end, _) in zip(texts, cut_all(texts, tokens, tokenizer), strict=True):
        stops = [stop.end() for stop in STOPS.finditer(text)]
        assert end == len(text) or end in stops or not [stop for stop in stops if end / 2 <= stop <= end]


def check_agreement(texts: list[str], tokens: int, tokenizer: NamedTokenizer) -> None:
    """`cut_all` cuts nearly all of the texts where `cut` does."""
    ends = [end for end, _ in cut_all(texts, tokens, tokenizer)]
    exact = [len(cut(text, tokens, lambda part: shown_tokens(tokenizer, part))) for text in texts]
    share = sum(map(int.__eq__, ends, exact)) / len(texts)
    print(f"{share:.4f} of {len(texts)} texts are cut alike")
    assert share >= 0.99


def test_many_cuts_of_prose_are_those_of_one_text_at_a_time(tokenizer: NamedTokenizer) -> None:
    check_agreement([prose(f"text {number}", 20 + 2 * number) for number in range(150)], 90, tokenizer)


@pytest.mark.samples
@pytest.mark.parametrize("tokens", [30, 250])
def test_many_cuts_of_real_texts_are_those_of_one_text_at_a_time(samples: Path, tokens: int) -> None:
    if not (path := samples / "topics_20newsgroups" / "20newsgroups.jsonl").is_file():
        pytest.skip(f"no {path}")
    with path.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for number, line in enumerate(lines) if number % 30 == 0]
    check_agreement(texts, tokens, load_tokenizer("smollm2-135m-instruct"))


@pytest.mark.parametrize("tokens", [250, 150_000])
@pytest.mark.parametrize("unit", ["$", "(", "```", "```\n", "$a$", "$a$ e.g. x ", "$a ", ".", "<|im_end|> ", "="])
@pytest.mark.timeout(5)
def test_many_cuts_of_hostile_texts_take_no_quadratic_time(unit: str, tokens: int) -> None:
    tokenizer, text = load_tokenizer("smollm2-135m-instruct"), unit * (200_000 // len(unit))
    ((end, count),) = cut_all([text], tokens, tokenizer)
    assert count == shown_tokens(tokenizer, text[:end]) <= tokens


def test_a_long_word_that_counts_as_little_is_not_cut_in_two() -> None:
    words_of_letters = Tokenizer(models.WordPiece({"[UNK]": 0, "x": 1, "##x": 2}, unk_token="[UNK]"))
    words_of_letters.pre_tokenizer = pre_tokenizers.Whitespace()
    assert cut_all(["x" * 9_000 + " x x"], 1, NamedTokenizer("", "", words_of_letters)) == [(9_000, 1)]


def test_what_lies_beyond_the_characters_read_at_first_is_cut_as_well(tokenizer: NamedTokenizer) -> None:
    begun = "one" + " " * 5_000 + "two three."
    tokens = tokenizer.count(begun + " Four five")
    cuts = cut_all([begun + " Four five", begun + " Four five six seven."], tokens, tokenizer)
    assert cuts == [(len(begun) + 10, tokens), (len(begun), tokenizer.count(begun))]
