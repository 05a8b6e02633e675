"""Questions and held-out documents as rows of tokens, and what is said of files that hold none."""

from pathlib import Path

import numpy as np
import pytest

from cosmo_assets.proxy.rows import Item, Rows, read_items
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import load_tokenizer
from tests.facts import EOS, VOCABULARY, write_shard

ITEM = Item(question="relation0 subject1 is", choices=["value1", "value2 value3", "value4"], answer=1)


def rows_of(tmp_path: Path, documents: list[str], *, sequence: int = 4, items: list[Item] | None = None) -> Rows:
    shard = write_shard(tmp_path / "held" / "a.ds", documents)
    tokenizer = load_tokenizer(str(shard.parent / "tokenizer.json"))
    return Rows([ITEM] if items is None else items, {"facts": [shard]}, tokenizer, VOCABULARY[EOS], sequence)


def ids(text: str) -> list[int]:
    return [VOCABULARY.get(word, VOCABULARY[EOS]) for word in text.split()]


def test_a_choice_is_scored_after_the_end_of_its_question(tmp_path: Path) -> None:
    arrays = rows_of(tmp_path, ["value9"], sequence=4).arrays()
    one, two, three, _ = np.split(arrays["tokens"], arrays["ends"][:-1])
    assert one.tolist() == [VOCABULARY[EOS], *ids("relation0 subject1 is value1")]
    assert two.tolist() == ids("relation0 subject1 is value2 value3")
    assert three.tolist() == [VOCABULARY[EOS], *ids("relation0 subject1 is value4")]
    assert arrays["given"][:3].tolist() == [4, 3, 4]


def test_every_token_of_a_document_is_scored_once_after_the_one_before(tmp_path: Path) -> None:
    text = " ".join(f"value{n}" for n in range(11))
    arrays = rows_of(tmp_path, [text, "value1 value2"], sequence=4).arrays()
    rows = np.split(arrays["tokens"], arrays["ends"][:-1])[3:]
    assert [token for row in rows[:3] for token in row[1:].tolist()] == ids(text)
    assert [row[0] for row in rows] == [VOCABULARY[EOS], *ids("value3 value7"), VOCABULARY[EOS]]
    assert arrays["given"][3:].tolist() == [1, 1, 1, 1]


def test_scores_go_back_to_their_items_and_documents(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [" ".join(["value1"] * 6), "value12"], sequence=4)
    scores = np.array([-1.0, -2, -3, -4, -5, -6])
    found = rows.answers(scores)
    assert (found.accuracy.tolist(), found.accuracy_norm.tolist()) == ([0], [1])
    assert found.bits_per_byte == pytest.approx([2 / np.log(2) / len("value2 value3")])
    held_out = rows.held_out(scores)["facts"]
    assert held_out.log_likelihoods.tolist() == [-9, -6]
    assert (held_out.tokens.tolist(), held_out.sizes.tolist()) == ([6, 1], [6 * 7 - 1, 7])
    assert held_out.bits_per_byte == pytest.approx([9 / np.log(2) / 41, 6 / np.log(2) / 7])


def test_a_choice_that_is_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="item 1: the choice 'value2 value3' has 2 tokens"):
        rows_of(tmp_path, ["value9"], sequence=1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"question": "a", "choices": ["b", "c"], "answer": 2}', "answer 2 is none of 2 choices"),
        ('{"question": "a", "choices": ["b", " "], "answer": 0}', "a choice is empty"),
        ('{"question": "a", "choices": ["b"], "answer": 0}', "choices"),
        ('{"question": "a", "choices": ["b", "c"], "answer": "0"}', "answer"),
        ('{"choices": ["b", "c"], "answer": 0}', "question"),
        ("[1]", "item"),
        ("{", "no JSON"),
    ],
)
def test_a_line_that_is_no_item_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(ITEM.model_dump_json() + "\n\n" + line + "\n", encoding="utf-8")
    with pytest.raises(CosmoError, match=f"items.jsonl:3: .*{said}") as refused:
        read_items(path)
    assert '"answer": 1' in refused.value.remedy
    path.write_text(ITEM.model_dump_json(), encoding="utf-8")
    assert read_items(path) == [ITEM]


def test_a_file_without_items_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    for name, said in (("empty.jsonl", "no item"), ("absent.jsonl", "cannot be read")):
        with pytest.raises(CosmoError, match=said):
            read_items(tmp_path / name)


def test_a_domain_without_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CosmoError, match="'facts' has no document"):
        rows_of(tmp_path, [""])
