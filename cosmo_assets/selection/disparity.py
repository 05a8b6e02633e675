"""Identity disparity: whether a filter removes harmless texts for whom they are about.

Belongs here: the texts, the removal rates and their ratios. Does not belong here: filters, or what is left of a corpus
(`sweep`).

Toxicity filters marginalize minorities, as their names are frequent in abuse (Xu et al. 2021; Welbl et al. 2021). The
same sentences are given to the filter about each group and about nobody in particular, as in Dixon et al. 2018.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import NormalDist

from cosmo_resources.errors import CosmoError

PLACE = "{term}"
TEMPLATES = (
    "My {term} neighbour baked bread for the whole street.",
    "The {term} teacher explained the lesson twice.",
    "Our {term} friends are coming to dinner on Sunday.",
    "The {term} community opened a new library.",
    "She is {term} and works as a nurse in the city.",
    "He told us that he is {term} and proud of his family.",
    "Many {term} people live in this town.",
    "The novel is about two {term} students who study physics.",
    "I met several {term} doctors at the conference.",
    "Their {term} grandmother taught them to sing.",
)
GROUPS = {
    "orientation": ("gay", "lesbian", "bisexual", "queer"),
    "gender": ("transgender", "nonbinary", "female", "male"),
    "religion": ("Muslim", "Jewish", "Christian", "Hindu"),
    "ethnicity": ("Black", "Asian", "Latino", "Roma"),
    "disability": ("disabled", "deaf", "blind", "autistic"),
}
NEUTRAL = ("tall", "friendly", "local", "busy")
_NINETY_FIVE = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Disparity:
    """How a filter treats one group."""

    group: str
    removed: int
    texts: int
    control_removed: int
    control_texts: int
    low: float
    high: float
    """95 % interval of the ratio: normal in its logarithm, with half a text added to each of the four counts (Haldane
    1956; Anscombe 1956), so that counts of 0 leave it finite."""

    @property
    def ratio(self) -> float:
        """The removal rate by that of the control; 1 where nothing is removed."""
        rate, control = self.removed / self.texts, self.control_removed / self.control_texts
        return rate / control if control else inf if rate else 1.0


def disparities(
    removes: Callable[[list[str]], Sequence[bool]],
    templates: Sequence[str] = TEMPLATES,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    neutral: Sequence[str] = NEUTRAL,
) -> list[Disparity]:
    """A row for each group. `removes` says of each text whether the filter removes it.

    Raises:
        CosmoError: a template has no place for a term, or a group has no terms.
    """
    for template in templates:
        if PLACE not in template:
            raise CosmoError(
                f"template {template!r} has no {PLACE}", remedy=f"write {PLACE} where the term shall stand"
            )
    for name, terms in (*groups.items(), ("neutral", neutral)):
        if not terms:
            raise CosmoError(f"group {name} has no terms", remedy="name at least one, or leave the group out")

    def count(terms: Sequence[str]) -> tuple[int, int]:
        texts = [template.replace(PLACE, term) for template in templates for term in terms]
        return sum(map(bool, removes(texts))), len(texts)

    control = count(neutral)
    return [_compared(name, *count(terms), *control) for name, terms in groups.items()]


def _compared(group: str, removed: int, texts: int, control_removed: int, control_texts: int) -> Disparity:
    one, other = (removed + 0.5, texts + 1), (control_removed + 0.5, control_texts + 1)
    middle = log(one[0] / one[1]) - log(other[0] / other[1])
    wide = _NINETY_FIVE * sqrt(sum(1 / count - 1 / whole for count, whole in (one, other)))
    return Disparity(group, removed, texts, control_removed, control_texts, exp(middle - wide), exp(middle + wide))
