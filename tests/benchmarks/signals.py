"""How fast signals are taken: the statistics beside datatrove's filters, the other families beside the statistics.

Belongs here: documents per second of one core, the share of documents with the verdict of datatrove's own words, how
far two halves of a reference judge alike, how well textbooks are told from newsgroup posts. Does not belong here:
whether verdicts are right, given the same words (`test_statistics`), or figures those of their definitions
(`test_perplexity`).

    python -m tests.benchmarks.signals [--documents 4000] [--peer-documents 100] [--verdicts 600]
    python -m tests.benchmarks.signals --families [--documents 1000]
    python -m tests.benchmarks.signals --educational
    python -m tests.benchmarks.signals --neural MODEL [--tokens 128] [--documents 1000]

With `--families`, those that need no model of the corpus, in turns; a prompt is the 2,000 characters before its text.
With `--educational`, the quality classifier on n-grams and on embeddings, of the same labels and texts, and its time.
With `--neural`, the folder of a language model, the signals by it (COSMO_PROXY_PYTHON runs it) beside perplexity by
n-grams, in turns.

Needs the sample data (COSMO_SAMPLES). Documents have 3,600 characters, some 800 tokens, cut out of real ones.
datatrove's filters judge fewer of them, in turns with this project's statistics and by the CPU time of one process:
with this project's words in plain Python, and with their own words of English where spaCy is installed (`pip install
spacy`). Each of datatrove's filters stops at the first rule that a document breaks; the statistics are all taken.
"""

import argparse
import importlib.util
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datatrove.utils.text import split_into_parts
from scipy.stats import spearmanr

from cosmo_assets.education.classifier import GOOD, fitted, report
from cosmo_assets.education.features import Embeddings, Ngrams
from cosmo_assets.ids import seed_id
from cosmo_assets.proxy.models import ModelFolder
from cosmo_assets.signals.catalogue import OF_GENERATED
from cosmo_assets.signals.families import FAMILIES
from cosmo_assets.signals.kneser_ney import train
from cosmo_assets.signals.neural import Judges as Transformers
from cosmo_assets.signals.perplexity import Judges, halves
from cosmo_assets.signals.rule_sets import RULE_SETS, reasons_of
from cosmo_assets.signals.statistics import statistics_of
from cosmo_assets.words.hashing import hashed
from cosmo_resources.embedding.minilm import pipeline_embedder
from tests.benchmarks.decontamination import documents_of
from tests.doubles.datatrove_filters import filters, reasons
from tests.doubles.datatrove_words import PlainWords

CHARACTERS = 3_600
PROMPT_CHARACTERS = 2_000
LABELLED_CHARACTERS = 1_800
OTHERS = 600
"""Texts of the quality classifier that nobody labels."""
TURNS = 3
ONE_IN = 25
"""So many of the documents are judged by a transformer."""
NO_WORKSPACE: Any = None
"""Families without models read nothing of the corpus."""


def pieces(documents: Sequence[str], count: int, characters: int) -> list[str]:
    """Texts of a length, cut out of documents that are joined by empty lines."""
    pool, draw = "\n\n".join(documents), random.Random(5)
    starts = (draw.randrange(len(pool) - characters) for _ in range(count))
    return [pool[start : start + characters] for start in starts]


def cpu(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def compare_speed(texts: list[str], peer_documents: int, peers: dict[str, PlainWords | str]) -> None:
    column, few = pa.array(texts), texts[:peer_documents]
    statistics_of(column[:2])
    by_peer = {name: filters(words) for name, words in peers.items()}
    best = dict.fromkeys(["statistics", *peers], float("inf"))
    for _ in range(TURNS):
        best["statistics"] = min(best["statistics"], cpu(lambda: statistics_of(column)) / len(texts))
        for name, chosen in by_peer.items():
            split_into_parts.cache_clear()
            spent = cpu(lambda chosen=chosen: [reasons(text, chosen) for text in few])  # type: ignore[misc]
            best[name] = min(best[name], spent / len(few))
    for name, seconds in best.items():
        ratio = seconds / best["statistics"]
        print(f"{name}: {1 / seconds:,.0f} documents/s of one core, ratio {ratio:,.0f}", flush=True)


def compare_families(documents: list[str], count: int) -> None:
    joined = pieces(documents, count, PROMPT_CHARACTERS + CHARACTERS)
    prompts, texts = (
        pa.chunked_array([[text[part] for text in joined]])
        for part in (slice(PROMPT_CHARACTERS), slice(PROMPT_CHARACTERS, None))
    )
    plain = {name: family for name, family in FAMILIES.items() if not family.models and name != "neural"}
    families = {name: family.measure(NO_WORKSPACE, pipeline_embedder) for name, family in plain.items()}
    best = dict.fromkeys(families, float("inf"))
    for turn in range(TURNS + 1):  # the first one compiles and loads
        for name, measure in families.items():
            columns = (texts, prompts) if name in OF_GENERATED else (texts,)
            spent = cpu(lambda measure=measure, columns=columns: measure(*columns)) / count  # type: ignore[misc]
            best[name] = min(best[name], spent) if turn else best[name]
    for name, seconds in best.items():
        ratio = seconds / best["statistics"]
        print(f"{name}: {1 / seconds:,.0f} documents/s of one core, {ratio:.2g} times as long as statistics")


def compare_verdicts(texts: list[str], words: PlainWords | str) -> None:
    statistics, by_name = statistics_of(texts), filters(words)
    theirs = [reasons(text, by_name) for text in texts]
    for name, bounds in RULE_SETS.items():
        ours = reasons_of(statistics, bounds).to_pylist()
        pairs = [(mine, their[name]) for mine, their in zip(ours, theirs, strict=True)]
        dropped = sum(their is not None for _, their in pairs)
        verdicts = sum((mine is None) == (their is None) for mine, their in pairs) / len(pairs)
        same = sum(mine == their for mine, their in pairs) / len(pairs)
        print(
            f"  {name}: datatrove drops {dropped} of {len(pairs)}; same verdict {verdicts:.2%}, and reason {same:.2%}"
        )


def compare_perplexity(documents: Sequence[str], texts: Sequence[str]) -> None:
    """Models of the halves of the documents, as `language_model` makes them, and what they say of texts."""
    reference = pa.array(documents)
    side = halves(reference).tolist()
    began = time.process_time()
    first, second = (train(text for text, of in zip(documents, side, strict=True) if of == half) for half in (0, 1))
    trained, words = time.process_time() - began, sum(hashed(reference, "folded").bounds[-1:])
    judges, column = Judges((first, second)), pa.chunked_array([texts])
    judges.figures(column.slice(0, 2))
    seconds = min(cpu(lambda: judges.figures(column)) / len(texts) for _ in range(TURNS))
    statistics = min(cpu(lambda: statistics_of(column)) / len(texts) for _ in range(TURNS))
    print(f"perplexity: {1 / seconds:,.0f} documents/s of one core, {seconds / statistics:.2f} times the statistics")
    print(f"training: {words / trained:,.0f} words/s; n-grams {first.sizes} and {second.sizes}")
    both = [model.score(column.combine_chunks()).perplexity for model in (first, second)]
    print(f"one half's perplexity over the other's: {np.quantile(both[0] / both[1], [0.05, 0.5, 0.95])}")
    print(f"Spearman of both: {spearmanr(*both).statistic:.4f}")


class Remembering:
    """The pipeline's embedder, for which a text that comes again costs nothing."""

    def __init__(self) -> None:
        self.embedder = pipeline_embedder()
        self.name, self.revision = self.embedder.name, self.embedder.revision
        self.known: dict[str, npt.NDArray[np.float32]] = {}

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        new = [text for text in texts if text not in self.known]
        self.known.update(zip(new, self.embedder.encode(new), strict=True))
        return np.array([self.known[text] for text in texts])


def compare_educational(samples: Path) -> None:
    """Labels of 5 for sections of textbooks and educational web pages, a text each, of 1 for newsgroup posts."""
    books = sorted((samples / "openstax_ccby").glob("*.text.jsonl"))
    of_label = {5.0: [row["text"] for path in books for row in map(json.loads, path.read_text("utf-8").splitlines())]}
    web = (samples / "web_fineweb_edu_sample" / "fineweb_edu_sample.txt").read_text(encoding="utf-8")
    of_label[5.0] += [web[start : start + LABELLED_CHARACTERS] for start in range(0, len(web), LABELLED_CHARACTERS)]
    posts = (samples / "topics_20newsgroups" / "20newsgroups.jsonl").read_text(encoding="utf-8")
    of_label[1.0] = [row["text"] for row in map(json.loads, posts.splitlines())]
    draw, drawn = random.Random(5), []
    for label, found in of_label.items():
        whole = [text[:LABELLED_CHARACTERS] for text in found if len(text) >= LABELLED_CHARACTERS]
        drawn += [(text, label) for text in draw.sample(whole, 700)]
    draw.shuffle(drawn)
    column, labels = pa.array([text for text, _ in drawn]), np.array([label for _, label in drawn])
    ids, good = [seed_id("texts", text, text) for text, _ in drawn], labels[-OTHERS:] >= GOOD
    ways = (Ngrams(), Embeddings(Remembering()))
    for count in (200, 800):
        for features in ways:
            classifier, held = fitted(ids[:count], column[:count], labels[:count], LABELLED_CHARACTERS, features)
            f1 = report(labels[:count], held, classifier.probability(held))["f1"]
            scores = classifier.score(column[-OTHERS:])
            said = classifier.probability(scores) >= 0.5
            above = scores[good][:, None] - scores[~good][None, :]
            area = (above > 0).mean() + (above == 0).mean() / 2
            precision, recall = (good & said).sum() / said.sum(), (good & said).sum() / good.sum()
            print(f"{count} labels, {features.name}: F1 {f1:.3f}; of others", end=" ")
            print(f"precision {precision:.3f}, recall {recall:.3f}, area {area:.4f}", flush=True)
    best = {Ngrams(): float("inf"), Embeddings(pipeline_embedder()): float("inf")}
    for _ in range(TURNS):
        for way in best:
            texts = column[:32] if isinstance(way, Embeddings) else column[:OTHERS]
            spent = cpu(lambda way=way, texts=texts: way.of(texts, LABELLED_CHARACTERS)) / len(texts)  # type: ignore[misc]
            best[way] = min(best[way], spent)
    ngrams, embeddings = best.values()
    print(f"embeddings: {embeddings / ngrams:,.0f} times as long as n-grams")


def compare_neural(documents: Sequence[str], texts: Sequence[str], model: Path, tokens: int) -> None:
    """The signals by a transformer beside those by n-grams, in turns, without what starting the program takes."""
    side = halves(pa.array(documents)).tolist()
    first, second = (train(text for text, of in zip(documents, side, strict=True) if of == half) for half in (0, 1))
    python = os.environ.get("COSMO_PROXY_PYTHON") or sys.executable
    neural, ngrams = Transformers((ModelFolder(model, ""),), tokens, python), Judges((first, second))
    column, few = pa.chunked_array([texts]), max(len(texts) // ONE_IN, 1)
    work = {
        "ngrams": (len(texts), lambda: ngrams.figures(column)),
        "start": (1, lambda: neural.figures(column.slice(0, 1))),
        "neural": (few, lambda: neural.figures(column.slice(0, few))),
    }
    ngrams.figures(column.slice(0, 2))
    best = dict.fromkeys(work, float("inf"))
    for _ in range(TURNS):
        for name, (_, measure) in work.items():
            before = time.process_time(), *os.times()[2:4]
            measure()
            spent = sum(np.subtract((time.process_time(), *os.times()[2:4]), before))
            best[name] = min(best[name], spent)
    each, start = best["ngrams"] / len(texts), best["start"]
    ratio = (best["neural"] - start) / max(few - 1, 1) / each
    print(
        f"neural: {ratio:,.0f} times as long as perplexity; starting takes as long as perplexity of {start / each:,.0f}"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--documents", type=int, default=4_000)
    arguments.add_argument("--peer-documents", type=int, default=100, help="how many datatrove judges for its time")
    arguments.add_argument("--verdicts", type=int, default=600, help="how many datatrove judges for its verdict")
    arguments.add_argument("--families", action="store_true", help="only the families beside one another")
    arguments.add_argument("--educational", action="store_true", help="only the quality classifier")
    arguments.add_argument("--neural", type=Path, help="only the signals by this model, beside perplexity")
    arguments.add_argument("--tokens", type=int, default=128, help="of each document, by this model")
    chosen = arguments.parse_args()
    samples = Path(os.environ["COSMO_SAMPLES"])
    if chosen.educational:
        compare_educational(samples)
        return
    documents = documents_of(samples)
    if chosen.families:
        compare_families(documents, chosen.documents)
        return
    if chosen.neural:
        random.Random(5).shuffle(documents)
        fifth = len(documents) // 5
        texts = pieces(documents[:fifth], chosen.documents, CHARACTERS)
        compare_neural(documents[fifth:], texts, chosen.neural, chosen.tokens)
        return
    peers: dict[str, PlainWords | str] = {"datatrove's filters, the same words": PlainWords()}
    if importlib.util.find_spec("spacy"):
        peers["datatrove's filters, words of spaCy"] = "eng"
    else:
        print("spaCy is not installed: datatrove's own words are left out")
    random.Random(5).shuffle(documents)
    fifth = len(documents) // 5
    compare_perplexity(documents[fifth:], pieces(documents[:fifth], chosen.documents // 2, CHARACTERS))
    compare_speed(pieces(documents, chosen.documents, CHARACTERS), chosen.peer_documents, peers)
    texts = [document[: 2 * CHARACTERS] for document in documents][: chosen.verdicts // 2]
    texts += pieces(documents, chosen.verdicts - len(texts), CHARACTERS // 4)
    for name, words in peers.items():
        print(name)
        compare_verdicts(texts, words)


if __name__ == "__main__":
    main()
