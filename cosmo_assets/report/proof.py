"""The part of the report on the proof: what small models made of the corpus and of its arms, where somebody trained
them.

Belongs here: scores and decisions as a table and charts, and which version of the shards they are of. Does not belong
here: training and comparing (`cosmo_assets.proxy`), parts that every build has (`filtering`).
"""

from cosmo_assets.proxy.parts import CORPUS
from cosmo_assets.proxy.show import differences_chart, from_corpus
from cosmo_assets.proxy.stage import EVALUATION, RUNS
from cosmo_assets.report.corpus import Corpus, Section
from cosmo_assets.report.html import Table

SHARDS = "tokenized_shards"
LEAD = (
    "Small models trained on the corpus and on arms of it, with {seeds} seeds each and equally many tokens, and how "
    "they score questions and held-out text. The difference is that of an arm from the whole corpus, within what 95 % "
    "of resamples lie; where that holds 0 the arm is undecided, which is no proof that both are alike. Decide by the "
    "first measure. Of version {shards} of the shards."
)
NAMES = {
    "arm": "Arm", "score": "Score", "difference": "Arm - corpus", "low": "Low", "high": "High", "arm_is": "The arm is"
}  # fmt: skip


def part(corpus: Corpus) -> Section:
    """Scores and decisions of `proxy_evaluation`. Where it is of another version of the shards than the current one, a
    warning says so.

    Raises:
        CosmoError: the trainings that it compares are gone.
    """
    evaluation = corpus.one(EVALUATION).manifest
    (ref,) = (ref for ref in evaluation.inputs if ref.asset == RUNS)
    runs, summary = corpus.workspace.store.version(ref).manifest, evaluation.summary
    rows: list[tuple[object, ...]] = []
    for name in summary["measures"]:
        rows.append((name, "the whole corpus", summary["scores"][name][CORPUS], None, None, None, None))
        rows += [(name, *(row[key] for key in NAMES)) for row in from_corpus(summary, name)]
    (trained,) = (ref.version for ref in runs.inputs if ref.asset == SHARDS)
    current = corpus.one(SHARDS).manifest.version
    content = {
        "title": "Proof",
        "lead": LEAD.format(seeds=runs.summary["seeds"], shards=trained[:12]),
        "table": Table(("Measure", *NAMES.values()), rows),
    }
    if trained != current:
        content["warning"] = (
            f"These figures are of version {trained[:12]} of the shards, not of the current one, {current[:12]}: build "
            f"{RUNS} and {EVALUATION} again."
        )
    figures = {f"{name}.{arm}": score for name, of in summary["scores"].items() for arm, score in of.items()}
    lower = runs.summary["lower_is_better"]
    charts = [differences_chart(summary, name, lower_is_better=lower[name]) for name in summary["measures"]]
    return Section("proof", content, charts, figures)
