r"""Language models in the ARPA format, which kenlm and SRILM read and write too.

Belongs here: the file. Does not belong here: what the numbers in it mean (`language_model`).

The format (Doug Paul's, as SRILM describes it): `\data\`, the number of n-grams by order, then by order one line for
each: log10 of its probability, its words, log10 of its back-off weight. Numbers have nine digits, with which a single
precision number comes back as it was.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np

from cosmo_assets.signals.language_model import NEVER, SPECIAL, LanguageModel
from cosmo_resources.errors import CosmoError

_COUNT = re.compile(r"ngram (\d+)\s*=\s*(\d+)")
_SECTION = re.compile(r"\\(\d+)-grams:")
_GAP = re.compile(r"[ \t]+")
_NO_UNKNOWN = -100.0
"""What kenlm takes for <unk> where a file has none."""


def write_arpa(model: LanguageModel, path: Path) -> None:
    """Write a model; the order of its n-grams is kept."""
    spelled: list[str] = []
    with path.open("w", encoding="utf-8") as file:
        file.write("\\data\\\n")
        file.writelines(f"ngram {size}={count}\n" for size, count in enumerate(model.sizes, 1))
        rows = zip(
            model.contexts.tolist(), model.last.tolist(), model.logs.tolist(), model.backoffs.tolist(), strict=True
        )
        for size, count in enumerate(model.sizes, 1):
            file.write(f"\n\\{size}-grams:\n")
            for context, last, log, backoff in (next(rows) for _ in range(count)):
                spelled.append(f"{spelled[context]} {model.words[last]}" if context >= 0 else model.words[last])
                tail = f"\t{backoff:.9g}" if size < model.order else ""
                file.write(f"{log:.9g}\t{spelled[-1]}{tail}\n")
        file.write("\n\\end\\\n")


def read_arpa(path: Path) -> LanguageModel:
    """Read a model. Words that texts do not have, as there is punctuation or a capital in them, are never met.

    Raises:
        CosmoError: the file cannot be read, or one of its lines is not what the format asks for.
    """
    read, declared, counted, size, ended = _Read(), dict[int, int](), dict[int, int](), 0, False
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text = line.strip(" \t\r\n")
                if count := _COUNT.fullmatch(text):
                    declared[int(count[1])] = int(count[2])
                elif section := _SECTION.fullmatch(text):
                    size = int(section[1])
                elif text and size and not (ended := ended or text == "\\end\\"):
                    counted[size] = counted.get(size, 0) + 1
                    if wrong := read.add(_GAP.split(text), size):
                        raise CosmoError(f"{path}, line {number}: {wrong}", remedy="write the model anew")
    except (OSError, UnicodeDecodeError) as error:
        raise CosmoError(f"{path} cannot be read: {error}", remedy="name a readable ARPA file in UTF-8") from error
    if not declared or declared != counted or not ended:
        raise CosmoError(
            f"{path}: no whole ARPA file: its head announces n-grams by order {declared}, it has {counted}",
            remedy="write the model anew",
        )
    return read.model(max(declared))


class _Read:
    """The n-grams that have been read, numbered as they come; the special words first, whether they come or not."""

    def __init__(self) -> None:
        self._words = {name: number for number, name in enumerate(SPECIAL)}
        self._numbers: dict[tuple[int, int], int] = {}
        self._sizes: Counter[int] = Counter({1: len(SPECIAL)})
        self._contexts, self._last = [-1] * len(SPECIAL), [*range(len(SPECIAL))]
        self._logs, self._backoffs = [_NO_UNKNOWN, NEVER, NEVER], [0.0] * len(SPECIAL)

    def add(self, cells: list[str], size: int) -> str:
        """Add an n-gram of this order; what is wrong with it, or nothing."""
        names = cells[1 : 1 + size]
        try:
            log, backoff = float(cells[0]), float(cells[1 + size]) if len(cells) > 1 + size else 0.0
            context, last = self._place(names) if len(names) == size else (0, -1)
        except ValueError:
            return f"{cells[0]!r} or {cells[-1]!r} is no number"
        except KeyError as error:
            return f"{' '.join(names)!r}: {error.args[0]!r} was not among the shorter n-grams"
        if last < 0 or len(cells) > 2 + size:
            return f"{len(cells)} fields are not those of {size} words"
        if size == 1 and last < len(self._logs):
            self._logs[last], self._backoffs[last] = log, backoff
            return ""
        self._numbers[context, last] = len(self._logs)
        self._sizes[size] += 1
        for column, value in ((self._contexts, context), (self._last, last)):
            column.append(value)
        for numbers, real in ((self._logs, log), (self._backoffs, backoff)):
            numbers.append(real)
        return ""

    def _place(self, names: list[str]) -> tuple[int, int]:
        """The numbers of an n-gram's context, -1 for a word, and of its last word."""
        if len(names) == 1:
            return -1, self._words.setdefault(names[0], len(self._words))
        numbers = [self._words[name] for name in names]
        context = numbers[0]
        for at, number in enumerate(numbers[1:-1], 2):
            if (context, number) not in self._numbers:
                raise KeyError(" ".join(names[:at]))
            context = self._numbers[context, number]
        return context, numbers[-1]

    def model(self, order: int) -> LanguageModel:
        return LanguageModel(
            tuple(self._words),
            tuple(self._sizes[size] for size in range(1, order + 1)),
            np.array(self._contexts, np.int32),
            np.array(self._last, np.int32),
            np.array(self._logs, np.float32),
            np.array(self._backoffs, np.float32),
        )
