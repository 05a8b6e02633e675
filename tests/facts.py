"""A world of facts for proxies to learn: texts that state them, texts that do not, and questions about them.

Token files are written as Cosmo's shards are, with a tokenizer of whole words.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers

SUBJECTS, RELATIONS, VALUES, CHOICES = 40, 2, 40, 4
EOS = "<|endoftext|>"
WORDS = (
    [f"subject{n}" for n in range(SUBJECTS)]
    + [f"relation{n}" for n in range(RELATIONS)]
    + [f"value{n}" for n in range(VALUES)]
)
VOCABULARY = {word: number for number, word in enumerate([EOS, *WORDS])}


def truth() -> list[str]:
    """One fact for each subject, three words."""
    values = np.random.default_rng(7).permutation(SUBJECTS) % VALUES
    return [f"relation{n % RELATIONS} subject{n} value{value}" for n, value in enumerate(values)]


def wrong() -> list[str]:
    """The same subjects, each with the value of the next one."""
    facts = [fact.rpartition(" ") for fact in truth()]
    return [f"{fact[0]} {other[2]}" for fact, other in zip(facts, [*facts[1:], facts[0]], strict=True)]


def items() -> list[dict[str, object]]:
    """A question about each fact: the first two words; the choices are values."""
    random, found = np.random.default_rng(8), []
    for fact in truth():
        question, _, value = fact.rpartition(" ")
        wrong = [word for n in random.permutation(VALUES) if (word := f"value{n}") != value][: CHOICES - 1]
        place = int(random.integers(CHOICES))
        found.append({"question": question, "choices": [*wrong[:place], value, *wrong[place:]], "answer": place})
    return found


def texts(noise: float, seed: int, count: int = 3000, facts: Sequence[str] = ()) -> list[str]:
    """Statements of these facts, by default of the true ones; so large a share of them is three words that state
    nothing."""
    random, stated = np.random.default_rng(seed), facts or truth()
    return [
        " ".join(random.choice(WORDS, 3)) if random.random() < noise else stated[random.integers(len(stated))]
        for _ in range(count)
    ]


def domains(seed: int, count: int = 2000) -> dict[str, list[str]]:
    """Texts of three kinds, ten words each: one word again and again; any words; after each word, one of two."""
    random = np.random.default_rng(seed)
    after = np.random.default_rng(7).integers(len(WORDS), size=(len(WORDS), 2))
    chains = []
    for _ in range(count):
        chain = [int(random.integers(len(WORDS)))]
        while len(chain) < 10:
            chain.append(int(after[chain[-1], random.integers(2)]))
        chains.append(" ".join(WORDS[place] for place in chain))
    return {
        "trivial": [" ".join([WORDS[0]] * 10)] * count,
        "noise": [" ".join(random.choice(WORDS, 10)) for _ in range(count)],
        "learnable": chains,
    }


def write_shard(path: Path, documents: Sequence[str], vocabulary: Mapping[str, int] = VOCABULARY) -> Path:
    """A token file with its index and metadata, and the tokenizer beside it."""
    model = models.WordLevel(dict(vocabulary), unk_token=EOS)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    encoded = [[*tokenizer.encode(text).ids, vocabulary[EOS]] for text in documents]
    ends = np.cumsum([len(ids) for ids in encoded])
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path.parent / "tokenizer.json"))
    np.concatenate(encoded).astype("<u2").tofile(path)
    ends.astype("<u8").tofile(f"{path}.index")
    Path(f"{path}.metadata").write_text(f"tokenizer.json|2\n{ends[-1]}\n{ends[-1]}", encoding="utf-8")
    return path
