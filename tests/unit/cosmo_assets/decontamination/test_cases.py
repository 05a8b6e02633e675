from cosmo_assets.decontamination.cases import MAX_CHARS, Cases, Pieces, side_by_side
from cosmo_assets.words.alphabet import located_words, words_of

ITEM = "Which lamp did the keeper of the far island light every evening before dusk? The green one."
AROUND = "grain and iron went over the hills " * 30


def shown(pieces: Pieces) -> str:
    return "".join(f"[{text}]" if off else text for text, off in pieces)


def test_words_stand_where_they_are_said_to() -> None:
    text = "Ｆｕｌｌ  ﬁne, naïve_\u200bs STRASSE 漢字, İx!"
    found = located_words(text, "folded")
    assert [word for word, *_ in found] == words_of(text, "folded")
    assert [text[start:end] for _, start, end in found[:3]] == ["Ｆｕｌｌ", "ﬁne", "naïve"]
    assert [text[start:end] for _, start, end in found if text[start] in "漢字"] == ["漢", "字"]
    assert [word for word, *_ in located_words(text, "published")] == words_of(text, "published")


def test_what_both_hold_is_set_off_as_each_spells_it() -> None:
    text = f"{AROUND}WHICH lamp did the keeper of the FAR island - light every evening; later. The green one! {AROUND}"
    left, right = side_by_side(ITEM, text)
    assert (
        shown(left) == "[Which lamp did the keeper of the far island light every evening] before dusk? The green one."
    )
    assert "[WHICH lamp did the keeper of the FAR island - light every evening]; later. The green one!" in shown(right)
    assert shown(right).startswith(("… grain ", "… and ", "… iron ", "… went ", "… over ", "… the ", "… hills "))
    assert shown(right).endswith(tuple(f" {word} …" for word in AROUND.split()[:7]))
    assert len(shown(right)) <= MAX_CHARS
    assert "".join(piece for piece, _ in left) == ITEM


def test_several_runs_are_set_off_and_a_short_one_where_there_is_no_other() -> None:
    left, right = side_by_side("one two three four five six seven", "one two three four and then four five six seven")
    assert shown(left) == "[one two three four] five six seven"
    left, right = side_by_side("one two three four five six seven", "one two three four 5 six seven eight")
    assert shown(right) == "[one two three four] 5 six seven eight"
    left, right = side_by_side("a b c d e f g h i", "a b c d X f g h i")
    assert shown(left) == "[a b c d] e [f g h i]"
    assert shown(right) == "[a b c d] X [f g h i]"
    assert [shown(side) for side in side_by_side("what is salt", "say: What is salt?")] == [
        "[what is salt]",
        "say: [What is salt]?",
    ]
    assert [shown(side) for side in side_by_side("nothing", "in common")] == ["nothing", "in common"]


def test_a_very_long_item_is_cut() -> None:
    item = " ".join(f"word{number}" for number in range(1000))
    left, right = side_by_side(item, f"before {item} after")
    assert shown(left).startswith("[word0 word1 ")
    assert shown(left).endswith("] …")
    assert max(len(shown(side)) for side in (left, right)) <= MAX_CHARS + 10 + 200


def test_of_an_item_only_the_worst_case_is_kept() -> None:
    cases = Cases()
    for number in range(40):
        case = {"benchmark": "b", "item": str(number % 8), "ratio": number / 40, "span": "x", "key": str(number)}
        cases.add([(case, f"text {number}")])
    kept = [(case["item"], case["key"], text) for case, text in cases._worst]
    assert kept == [(str(n % 8), str(n), f"text {n}") for n in (39, 38, 37, 36, 35)]
