"""The program of a batch task, as far as it needs no server."""

from pathlib import Path

import pyarrow as pa

from cosmo_resources.inference.server_spec import ServerSpec
from cosmo_resources.pools.task import SPEC_NAME, TaskSpec, main
from cosmo_resources.storage.ledger import ShardLedger


def test_a_task_that_starts_when_all_is_done_starts_no_server(tmp_path: Path) -> None:
    """One that Slurm starts between the last seal and the end of the array."""
    for index in range(2):
        ShardLedger(tmp_path).seal(index, pa.table({"doc_id": [f"{index}"]}), {})
    server = ServerSpec(engine="command", model="none", command=("/nowhere/server", "{port}"))
    spec = TaskSpec(module="none", server=server, shards=2)
    (tmp_path / SPEC_NAME).write_text(spec.model_dump_json(), encoding="utf-8")
    before = set(tmp_path.iterdir())
    assert main([str(tmp_path)]) == 0
    assert set(tmp_path.iterdir()) == before
