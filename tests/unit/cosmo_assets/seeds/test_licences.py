"""The licence policy: globs, SPDX expressions, what is not listed, and that the prompt table obeys it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmo_assets.prompts.checks import CHECKS
from cosmo_assets.recipe.sources import LicencePolicy
from cosmo_assets.seeds.licences import refusal
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer

NO_NC_ND = LicencePolicy(deny=("*-NC*", "*-ND*"))
LISTED = LicencePolicy(allow=("CC0-1.0", "CC-BY-?.?", "MIT", "LicenseRef-catalogue-*"), unlisted="deny")


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "cc0-1.0", "LicenseRef-scraped", "all rights reserved"])
def test_by_default_every_stated_licence_is_allowed(licence: str) -> None:
    assert refusal(licence, LicencePolicy()) is None


@pytest.mark.parametrize("licence", ["", "  ", "NONE", "NOASSERTION"])
@pytest.mark.parametrize("policy", [LicencePolicy(), LicencePolicy(allow=("*",))])
def test_a_licence_that_is_not_stated_is_never_allowed(licence: str, policy: LicencePolicy) -> None:
    assert refusal(licence, policy) == "no licence is stated"


@pytest.mark.parametrize(
    ("licence", "why"),
    [
        ("CC-BY-4.0", None),
        ("CC-BY-SA-4.0", None),
        ("CC-BY-NC-4.0", "denied by *-NC*"),
        ("cc-by-nc-sa-4.0", "denied by *-NC*"),
        ("CC-BY-ND-2.0", "denied by *-ND*"),
        ("MIT OR CC-BY-NC-4.0", None),
        ("MIT AND CC-BY-NC-4.0", "denied by *-NC*"),
        ("MIT AND (CC-BY-ND-4.0 OR CC-BY-4.0)", None),
        ("(MIT OR CC-BY-4.0) AND CC-BY-ND-4.0", "denied by *-ND*"),
        ("CC-BY-4.0 OR MIT AND CC-BY-NC-4.0", None),
        ("licence CC-BY-NC (Germany)", "denied by *-NC*"),
        ("MIT AND (CC-BY-NC-4.0", "denied by *-NC*"),
    ],
)
def test_denied_patterns_and_expressions(licence: str, why: str | None) -> None:
    assert refusal(licence, NO_NC_ND) == why


@pytest.mark.parametrize(
    ("licence", "why"),
    [
        ("MIT", None),
        ("CC-BY-3.0", None),
        ("CC-BY-SA-4.0", "not listed"),
        ("LicenseRef-catalogue-uiuc", None),
        ("LicenseRef-other", "not listed"),
        ("MIT AND GPL-3.0-only", "not listed"),
        ("GPL-3.0-only OR MIT", None),
        ("GPL-3.0-only WITH Classpath-exception-2.0", "not listed"),
    ],
)
def test_an_allow_list(licence: str, why: str | None) -> None:
    assert refusal(licence, LISTED) == why


UNREADABLE = "no SPDX expression: what holds cannot be told"
NC_BY_NAME = LicencePolicy(deny=("CC-BY-NC-*",))


@pytest.mark.parametrize(
    ("licence", "policy", "why"),
    [
        ("MIT AND All rights (c) Foo AND CC-BY-NC-4.0", NC_BY_NAME, "denied by CC-BY-NC-*"),
        ("MIT AND All rights (c) Foo AND Bar", LicencePolicy(allow=("MIT*",), unlisted="deny"), UNREADABLE),
        ("MIT AND All rights (c) Foo AND Bar", LicencePolicy(allow=("MIT*",)), UNREADABLE),
        ("MIT AND (CC-BY-4.0", NC_BY_NAME, UNREADABLE),
        ("MIT OR", NC_BY_NAME, UNREADABLE),
        ("(MIT) ISC", NC_BY_NAME, UNREADABLE),
        ("Terms (v2)", LicencePolicy(allow=("terms  (V2)",), unlisted="deny"), None),
        ("Terms (v2)", LicencePolicy(allow=("terms  (V2)",), deny=("v2",)), "denied by v2"),
        ("Terms (v2)", LicencePolicy(unlisted="deny"), UNREADABLE),
        ("Terms (v2)", LicencePolicy(), None),
        ("MIT and CC-BY-NC-4.0", NC_BY_NAME, "denied by CC-BY-NC-*"),
        ("MIT/CC-BY-NC-4.0", NC_BY_NAME, "denied by CC-BY-NC-*"),
        ("MIT and Other", LicencePolicy(allow=("MIT*",), unlisted="deny"), "not listed"),
        ("MIT, ISC", LicencePolicy(allow=("MIT", "ISC"), unlisted="deny"), None),
        ("GPL version 2 or later", LicencePolicy(allow=("GPL version 2 or later",), unlisted="deny"), None),
        ("LicenseRef-this-OR-that", LicencePolicy(allow=("LicenseRef-this-*",), unlisted="deny"), None),
        ("Apache-2.0 WITH GPL-exception", LicencePolicy(deny=("GPL*",)), None),
    ],
)
def test_what_is_no_expression_does_not_pass_by_its_beginning(
    licence: str, policy: LicencePolicy, why: str | None
) -> None:
    assert refusal(licence, policy) == why


def test_brackets_may_be_nested_thousands_deep() -> None:
    assert refusal("(" * 3000, NO_NC_ND) == UNREADABLE
    assert refusal("(" * 3000 + "MIT" + ")" * 3000, NO_NC_ND) is None


NAMES = st.sampled_from(["MIT", "ISC", "CC-BY-NC-4.0"])
EXPRESSIONS = st.recursive(
    NAMES,
    lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda parts: f"({' '.join(parts)})"),
)


@given(EXPRESSIONS)
def test_an_expression_is_allowed_where_its_truth_value_is_true(licence: str) -> None:
    words = licence.replace("CC-BY-NC-4.0", "False").replace("MIT", "True").replace("ISC", "True")
    allowed = eval(words.replace("AND", "and").replace("OR", "or"))
    assert (refusal(licence, NO_NC_ND) is None) == allowed


def test_deny_goes_before_allow() -> None:
    assert refusal("CC-BY-NC-4.0", LicencePolicy(allow=("CC-*",), deny=("*-NC*",))) == "denied by *-NC*"


def two_sources(folder: Path, policy: dict[str, Any]) -> Corpus:
    pages = {"kind": "web", "reader": "jsonl", "licence": "CC0-1.0"}
    corpus = Corpus(folder, per_seed=2).write(seeds(24))
    (folder / "pages.jsonl").rename(folder / "free.jsonl")
    Corpus(folder).write(seeds(16, start=500))
    corpus.changes = {
        "sources": [
            {**pages, "name": "pages", "path": "free.jsonl"},
            {**pages, "name": "closed", "path": "pages.jsonl", "licence": "CC-BY-NC-ND-4.0"},
        ],
        "licences": policy,
    }
    return corpus.write()


UP_TO_PROMPTS = [
    "seed_documents",
    "seed_embeddings",
    "cluster_model",
    "seed_clusters",
    "topic_labels",
    "seed_topics",
    "seed_extracts",
    "prompt_table",
]


def test_seeds_of_denied_licences_become_no_prompts_and_the_policy_moves_no_seed(
    tmp_path: Path, replay: ReplayServer
) -> None:
    corpus = two_sources(tmp_path, {})
    corpus.build(replay.url, UP_TO_PROMPTS)
    before = corpus.versions_of_everything()
    assert corpus.store.open("prompt_table").manifest.flow.rows_out == 40
    labels = len(replay.label_calls)

    corpus.changes["licences"] = {"deny": ["*-NC*", "*-ND*"]}
    corpus.write().build(replay.url, UP_TO_PROMPTS)
    after = corpus.versions_of_everything()
    assert {asset for asset in after if after[asset] != before[asset]} == {"prompt_table/all"}
    assert len(replay.label_calls) == labels
    table = corpus.store.open("prompt_table")
    assert table.manifest.flow.dropped == {"licence_denied": 16}
    assert table.manifest.summary["licence_denied"] == {"CC-BY-NC-ND-4.0": 16}
    assert set(table.table(["licence"])["licence"].to_pylist()) == {"CC0-1.0"}
    rejected = table.rejected()
    assert rejected is not None
    assert rejected["detail"][0].as_py() == "CC-BY-NC-ND-4.0: denied by *-NC*"


def test_a_prompt_of_a_denied_licence_stops_the_run(
    tmp_path: Path, replay: ReplayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = two_sources(tmp_path, {"deny": ["*-NC*"]})
    monkeypatch.setattr("cosmo_assets.prompts.items.refusal", lambda licence, policy: None)
    with pytest.raises(CosmoError, match="licences_allowed"):
        corpus.build(replay.url, UP_TO_PROMPTS)


def test_the_check_counts_every_stored_prompt(tmp_path: Path, replay: ReplayServer) -> None:
    corpus = two_sources(tmp_path, {})
    corpus.build(replay.url, UP_TO_PROMPTS)
    manifest = corpus.store.open("prompt_table").manifest
    check = next(check for check in CHECKS if check.name == "licences_allowed")
    assert check.blocking
    assert check.test(manifest, corpus.recipe)[0]
    uncounted = {**manifest.summary, "counts": {**manifest.summary["counts"], "licence": {"CC0-1.0": 1}}}
    assert not check.test(manifest.model_copy(update={"summary": uncounted}), corpus.recipe)[0]
