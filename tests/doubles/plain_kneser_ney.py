"""Interpolated modified Kneser-Ney in plain Python, n-gram by n-gram: what the arrays are compared with.

Belongs here: probabilities by their definition, and by back-off from an ARPA file. Does not belong here: tests.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

Gram = tuple[str, ...]


def grams_of(sentences: Sequence[Sequence[str]], order: int) -> dict[int, Counter[Gram]]:
    found: dict[int, Counter[Gram]] = {size: Counter() for size in range(1, order + 1)}
    for words in sentences:
        row = ("<s>", *words, "</s>")
        for size in range(1, order + 1):
            found[size].update(row[at : at + size] for at in range(len(row) - size + 1))
    del found[1]["<s>",]
    return found


class PlainModel:
    """P(word | context) of every word and context, without pruning."""

    def __init__(self, sentences: Sequence[Sequence[str]], order: int) -> None:
        counts = grams_of(sentences, order)
        self.order = order
        self.words = sorted({"<unk>", *(gram[0] for gram in counts[1])})
        self.counts = dict(counts)
        for size in range(1, order):
            preceded: dict[Gram, set[str]] = defaultdict(set)
            for gram in counts[size + 1]:
                preceded[gram[1:]].add(gram[0])
            self.counts[size] = Counter(
                {gram: count if gram[0] == "<s>" else len(preceded[gram]) for gram, count in counts[size].items()}
            )
        self.discounts = {size: self._discounts(list(found.values())) for size, found in self.counts.items()}

    @staticmethod
    def _discounts(counts: list[int]) -> list[float]:
        n = [counts.count(number) for number in range(5)]
        if all(n[1:]):
            y = n[1] / (n[1] + 2 * n[2])
            found = [0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
            if all(0 < found[number] < number for number in (1, 2, 3)):
                return found
        return [0, 0.5, 1.0, 1.5]

    def probability(self, context: Gram, word: str) -> float:
        if len(context) >= self.order:
            return self.probability(context[1:], word)
        size = len(context) + 1
        lower = self.probability(context[1:], word) if context else 1 / len(self.words)
        after = {gram[-1]: count for gram, count in self.counts[size].items() if gram[:-1] == context}
        if not after:
            return lower
        discounts = self.discounts[size]
        total = sum(after.values())
        left = sum(discounts[min(count, 3)] for count in after.values()) / total
        count = after.get(word, 0)
        return (count - discounts[min(count, 3)]) / total + left * lower


def backed_off(path: Path, context: Gram, word: str) -> float:
    """Log10 P(word | context) by the recursion that ARPA files are made for."""
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = line.split("\t")
        if len(cells) > 1:
            rows[tuple(cells[1].split(" "))] = (float(cells[0]), float(cells[2]) if len(cells) > 2 else 0.0)

    def log(context: Gram) -> float:
        if (*context, word) in rows:
            return rows[*context, word][0]
        return rows.get(context, (0.0, 0.0))[1] + log(context[1:])

    return log(context)
