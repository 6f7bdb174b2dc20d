"""What a service answers from is not pruned under it, however much was published since."""

import asyncio
import logging
from typing import Any

import pytest

from tests.unit.serving.made_archive import publish_crops, publish_index
from wristmir_ray import held, storage
from wristmir_ray.errors import StoreFailed
from wristmir_ray.pruning.config import PruneConfig
from wristmir_ray.pruning.pipeline import run
from wristmir_ray.serving.config import ServeArgs
from wristmir_ray.serving.deployments import Search
from wristmir_ray.serving.lineage import preflight


def search(args: ServeArgs) -> Search:
    nobody: Any = None
    return Search(args, preflight(args), nobody, nobody)


def prune(args: ServeArgs) -> set[str]:
    """Prune all that may go; return what is left of the index and the crops."""
    run(PruneConfig(root=args.root, delete=True, keep=0, min_age_h=0))
    return {f"{name} {r}" for name in ("index", "crops") for r in ("r1", "r2", "r3") if there(args, name, r)}


def there(args: ServeArgs, name: str, run_id: str) -> bool:
    return storage.find_run(args.root, name, run_id) is not None


def test_the_start_s_runs_and_those_that_were_swapped_in_stay(args: ServeArgs) -> None:
    part = search(args)
    asyncio.run(part.reconfigure({}))
    for run_id in ("r2", "r3"):
        publish_crops(args.root, run_id)
        publish_index(args.root, run_id, crops=run_id)
        if run_id == "r2":
            asyncio.run(part.reconfigure({"index_run": "r2"}))
    assert prune(args) == {f"{name} {r}" for name in ("index", "crops") for r in ("r1", "r2", "r3")}
    asyncio.run(part.reconfigure({"index_run": "r3"}))
    assert prune(args) == {"index r1", "crops r1", "index r3", "crops r3"}
    storage.delete_tree(storage.join(args.root, held.FOLDER))
    assert prune(args) == {"index r3", "crops r3"}


def test_an_archive_that_may_only_be_read_is_served_all_the_same(
    args: ServeArgs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    part = search(args)
    write_bytes = storage.write_bytes

    def refuses(uri: str, data: bytes) -> None:
        if held.FOLDER in uri:
            raise StoreFailed("it may only be read")
        write_bytes(uri, data)

    monkeypatch.setattr(storage, "write_bytes", refuses)
    with caplog.at_level(logging.WARNING):
        asyncio.run(part.reconfigure({}))
    assert asyncio.run(part.summary()).exams == 6
    assert "prune_runs" in caplog.text
