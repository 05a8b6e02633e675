"""DSIR's features and log ratios in plain Python, as the paper's package computes them: what ours are compared with.

Belongs here: counts of hashed n-grams and what follows from them, text by text. Does not belong here: tests.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence


def bucket(gram: str, size: int) -> int:
    return int(hashlib.sha256(gram.encode("utf-8")).hexdigest(), 16) % size


def counts(text: str, size: int) -> Counter[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    pairs = [" ".join(words[at : at + 2]) for at in range(len(words) - 1)]
    return Counter(bucket(gram, size) for gram in words + pairs)


def log_ratios(targets: Sequence[str], raw: Sequence[str], size: int) -> list[float]:
    def shares(texts: Sequence[str]) -> list[float]:
        total = Counter[int]()
        for text in texts:
            total.update(counts(text, size))
        return [total[number] / total.total() for number in range(size)]

    return [
        math.log(wanted + 1e-8) - math.log(there + 1e-8)
        for wanted, there in zip(shares(targets), shares(raw), strict=True)
    ]


def log_weight(text: str, ratios: Sequence[float]) -> float:
    return sum(count * ratios[number] for number, count in counts(text, len(ratios)).items())
