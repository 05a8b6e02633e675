"""What is pinned stays as new seeds come, and is fitted anew by `cosmo run --refit`."""

from pathlib import Path

from cosmo_assets.stage import FITTED
from tests.corpora import ONE_TEMPLATE, Corpus, seeds
from tests.doubles.replay_server import replaying


def test_new_seeds_leave_every_fitted_asset_until_somebody_asks_for_a_refit(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path, templates=dict(ONE_TEMPLATE))
    corpus.changes = {"signals": ["perplexity", "educational"], "educational": {"labels": 60}}
    corpus.write(seeds(60))
    upstream = ("seed_documents", "seed_embeddings")

    def fitted(url: str, *options: str) -> dict[str, str]:
        chosen = [option for asset in (*upstream, *FITTED) for option in ("--asset", asset)]
        process = corpus.command(url, "run", *chosen, *options)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return {asset: corpus.store.open(asset).manifest.version for asset in FITTED}

    with replaying() as server:
        first = fitted(server.url)
        asked = len(server.calls)
        corpus.write(seeds(66))
        assert fitted(server.url) == first
        assert len(server.calls) == asked
        again = fitted(server.url, "--refit")
        assert [asset for asset in FITTED if again[asset] == first[asset]] == []
        assert asked < len(server.calls) <= asked + 6, "what was asked before is not asked again"
        assert fitted(server.url) == again
