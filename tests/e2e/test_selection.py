"""Signals and a selection, from texts to shards: what is left out, for which reason, and what another one redoes."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cosmo_assets.build import UP_TO_PROMPTS
from cosmo_assets.comparison.changes import difference
from cosmo_resources.errors import CosmoError
from tests.corpora import Corpus, seeds
from tests.doubles.replay_server import ReplayServer, prose, replaying

BEFORE = (
    "generations",
    "generation_quality",
    "decontaminated",
    "text_signatures",
    "duplicate_clusters",
    "deduplicated",
)


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    with replaying() as replay:
        yield replay


def select(corpus: Corpus, server: ReplayServer, selection: Mapping[str, Any] | None, *signals: str) -> None:
    """Set signals and selection, and build what there is to do."""
    corpus.changes = {"signals": list(signals), **({"selection": selection} if selection else {})}
    corpus.write()
    corpus.build(server.url)


def mixed(corpus: Corpus) -> set[str]:
    return set(corpus.store.open("mixture").table()["doc_id"].to_pylist())


def left_out(corpus: Corpus) -> dict[str, str]:
    rejected = corpus.store.open("mixture").rejected()
    return {row["place"]: row["reason"] for row in rejected.to_pylist()} if rejected is not None else {}


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_documents_outside_a_limit_are_not_in_the_corpus(tmp_path: Path, server: ReplayServer) -> None:
    """The signals are there for all documents, whatever is selected; another selection redoes what follows it, and
    without one all documents are back."""
    corpus = Corpus(tmp_path).write(seeds(40))
    select(corpus, server, None, "statistics")
    everything, versions, calls = mixed(corpus), corpus.versions_of_everything(), len(server.calls)
    signals = corpus.rows("text_statistics")
    assert set(signals) == everything
    bound = median([row["mean_word_length"] for row in signals.values()])
    assert min(row["words"] for row in signals.values()) > 0
    texts = corpus.store.open("seed_documents").table()
    assert corpus.store.open("seed_statistics").table().select(["seed_id", "characters"]).to_pylist() == [
        {"seed_id": row["seed_id"], "characters": len(row["text"])} for row in texts.to_pylist()
    ]

    select(
        corpus,
        server,
        {"bounds": [{"signal": "statistics.mean_word_length", "high": bound}]},
        "statistics",
    )
    kept = {key for key, row in signals.items() if row["mean_word_length"] <= bound}
    assert 0 < len(kept) < len(everything)
    assert mixed(corpus) == kept
    assert left_out(corpus) == dict.fromkeys(everything - kept, "signal_statistics.mean_word_length")
    shards = corpus.store.open("tokenized_shards")
    assert set(shards.table()["doc_id"].to_pylist()) == kept
    flow = corpus.store.open("selection").manifest.flow
    assert (flow.rows_in, flow.rows_out, flow.balanced) == (len(everything), len(kept), True)

    after = corpus.versions_of_everything()
    changed = {place.split("/")[0] for place in after if versions.get(place) != after[place]}
    assert not changed & {*BEFORE, "text_statistics"}
    assert {"selection", "mixture", "tokenized_shards", "token_lineage"} <= changed
    assert len(server.calls) == calls, "nothing is generated again"

    select(corpus, server, None, "statistics")
    assert mixed(corpus) == everything
    assert corpus.versions_of_everything()["tokenized_shards/all"] == versions["tokenized_shards/all"]


def test_a_comparison_of_two_versions_names_the_limit(tmp_path: Path, server: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write(seeds(24))
    select(corpus, server, None)
    before = corpus.store.open("corpus_report").manifest
    words = [row["words"] for row in corpus.rows("generation_quality").values()]
    select(corpus, server, {"bounds": [{"signal": "quality.words", "high": median(words)}]})
    found = difference(corpus.store, before, corpus.store.open("corpus_report").manifest)
    gone = {row["because"]: -row["documents"] for row in found.why if row["what"] == "gone"}
    assert gone == {"selection: quality.words": sum(count > median(words) for count in words)}


def test_a_rule_over_all_documents_keeps_some_of_those_within_bounds(tmp_path: Path, server: ReplayServer) -> None:
    """Ranks are over all buckets together."""
    corpus = Corpus(tmp_path).write(seeds(40))
    bound = {"signal": "quality.words", "low": 65}
    keep = {"rule": "ranks", "signal": "statistics.mean_word_length", "low": 0.5}
    select(corpus, server, {"bounds": [bound], "keep": keep}, "statistics")
    lengths = {key: row["mean_word_length"] for key, row in corpus.rows("text_statistics").items()}
    words = {key: row["words"] for key, row in corpus.rows("generation_quality").items()}
    unique = {key for key, row in corpus.rows("deduplicated").items() if row["keep"]}
    within = sorted((key for key in unique if words[key] >= 65), key=lambda key: lengths[key])
    assert 4 < len(within) < len(unique)
    best = within[round(0.5 * len(within)) :]
    assert len({lengths[key] for key in within}) == len(within), "no ties"
    assert mixed(corpus) == set(best)
    reasons = left_out(corpus)
    assert {key for key, reason in reasons.items() if reason == "signal_quality.words"} == unique - set(within)
    thinned = {key for key, reason in reasons.items() if reason == "signal_ranks by statistics.mean_word_length"}
    assert thinned == set(within) - set(best)
    manifest = corpus.store.open("selection").manifest
    assert manifest.flow.balanced
    assert [row["drops"] for row in manifest.summary["limits"]] == [len(unique) - len(within), len(thinned)]


def test_signals_of_other_generations_are_refused(tmp_path: Path, server: ReplayServer) -> None:
    corpus = Corpus(tmp_path).write(seeds(24))
    select(corpus, server, {"bounds": [{"signal": "statistics.words", "low": 1}]}, "statistics")
    corpus.write(seeds(30))
    with pytest.raises(CosmoError, match="another version"):
        corpus.build(server.url, [*UP_TO_PROMPTS, *BEFORE, "selection"])


def test_real_documents_are_selected_by_the_signals_that_they_have(tmp_path: Path, server: ReplayServer) -> None:
    """They have no figures of generation quality: what they lack does not leave them out."""
    corpus = Corpus(tmp_path).write(seeds(24))
    letters = seeds(8, tag="letter")
    for letter in letters[:3]:
        letter["text"] = prose(f"long/{letter['id']}", 300)
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in letters), encoding="utf-8")
    corpus.changes = {
        "real": {"sources": [{"name": "letters", "reader": "jsonl", "path": "letters.jsonl", "licence": "CC0-1.0"}]},
        "mixture": {"components": {"pages": {}, "letters": {}}},
        "signals": ["statistics"],
        "selection": {
            "bounds": [
                {"signal": "statistics.words", "high": 200},
                {"signal": "quality.repetition", "high": 1},
            ]
        },
    }
    corpus.write()
    corpus.build(server.url)
    real = {row["doc_id"]: row for row in corpus.store.open("real_documents").table().to_pylist()}
    signals = {row["doc_id"]: row for row in corpus.store.open("real_statistics").table().to_pylist()}
    assert set(signals) == set(real)
    long = {key for key, row in real.items() if len(row["text"].split()) > 200}
    assert len(long) == 3
    assert mixed(corpus) & set(real) == set(real) - long
    assert left_out(corpus) == dict.fromkeys(long, "signal_statistics.words")
    assert mixed(corpus) - set(real) == {key for key, row in corpus.rows("deduplicated").items() if row["keep"]}
    flow = corpus.store.open("selection").manifest.flow
    assert flow.dropped == {"statistics.words": 3}
    assert flow.balanced


def test_the_middle_by_perplexity_is_kept_and_real_text_is_the_reference(tmp_path: Path, server: ReplayServer) -> None:
    """No gibberish of the real text stays, though the reference was drawn from it; a new seed measures its own
    documents and no other again."""
    corpus = Corpus(tmp_path).write(seeds(40))
    letters = seeds(30, tag="letter")
    for letter in letters[:3]:
        letter["text"] = " ".join(f"{word[::-1]}zq" if len(word) > 4 else word for word in letter["text"].split())
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in letters), encoding="utf-8")
    real = {"name": "letters", "reader": "jsonl", "path": "letters.jsonl", "licence": "CC0-1.0"}
    keep = {"rule": "ranks", "signal": "perplexity.perplexity", "low": 0.25, "high": 0.75}
    corpus.changes = {
        "real": {"sources": [real]},
        "mixture": {"components": {"pages": {}, "letters": {}}},
        "signals": ["perplexity"],
        "selection": {"keep": keep},
    }
    corpus.write()
    corpus.build(server.url)
    model = corpus.store.open("language_model").manifest
    assert [ref.asset for ref in model.inputs] == ["real_documents"]
    assert model.flow.rows_out == 30
    generated = corpus.rows("text_perplexity")
    of_real = {row["doc_id"]: row for row in corpus.store.open("real_perplexity").table().to_pylist()}
    scores = {key: row["perplexity"] for key, row in {**generated, **of_real}.items()}
    unique = {key for key, row in corpus.rows("deduplicated").items() if row["keep"]} | set(of_real)
    ranked = sorted(unique, key=lambda key: (scores[key], key))
    kept = set(ranked[round(0.25 * len(ranked)) : round(0.75 * len(ranked))])
    assert 20 < len(kept) < len(unique)
    assert mixed(corpus) == kept
    texts = {row["doc_id"]: row["text"] for row in corpus.store.open("real_documents").table().to_pylist()}
    odd = {key for key, text in texts.items() if "zq" in text}
    assert len(odd) == 3
    assert not odd & kept
    assert set(left_out(corpus).values()) == {"signal_ranks by perplexity.perplexity"}

    corpus.write(seeds(41))
    corpus.build(server.url)
    assert corpus.store.open("language_model").manifest.version == model.version
    manifests = [corpus.store.open("text_perplexity", bucket).manifest for bucket in ("b000", "b001")]
    assert sum(int(manifest.run["reused_rows"]) for manifest in manifests) == len(generated)
