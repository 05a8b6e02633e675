import shutil
from pathlib import Path
from typing import Any

import lxml.html
import pytest

from cosmo_assets.report import accounts as accounting
from cosmo_assets.report import report
from cosmo_assets.report.accounts import accounts
from cosmo_assets.report.corpus import read_corpus
from cosmo_assets.report.html import Share, Table, figure, marked
from cosmo_assets.stage import Workspace
from cosmo_assets.topics import mapping
from cosmo_resources.errors import CosmoError
from cosmo_resources.storage.store import CorpusStore, Dataset

QUESTION = "Which lamp did the keeper of the far northern island light every evening before dusk?"
HOSTILE = "<script>alert('cosmo')</script>"


@pytest.fixture(scope="module")
def built(workspace: Workspace) -> Dataset:
    report.build(workspace)
    return workspace.store.open("corpus_report")


@pytest.fixture(scope="module")
def text(built: Dataset) -> str:
    return (built.folder / report.PAGE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Any:
    return lxml.html.document_fromstring(text)


def figures(dataset: Dataset, section: str) -> dict[str, float]:
    return {row["name"]: row["value"] for row in dataset.table().to_pylist() if row["section"] == section}


def table_of(page: Any, heading: str, number: int = 0) -> list[list[str]]:
    """A table after a heading, the first or a later one, as text."""
    (found,) = page.xpath(f'//h2[@id="{heading}"]')
    table = found.xpath("following::table")[number]
    return [[cell.text_content() for cell in row.iter("th", "td")] for row in table.iter("tr")]


def test_the_page_is_whole_and_stands_by_itself(page: Any, text: str) -> None:
    assert text.startswith("<!doctype html>")
    assert text.endswith("</html>\n")
    headings = [heading.get("id") for heading in page.iter("h2")]
    assert [link.get("href") for link in page.xpath("//nav/a")] == [f"#{heading}" for heading in headings]
    assert not page.xpath("//script | //img | //link | //iframe | //object | //embed | //form | //base")
    links = page.xpath("//@href | //@src | //@action | //@data")
    assert {value for value in links if not value.startswith("#")} == {mapping.PAGE}
    assert not page.xpath("//@*[starts-with(name(), 'on')]")
    assert "url(" not in text
    assert "@import" not in text
    assert len(page.xpath("//*[name()='svg']")) > 12


def test_the_map_is_shown_and_its_page_lies_beside_the_report(workspace: Workspace, built: Dataset, page: Any) -> None:
    folder = workspace.store.open("topic_map").folder
    (chart,) = page.xpath('//h2[@id="topics"]/following::div[@class="map"][1]//*[name()="svg"]')
    assert [name.text for name in chart.xpath('.//*[name()="g"][last()]/*[name()="text"]')]
    assert (built.folder / mapping.PAGE).read_bytes() == (folder / mapping.PAGE).read_bytes()


def test_hostile_texts_are_shown_and_not_obeyed(page: Any, text: str) -> None:
    assert HOSTILE not in text
    assert "<script" not in text.lower()
    assert HOSTILE in page.xpath("//header")[0].text_content()
    assert any(HOSTILE in row[0] for row in table_of(page, "topics"))
    assert any(HOSTILE in sample.text_content() for sample in page.xpath("//details/summary"))
    assert "\x00" not in text


def test_figures_equal_the_manifests(workspace: Workspace, built: Dataset, page: Any) -> None:
    store = workspace.store
    headline, funnel = figures(built, "headline"), figures(built, "funnel")
    answered = [store.open("generations", bucket).manifest for bucket in ("b000", "b001")]
    lineage = store.open("token_lineage").manifest
    assert headline["seeds"] == store.open("seed_documents").manifest.rows
    assert headline["prompts"] == store.open("prompt_table").manifest.rows
    assert headline["documents"] == store.open("mixture").manifest.rows
    assert headline["tokens"] == lineage.summary["tokens"]
    assert headline["shards"] == len(store.open("tokenized_shards").manifest.summary["shards"])
    assert headline["share_kept"] == pytest.approx(headline["documents"] / headline["prompts"], abs=1e-6)
    searched = [store.open("decontaminated", bucket).manifest.flow for bucket in ("b000", "b001")]
    found = {
        "searched": sum(flow.rows_in for flow in searched),
        "contaminated": sum(sum(flow.dropped.values()) for flow in searched),
    }
    assert built.manifest.summary == {**headline, **found}
    assert funnel["generations.in"] == sum(manifest.flow.rows_in for manifest in answered)
    assert (
        funnel["generations.failed.refused"] == sum(manifest.flow.failed.get("refused", 0) for manifest in answered) > 0
    )
    assert figures(built, "generation")["completion_tokens"] == sum(
        manifest.summary["completion_tokens"] for manifest in answered
    )
    tokens = figures(built, "tokens")
    for column in ("source", "template", "topic", "format", "audience", "licence"):
        parts = {name: value for name, value in tokens.items() if name.startswith(f"{column}.")}
        assert sum(parts.values()) == headline["tokens"], column
    topics = table_of(page, "topics")[1:]
    assert sum(int(row[4].replace(",", "")) for row in topics) == headline["tokens"]
    assert sum(int(row[3].replace(",", "")) for row in topics) == headline["seeds"]
    assert sum(figures(built, "licences").values()) == headline["tokens"]


def test_the_funnel_adds_up(built: Dataset, page: Any) -> None:
    rows = table_of(page, "funnel")[1:]
    assert len(rows) == 9
    assert {row[-1] for row in rows} == {"yes"}
    funnel = figures(built, "funnel")
    for asset in {name.split(".")[0] for name in funnel}:
        lost = sum(
            value for name, value in funnel.items() if name.startswith((f"{asset}.dropped.", f"{asset}.failed."))
        )
        assert funnel[f"{asset}.in"] == funnel[f"{asset}.out"] + lost


def test_what_was_planted_is_shown(page: Any) -> None:
    marks = page.xpath('//h2[@id="decontamination"]/following::div[@class="pair"][1]//mark')
    assert [mark.text_content() for mark in marks] == [QUESTION.rstrip("?")] * 2, "as it is spelled, on both sides"
    stays, goes = page.xpath('//h2[@id="duplicates"]/following::div[@class="pair"][1]//blockquote')
    assert stays.text_content()[:300] == goes.text_content()[:300]
    policies = {row[-1] for row in table_of(page, "topics")[1:]}
    assert policies == {"kept", "excluded: topic denied"}


def test_cosmopedias_table_adds_up_over_the_buckets(workspace: Workspace, built: Dataset, page: Any) -> None:
    (header, *splits, total), (name, items, removed, tokens, unique) = (
        table_of(page, "decontamination"),
        table_of(page, "decontamination", 1)[1],
    )
    assert header == ["Split", "Documents", "bench", "All"]
    assert [row[0] for row in (*splits, total)] == ["maths", "pages", "all"]
    assert (name, items, unique) == ("bench", "1", "1")
    manifests = [workspace.store.open("decontaminated", bucket).manifest for bucket in ("b000", "b001")]
    gone = sum(manifest.flow.dropped["contaminated_bench"] for manifest in manifests)
    lost = sum(manifest.flow.tokens.dropped["contaminated_bench"] for manifest in manifests if manifest.flow.tokens)
    assert total[1:] == [str(sum(manifest.flow.rows_in for manifest in manifests)), f"{gone} (1)", f"{gone} (1)"]
    assert (int(removed), int(tokens)) == (gone, lost)
    assert sum(int(row[2].split(" ")[0]) for row in splits) == gone > 0
    assert sum(int(row[1]) for row in splits) == int(total[1])
    figures_shown = figures(built, "decontamination")
    assert (figures_shown["bench.removed"], figures_shown["bench.tokens"]) == (gone, lost)


def test_samples_and_traces_are_there_and_the_tokens_decode(page: Any) -> None:
    samples = page.xpath('//h2[@id="samples"]/following-sibling::details[following-sibling::h2[@id="traces"]]')
    assert len(samples) == 6
    assert all(sample.get("open") is None for sample in samples)
    ids = [sample.xpath('.//p[@class="note"]')[0].text_content().split()[-1] for sample in samples]
    assert ids == sorted(ids)
    chains = page.xpath('//div[@class="chain"]')
    assert len(chains) == 3
    assert all("equal to the document" in chain[0].text_content() for chain in chains)
    assert all([step[0].text for step in chain] == ["Token", "Document", "Prompt", "Seed"] for chain in chains)


def test_the_same_corpus_elsewhere_gives_the_same_report(
    workspace: Workspace, other_workspace: Workspace, built: Dataset, text: str
) -> None:
    seconds = [
        found.store.open("generations", "b000").table()["seconds"].to_pylist() for found in (workspace, other_workspace)
    ]
    assert seconds[0] != seconds[1]
    other = report.build(other_workspace)
    assert other.version == built.manifest.version
    assert other.run["run_id"] != built.manifest.run["run_id"]
    assert str(workspace.store.root) not in text


def test_the_account_stands_on_the_page(workspace: Workspace, built: Dataset, page: Any) -> None:
    found = accounts(read_corpus(workspace))
    for number, (dimension, rows) in enumerate(found.items()):
        header, *lines = table_of(page, "accounts", number)
        assert header[:4] == [dimension.capitalize(), "Prompts", "Tokens", "Kept tokens"]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows, strict=True):
            assert line[1:4] == [f"{row[name]:,}" for name in ("prompts", "tokens", "kept_tokens")]
            assert all(reason.replace("_", " ") in line[-1] for reason, tokens in row["rejected"].items() if tokens)
    kept = sum(row["kept_tokens"] for row in found["source"])
    assert f"{kept:,} of the tokens are kept" in page.xpath('//h2[@id="accounts"]/following::p')[0].text_content()
    of_sources = [value for name, value in figures(built, "accounts").items() if name.startswith("source.")]
    assert sum(of_sources) >= kept > 0


def test_device_time_is_shown_and_is_no_part_of_the_version(
    workspace: Workspace, built: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounting, "device_seconds", lambda *_: 900.0)
    store = CorpusStore(tmp_path)
    for asset in workspace.store.assets():
        if asset != "corpus_report":
            shutil.copytree(workspace.store.root / asset, store.root / asset)
    manifest = report.build(Workspace(store, workspace.recipe))
    assert manifest.version == built.manifest.version
    shown = lxml.html.document_fromstring(store.open("corpus_report").folder.joinpath(report.PAGE).read_text("utf-8"))
    header, *lines = table_of(shown, "accounts")
    seconds = [int(line[header.index("GPU seconds")].replace(",", "")) for line in lines]
    assert sum(seconds) == 1800
    price = workspace.recipe.budget.gpu_hour_price
    assert sum(float(line[header.index("Cost")]) for line in lines) == pytest.approx(0.5 * price, abs=0.02)
    lead = shown.xpath('//h2[@id="accounts"]/following::p')[0].text_content()
    assert "The devices were held for 1,800 seconds, which cost 1.25" in lead


def test_a_corpus_that_is_not_of_one_piece_says_so(workspace: Workspace, page: Any) -> None:
    assert not page.xpath('//div[@class="warn"]')
    corpus = read_corpus(workspace)
    quality = corpus.datasets["generation_quality"]["b000"]
    other = quality.manifest.model_copy(update={"version": "0" * 32})
    changed = {**corpus.datasets["generation_quality"], "b000": Dataset(quality.folder, other)}
    mixed = type(corpus)(workspace, {**corpus.datasets, "generation_quality": changed})
    later = [("decontaminated", "generation_quality"), ("text_signatures", "generation_quality")]
    assert mixed.stale() == later
    assert corpus.stale() == []
    with pytest.raises(CosmoError, match=r"document gone \(and 0 more\) is not among the current generations"):
        corpus.documents({"gone": "b001"})


def test_cells() -> None:
    assert [figure(value) for value in (None, 1234567, 0.5, 7.0, Share(0.1234), "x")] == [
        "–",
        "1,234,567",
        "0.5",
        "7",
        "12.3%",
        "x",
    ]
    assert Table(("a", "b", "c"), [("x", 1, None), ("y", None, Share(1))]).numeric == {1, 2}
    assert (
        marked([["a ", False], ["<b>", True], [" c\0", False]]) == "a <mark>&lt;b&gt;</mark> c\N{REPLACEMENT CHARACTER}"
    )
