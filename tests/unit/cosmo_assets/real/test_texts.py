"""Real documents in the shards: their tokens, and what is taken over where they come and go."""

from pathlib import Path

from cosmo_assets.stage import Workspace
from cosmo_assets.tokenization import shards
from cosmo_resources.storage.digest import digest, json_digest
from cosmo_resources.storage.store import CorpusStore, Dataset
from tests.doubles.replay_server import prose
from tests.unit.cosmo_assets.synthetic import put, recipe
from tests.unit.cosmo_assets.tiny_tokenizer import tiny_tokenizer
from tests.unit.cosmo_assets.tokenization.test_shards import decoded, spans

GENERATED = [prose(f"generated {number}", 12) for number in range(12)]
REAL = [prose(f"real {number}", 12) for number in range(8)]


def built(folder: Path, real: list[str]) -> Dataset:
    space = Workspace(CorpusStore(folder / "corpus"), recipe(tokenization={"shards": 3}))
    parts = {"b000": GENERATED, **({"real": real} if real else {})}
    for (bucket, texts), asset in zip(parts.items(), ("generations", "real_documents"), strict=False):
        rows = [{"doc_id": digest(text), "text": text} for text in texts]
        put(space, asset, {None: rows}, bucket="all" if bucket == "real" else bucket, version=json_digest(rows))
    mixed = {
        bucket: [{"doc_id": digest(text), "bucket": bucket, "tokens": 12, "copies": 1} for text in texts]
        for bucket, texts in parts.items()
    }
    total = {"copies": sum(map(len, parts.values()))}
    put(space, "mixture", mixed, version=json_digest([*mixed.values()]), summary=total)
    shards.build(space, tiny_tokenizer())
    return space.store.open("tokenized_shards")


def test_every_text_decodes_from_its_span(tmp_path: Path) -> None:
    dataset = built(tmp_path, REAL)
    texts = {digest(text): text for text in [*GENERATED, *REAL]}
    assert {span["doc_id"]: decoded(dataset, span) for span in spans(dataset)} == texts
    assert {ref.asset for ref in dataset.manifest.inputs} == {"mixture", "generations", "real_documents"}


def test_tokens_are_taken_over_where_real_text_comes_changes_and_goes(tmp_path: Path) -> None:
    alone = built(tmp_path, [])
    come = built(tmp_path, REAL)
    assert come.manifest.run["reused_rows"] == len(GENERATED)
    more = built(tmp_path, [*REAL[1:], prose("another", 12)])
    assert more.manifest.run["reused_rows"] == len(GENERATED) + len(REAL) - 1
    for version in tmp_path.glob(f"corpus/tokenized_shards/all/{alone.manifest.version}"):
        version.rename(tmp_path / "aside")  # so that it is not simply found again
    gone = built(tmp_path, [])
    assert gone.manifest.version == alone.manifest.version
    assert gone.manifest.run["reused_rows"] == len(GENERATED)
