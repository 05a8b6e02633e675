"""The model card of the quality classifier.

Belongs here: its words. Does not belong here: its figures (`classifier`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cosmo_assets.education.features import Features
from cosmo_assets.education.questions import SCALE
from cosmo_resources.storage.manifest import Manifest


def card(labels: Manifest, summary: Mapping[str, Any], features: Features) -> str:
    """The card as Markdown, of the labels' manifest, the classifier's figures and what it reads."""
    asked, count = labels.params, summary["labels"]
    sources = ", ".join(f"{found:,} of {name}" for name, found in sorted(labels.summary["sources"].items()))
    scale = [(score, meaning, summary["scores"][score]) for score, meaning in enumerate(SCALE)]
    confusion = [(score, *row) for score, row in enumerate(summary["confusion"])]
    return f"""# Quality classifier

A score from 0 to 5 for what a text teaches, and the probability that the labelling model would give 3 or more: ridge
regression on {features.said}, and a logistic function of its score. It is for choosing among the texts
of this corpus, softly; it is no judge of whether a text is true.

## Labels

{count:,} texts ({sources}), drawn by their ids, their first {asked["extract_chars"]:,} characters rated by
{asked["model"]} (revision {asked["revision"]}), one answer each. No person has looked at them.

{_table(("label", "meaning", "texts"), scale)}

## How well it agrees with them

Each text was scored by a model that has not seen it (ten folds).

| figure | value |
| --- | --- |
| Spearman correlation | {summary["spearman"]} |
| mean absolute error | {summary["mae"]} |
| the same, where every text gets the mean label | {summary["mae_of_the_mean"]} |
| precision, recall, F1 of labels of 3 and more, found where the probability is 0.5 and more | {summary["precision"]}, \
{summary["recall"]}, {summary["f1"]} |

Labels (rows) and rounded held-out scores (columns):

{_table(("label", *range(len(SCALE))), confusion)}

## Limits

- {features.limit}
- It agrees with one model's opinion, and has that model's faults.
- It was fitted on seeds and real text. What is generated reads otherwise, mostly more like a textbook: there its
  scores are an extrapolation, and the agreement above is not measured.
- Scores lean towards the mean label, the more the fewer labels there are; for a threshold take the probability.
- It reads the beginning of a text only. In other languages than those of the labels it says little.
"""


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
