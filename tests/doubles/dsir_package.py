"""What DSIR's authors' package makes of a few texts, kept in the file beside this one.

`python -m tests.doubles.dsir_package` writes it anew where data-selection (MIT) is installed, with an NLTK below 3.10:
from then on NLTK takes combining marks and numerals such as ² for other kinds of characters than Python's `re` does.

Belongs here: the texts, what is asked of the package, reading its answers. Does not belong here: tests.
"""

import json
import random
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FILE = Path(__file__).with_suffix(".json")
EVERY = 29
"""Of the buckets that are not 0 one in so many is listed; of all there are their number, sum and sum of squares."""

_WORDS = [
    *("lamp", "keeper", "island", "Storm,", "storm?", "DON'T", "don't", "e.g.", "3.14", "1,000", "x_y", "snake_case"),
    *(
        "naïve",
        "Ünïcode",
        "straße",
        "STRASSE",
        "İstanbul",
        "日本語の文章",
        "Москва,",
        "москва!",
        "مرحبا",
        "हिन्दी",
        "—",
        "…",
    ),
    *(
        "“quoted”",
        "(aside)",
        "a--b",
        ":-)",
        "C++",
        "#tag",
        "user@example.org",
        "🙂",
        "🙂🙂",
        "zero\u200bwidth",
        "½",
        "x²",
    ),
    *("no\u00a0break", "tab\tand\nline", "ﬁgure", "Σίσυφος", "ΣΊΣΥΦΟΣ", "don’t"),
]


def texts(kind: str, count: int) -> list[str]:
    """Texts of 0 to 160 pieces, the same on every machine; those of a kind prefer some pieces."""
    draw = random.Random(kind)
    weights = [draw.random() ** 3 for _ in _WORDS]
    drawn = [" ".join(draw.choices(_WORDS, weights, k=draw.choice((0, 1, 2, 7, 40, 160)))) for _ in range(count)]
    return [*drawn, "", "   ", "One"]


RAW, TARGET = texts("raw", 40), texts("target", 15)


def answers() -> dict[str, Any]:
    """The package's answers, as the file has them."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def _ask(folder: Path) -> dict[str, Any]:
    import numpy as np
    from data_selection import HashedNgramDSIR

    for name, found in (("raw", RAW), ("target", TARGET)):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in found)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    raw, target = ([str(folder / f"{name}.jsonl")] for name in ("raw", "target"))
    dsir = HashedNgramDSIR(raw, target, str(folder / "cache"), num_proc=1)
    dsir.fit_importance_estimator(num_tokens_to_fit="all")
    features = [dsir.featurizer(text) for text in RAW]
    return {
        "package": ", ".join(f"{name} {version(name)}" for name in ("data-selection", "nltk")),
        "buckets": {str(number): float(dsir.log_diff[number]) for number in np.flatnonzero(dsir.log_diff)[::EVERY]},
        "not_zero": int(np.count_nonzero(dsir.log_diff)),
        "sum": float(np.sum(dsir.log_diff)),
        "sum_of_squares": float(np.sum(dsir.log_diff**2)),
        "log_weights": [float(dsir.importance_estimator(one)) for one in features],
        "words": [int(dsir.get_perexample_metadata({}, one)) for one in features],
    }


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        FILE.write_text(json.dumps(_ask(Path(temporary)), indent=1) + "\n", encoding="utf-8")
