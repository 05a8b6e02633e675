"""Real text is mixed in at a weight: its share of tokens is exact within one document, every token of it is traced to
file, row and licence, a contaminated document is not there, and a purged source goes without touching anything else."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cosmo_assets.lineage.trace import Lineage
from tests.corpora import ONE_TEMPLATE, QUESTION, seeds
from tests.doubles.replay_server import prose, replaying
from tests.e2e.test_purge import Operator, TwoSources

REAL = [
    {
        "name": "articles",
        "reader": "parquet",
        "path": "real/*.parquet",
        "licence": "CC-BY-4.0",
        "options": {"text": "body"},
    },
    {"name": "letters", "reader": "jsonl", "path": "letters.jsonl.gz", "licence": "CC0-1.0", "attribution": "Ann"},
]
CONTAMINATED, SHORT, DENIED = "article-0003", "article-0004", "article-0005"


class WithReal(TwoSources):
    """Pages, and real articles and letters: of all tokens half are generated, three eighths are articles."""

    def write(self, documents: Any = None) -> "WithReal":
        super().write(documents)
        self.changes = {
            "real": {"sources": REAL},
            "licences": {"deny": ["*-NC-*"]},
            "mixture": {
                "components": {
                    "pages": {"weight": 4},
                    "articles": {"weight": 3, "max_epochs": 3},
                    "letters": {"weight": 1},
                }
            },
        }
        super(TwoSources, self).write(documents)
        return self

    def write_real(self) -> None:
        rows = [
            {"id": f"article-{number:04d}", "body": prose(f"article/{number}", 90), "license": "CC-BY-4.0"}
            for number in range(24)
        ]
        rows[3]["body"] = f"{prose('a', 30)} {QUESTION} It was the green one. {prose('b', 40)}"
        rows[4]["body"] = "Too short."
        rows[5]["license"] = "CC-BY-NC-4.0"
        folder = self.folder / "real"
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows[:12]), folder / "one.parquet")
        pq.write_table(pa.Table.from_pylist(rows[12:]), folder / "two.parquet")
        letters = [json.dumps(row) for row in seeds(16, tag="letter")]
        letters.insert(2, "no json at all")
        letters.insert(5, json.dumps({"id": "letter-x", "words": "the text has another name"}))
        (self.folder / "letters.jsonl.gz").write_bytes(gzip.compress("\n".join(letters).encode("utf-8")))


@pytest.fixture
def operator(tmp_path: Path) -> Any:
    import dagster as dg

    corpus = WithReal(tmp_path, templates=ONE_TEMPLATE)
    corpus.write_real()
    corpus.write(seeds(32))
    with replaying() as replay, dg.DagsterInstance.ephemeral() as instance:
        yield Operator(corpus, replay, instance)


def test_real_text_is_mixed_in_traced_and_purged(operator: Operator) -> None:
    corpus = operator.corpus
    operator.build()
    store = corpus.store
    real = {row["doc_id"]: row for row in store.open("real_documents").table().to_pylist()}
    by_native = {row["native_id"]: key for key, row in real.items()}

    # read: what is bad or left out is counted and listed, with file, row and field
    flow = store.open("real_documents").manifest.flow
    assert (flow.rows_in, flow.rows_out) == (24 + 18, 23 + 16)
    assert (dict(flow.failed), dict(flow.dropped)) == ({"invalid_json": 1, "missing_field": 1}, {"too_short": 1})
    rejected = [pq.read_table(path).to_pylist() for path in store.open("real_documents").paths(role="rejected")]
    bad = {(row["place"], row["field"], row["reason"]) for row in rejected[0]}
    assert ("letters:letters.jsonl.gz:3", None, "invalid_json") in bad
    assert ("letters:letters.jsonl.gz:6", "text", "missing_field") in bad
    assert SHORT not in by_native

    # chosen: the contaminated document and the one under a refused licence are not there
    chosen = store.open("real_eligible").manifest
    assert dict(chosen.flow.dropped) == {"contaminated_bench": 1, "licence_denied": 1}
    assert chosen.flow.balanced
    before, versions = corpus.tokens(), corpus.versions_of_everything()
    assert by_native[CONTAMINATED] not in before
    assert by_native[DENIED] not in before
    question = store.open("tokenized_shards")
    assert QUESTION.encode() not in corpus.all_shard_bytes()
    assert question.manifest.summary["round_trips"][0] == question.manifest.summary["round_trips"][1]

    # mixed: the shares of tokens are those of the weights, within a document
    mixture = store.open("mixture")
    tokens, largest = {}, {}
    for row in mixture.table().to_pylist():
        tokens[row["source"]] = tokens.get(row["source"], 0) + row["tokens"] * row["copies"]
        largest[row["source"]] = max(largest.get(row["source"], 0), row["tokens"])
    total = sum(part["wanted"] for part in mixture.manifest.summary["components"])
    for source, weight in {"pages": 4, "articles": 3, "letters": 1}.items():
        assert abs(tokens[source] - total * weight / 8) <= largest[source] / 2 + 1, source
    spans = store.open("token_lineage").table().to_pylist()
    in_shards: dict[str, int] = {}
    for span in spans:
        in_shards[span["source"]] = in_shards.get(span["source"], 0) + span["end"] - span["start"]
    copies = {source: sum(span["source"] == source for span in spans) for source in in_shards}
    assert {source: count - copies[source] for source, count in in_shards.items() if source != "pages"} == {
        source: count for source, count in tokens.items() if source != "pages"
    }, "tokens of the mixture, and an end-of-text token for each copy"

    # traced: every span of a real document ends at file, row and licence
    lineage = Lineage.open(store)
    seen = 0
    for span in spans:
        found = lineage.token(span["shard"], span["start"])
        assert found.span["source"] == span["source"]
        if span["source"] == "pages":
            assert found.prompt
            assert found.seed
            continue
        seen += 1
        assert (found.prompt, found.seed, span["prompt_id"], span["template"], span["model"]) == (None,) * 5
        assert found.token_text == found.document["text"] == real[span["doc_id"]]["text"]
        name, _, row = found.document["place"].rpartition(":")
        number = int(found.document["native_id"].removeprefix("article-").removeprefix("letter-"))
        if span["source"] == "articles":
            assert (name, int(row)) == (("one.parquet", number + 1) if number < 12 else ("two.parquet", number - 11))
            assert span["licence"] == "CC-BY-4.0"
        else:
            assert (name, span["licence"], found.document["attribution"]) == ("letters.jsonl.gz", "CC0-1.0", "Ann")
    assert seen == copies["articles"] + copies["letters"] > 30
    one = next(span for span in spans if span["source"] == "articles")
    said = operator.command("trace", "--shard", one["shard"], "--token", str(one["start"]))
    assert real[one["doc_id"]]["place"] in said
    assert "no prompt and no model" in said
    told = json.loads(operator.command("tokens", "--source", "articles", "--json"))
    assert told["totals"]["tokens"] == in_shards["articles"]
    quoted = " ".join(real[one["doc_id"]]["text"].split()[5:70])
    assert one["doc_id"] in operator.command("trace", "--text", quoted)

    # exported, reported
    export = store.open("corpus_export")
    exported = pq.read_table(export.folder / "data" / "articles", partitioning=None).to_pylist()
    assert {row["doc_id"] for row in exported} == {span["doc_id"] for span in spans if span["source"] == "articles"}
    assert {row["prompt"] for row in exported} == {None}
    assert all(row["text"] == real[row["doc_id"]]["text"] and row["token_length"] for row in exported)
    card = (export.folder / "README.md").read_text(encoding="utf-8")
    assert "real ones, mixed in" in card
    assert "| articles | real documents | CC-BY-4.0 |" in card
    report = store.open("corpus_report")
    page = (report.folder / "report.html").read_text(encoding="utf-8")
    assert "real documents" in page
    assert "letters.jsonl.gz" in page or "parquet" in page
    plan = operator.command("plan", "--mixture")
    assert "articles" in plan
    assert "of the documents that are there" in plan

    # purged: no token of it is left, and every other document stays as it was
    articles = {span["doc_id"] for span in spans if span["source"] == "articles"}
    shown = json.loads(operator.command("purge", "--source", "articles", "--json"))
    assert (shown["documents"], shown["tokens"]) == (len(articles), in_shards["articles"])
    operator.purge("--source", "articles", "--apply", "--why", "the licence ended")
    asked = len(operator.replay.calls)
    operator.build()
    assert len(operator.replay.calls) == asked
    after = corpus.tokens()
    assert after == {key: found for key, found in before.items() if key not in articles}
    now = corpus.versions_of_everything()
    changed = {place.split("/")[0] for place in versions if now[place] != versions[place]}
    assert changed == {
        "withdrawals", "mixture", "tokenized_shards", "token_lineage", "corpus_report", "corpus_export"
    }  # fmt: skip
    told = json.loads(operator.command("diff", "--json"))
    assert told["why"][0] == {
        "what": "gone",
        "because": "withdrawn: source articles",
        "documents": -len(articles),
        "tokens": -in_shards["articles"],
    }
    assert len(told["why"]) == 2
    assert [row["value"] for row in told["by"]["source"]] == ["articles"], told["by"]

    operator.purge("--source", "articles", "--restore", "--apply", "--why", "renewed")
    operator.build()
    assert corpus.tokens() == before


STAGES = [
    {"name": "broad", "share": 3},
    {"name": "anneal", "share": 1, "weights": {"articles": 3, "letters": 1}},
]


def test_real_text_ends_the_training_in_a_stage_of_its_own(operator: Operator) -> None:
    """The curriculum reaches the shards: each stage has the tokens of the mixture, and a purge leaves their cut."""
    corpus = operator.corpus
    corpus.changes["mixture"]["stages"] = STAGES
    super(TwoSources, corpus).write()
    operator.build()
    store = corpus.store
    spans, shards = store.open("token_lineage").table().to_pylist(), store.open("tokenized_shards")
    counted = {row["doc_id"]: row["tokens"] for row in store.open("mixture").table().to_pylist()}
    listed = json.loads((shards.folder / "stages.json").read_text(encoding="utf-8"))["stages"]
    mixed = {row["stage"]: row for row in store.open("mixture").manifest.summary["stages"]}
    start = 0
    for stage in listed:
        here = [span for span in spans if span["shard"].startswith(f"{stage['folder']}/")]
        assert sum(counted[span["doc_id"]] for span in here) == mixed[stage["name"]]["tokens"]
        assert sum(span["end"] - span["start"] for span in here) == stage["tokens"]
        assert (stage["start_token"], stage["documents"]) == (start, len(here))
        start += stage["tokens"]
        named = {span["source"] for span in here}
        assert named == ({"articles", "letters"} if stage["name"] == "anneal" else {"pages", "articles", "letters"})
    assert [stage["name"] for stage in listed] == ["broad", "anneal"]
    last = len(shards.manifest.summary["shards"]) - 1
    said = operator.command("trace", "--shard", str(last), "--token", "0")
    assert "stage anneal" in said
    assert "no prompt and no model" in said
    exported = pq.read_table(store.open("corpus_export").folder / "data" / "articles", partitioning=None).to_pylist()
    assert all(sum(row["stage_copies"]) == row["copies"] and len(row["stage_copies"]) == 2 for row in exported)

    before, files = corpus.tokens(), corpus.files()
    gone = next(span["doc_id"] for span in spans if span["source"] == "letters")
    operator.purge("--doc", gone, "--apply", "--why", "the writer asked")
    operator.build()
    assert corpus.tokens() == {key: copies for key, copies in before.items() if key != gone}
    after = corpus.files()
    for name, (inode, keys) in files.items():
        assert after[name][1] == keys - {gone}
        assert (after[name][0] == inode) == (gone not in keys)
