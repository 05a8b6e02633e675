"""What proxies are scored on: questions with choices, and held-out documents, as rows of tokens.

Belongs here: reading them, encoding them, and what their log-likelihoods say. Does not belong here: the model that
gives log-likelihoods (`train`), comparing arms (`ablation`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydantic

from cosmo_assets.proxy.scoring import Answers, Array, Counts, Marks, answers, bits_per_byte
from cosmo_assets.tokenization.shards import map_shard
from cosmo_resources.errors import CosmoError
from cosmo_resources.tokenizers import NamedTokenizer

HELD_OUT_TOKENS = 20_000
"""Of a held-out domain: the first documents, until there are so many."""


class Item(pydantic.BaseModel):
    """A multiple-choice question; `answer` is the place of the right choice, from 0."""

    model_config = pydantic.ConfigDict(extra="ignore", strict=True)

    question: str
    choices: list[str] = pydantic.Field(min_length=2)
    answer: int = pydantic.Field(ge=0)

    @pydantic.model_validator(mode="after")
    def _is_a_choice(self) -> "Item":
        if self.answer >= len(self.choices):
            raise ValueError(f"answer {self.answer} is none of {len(self.choices)} choices, which are counted from 0")
        if not all(choice.strip() for choice in self.choices):
            raise ValueError("a choice is empty")
        return self


def read_items(path: Path) -> list[Item]:
    """The items of a JSON Lines file, an object a line.

    Raises:
        CosmoError: it cannot be read, a line is no item, or there is none.
    """
    example = '{"question": "The capital of France is", "choices": ["Rome", "Paris"], "answer": 1}'
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy="--items is a JSON Lines file in UTF-8") from error
    items = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            items.append(Item.model_validate(json.loads(line)))
        except ValueError as error:
            wrong = error.errors()[0] if isinstance(error, pydantic.ValidationError) else None
            said = f"{'.'.join(map(str, wrong['loc'])) or 'item'}: {wrong['msg']}" if wrong else f"no JSON ({error})"
            raise CosmoError(f"{path}:{number}: {said}", remedy=f"write lines like {example}") from error
    if not items:
        raise CosmoError(f"{path}: there is no item", remedy=f"write lines like {example}")
    return items


@dataclass(frozen=True)
class HeldOut:
    """Log-likelihoods of held-out documents."""

    log_likelihoods: Array
    """Nats, by document."""
    tokens: Counts
    sizes: Counts
    """Bytes, by document."""

    @property
    def bits_per_byte(self) -> Array:
        return bits_per_byte(self.log_likelihoods, self.sizes)


class Rows:
    """All rows, and how to read their log-likelihoods: first the choices of the items, then the held-out documents."""

    def __init__(
        self,
        items: Sequence[Item],
        held_out: Mapping[str, Sequence[Path]],
        tokenizer: NamedTokenizer,
        eos: int,
        sequence: int,
    ) -> None:
        """Encode everything for a context of `sequence` tokens; `eos` stands before each text, as in the shards."""
        self._rows: list[tuple[list[int], int]] = []
        self._tokenizer, self._eos, self._sequence = tokenizer.tokenizer, eos, sequence
        choices = [choice for item in items for choice in item.choices]
        self._characters = np.array([len(choice) for choice in choices], np.int64)
        self._sizes = np.array([len(choice.encode()) for choice in choices], np.int64)
        self._items: Counts = np.repeat(
            np.arange(len(items)), np.array([len(item.choices) for item in items], np.int64)
        )
        self._right: Marks = np.array([n == item.answer for item in items for n in range(len(item.choices))])
        for number, item in enumerate(items, 1):
            for choice in item.choices:
                self._add_choice(number, item.question, choice)
        self._documents: dict[str, list[tuple[int, int, int]]] = {
            name: self._add_documents(name, shards) for name, shards in held_out.items()
        }

    def arrays(self) -> dict[str, Counts]:
        """What `rows.npz` holds (see `train`)."""
        lengths = [len(tokens) for tokens, _ in self._rows]
        return {
            "tokens": np.concatenate([np.asarray(tokens, np.int64) for tokens, _ in self._rows]),
            "ends": np.cumsum(lengths),
            "given": np.array([given for _, given in self._rows], np.int64),
        }

    def answers(self, log_likelihoods: Array) -> Answers:
        """What log-likelihoods of all rows say of the items."""
        chosen = log_likelihoods[: len(self._items)]
        return answers(chosen, self._characters, self._sizes, self._items, self._right)

    def held_out(self, log_likelihoods: Array) -> dict[str, HeldOut]:
        """And of the held-out documents, by domain."""
        found, place = {}, len(self._items)
        for name, documents in self._documents.items():
            rows, tokens, sizes = np.array(documents, np.int64).T
            starts = place + np.cumsum(rows) - rows
            place += int(rows.sum())
            found[name] = HeldOut(np.add.reduceat(log_likelihoods[:place], starts), tokens, sizes)
        return found

    def _add_choice(self, number: int, question: str, choice: str) -> None:
        """The question, a space and the choice; of a long question the end. Tokens of the choice are those that the
        whole has beyond the question alone, as lm-evaluation-harness counts them."""
        asked = self._encoded(question)
        whole = self._encoded(f"{question} {choice}")
        scored = len(whole) - len(asked)
        if not 0 < scored <= self._sequence:
            raise CosmoError(
                f"item {number}: the choice {choice[:40]!r} has {scored} tokens",
                remedy=f"choices have 1 to {self._sequence} tokens, the sequence of the proxy; change one or the other",
            )
        row = [self._eos, *whole][-(self._sequence + 1) :]
        self._rows.append((row, len(row) - scored))

    def _add_documents(self, name: str, shards: Sequence[Path]) -> list[tuple[int, int, int]]:
        """Rows, tokens and bytes of each document; a long one is several rows, each with the token before it."""
        documents: list[tuple[int, int, int]] = []
        total = 0
        for shard in shards:
            tokens = map_shard(shard)
            begin = 0
            for end in np.fromfile(f"{shard}.index", "<u8").tolist():
                text = [int(token) for token in tokens[begin : end - 1]]
                begin, size = end, len(self._tokenizer.decode(text).encode())
                if not size:
                    continue
                row = [self._eos, *text]
                pieces = [row[start : start + self._sequence + 1] for start in range(0, len(text), self._sequence)]
                self._rows += [(piece, 1) for piece in pieces]
                documents.append((len(pieces), len(text), size))
                total += len(text)
                if total >= HELD_OUT_TOKENS:
                    return documents
        if not documents:
            raise CosmoError(f"held-out domain {name!r} has no document", remedy="name shards that have some")
        return documents

    def _encoded(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
