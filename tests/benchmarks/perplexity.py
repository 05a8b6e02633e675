"""Perplexities of texts beside kenlm's, by the same model in the same ARPA file.

Belongs here: how far the two are apart, and their times in turns. Does not belong here: whether the model is that of
its definition (`test_kneser_ney`), other signals (`signals`).

    python -m tests.benchmarks.perplexity [--documents 2000] [--order 3]

Needs the sample data (COSMO_SAMPLES) and kenlm (`pip install kenlm`). A model of four fifths of the documents, as
`train` makes it, is written once and read by both. The others, cut to 3,600 characters, are scored: kenlm is given
their words, without case and punctuation, which finding takes this project part of its time. CPU time of one core.
"""

import argparse
import importlib.util
import os
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from cosmo_assets.signals.arpa import read_arpa, write_arpa
from cosmo_assets.signals.kneser_ney import train
from cosmo_assets.words.alphabet import words_of
from tests.benchmarks.decontamination import documents_of
from tests.benchmarks.signals import CHARACTERS, TURNS, cpu, pieces


def compare(arpa: Path, texts: list[str]) -> None:
    import kenlm

    ours, theirs, column = read_arpa(arpa), kenlm.Model(str(arpa)), pa.array(texts)
    sentences = [" ".join(words_of(text, "folded")) for text in texts]
    found = ours.score(column)
    wanted = np.array([theirs.perplexity(sentence) for sentence in sentences])
    away = np.abs(found.perplexity / wanted - 1)
    unknown, words = found.unknown.sum(), found.words.sum()
    print(f"{len(texts)} texts, {words} words, {unknown / words:.2%} of them unknown; n-grams {ours.sizes}")
    print(f"perplexity: median {np.median(wanted):.0f}; largest relative difference {away.max():.1e}")
    best = {"ours": float("inf"), "kenlm": float("inf")}
    for _ in range(TURNS):
        best["ours"] = min(best["ours"], cpu(lambda: ours.score(column)))
        best["kenlm"] = min(best["kenlm"], cpu(lambda: [theirs.score(sentence) for sentence in sentences]))
    print(f"kenlm takes {best['kenlm'] / best['ours']:.2f} times as long")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=2_000)
    arguments.add_argument("--order", type=int, default=3)
    chosen = arguments.parse_args()
    documents = documents_of(Path(os.environ["COSMO_SAMPLES"]))
    random.Random(5).shuffle(documents)
    fifth = len(documents) // 5
    with tempfile.TemporaryDirectory() as folder:
        arpa = Path(folder) / "model.arpa"
        write_arpa(train(documents[fifth:], chosen.order), arpa)
        compare(arpa, pieces(documents[:fifth], chosen.documents, CHARACTERS))


if __name__ == "__main__":
    if importlib.util.find_spec("kenlm") is None:
        sys.exit("kenlm is not installed: there is nothing to compare with")
    main()
