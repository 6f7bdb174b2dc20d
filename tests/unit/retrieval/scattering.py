"""Shards of a published index in one process: each opens its share alone, and what goes to and fro is pickled."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wristmir_ray.retrieval.cut import Cut
from wristmir_ray.retrieval.index import Index
from wristmir_ray.retrieval.scattered import ASKED, Scattered


@dataclass
class Shards:
    """Answers as shards over a network do; records what each was asked for."""

    shards: list[Index]
    asked: list[tuple[str, list[int]]] = field(default_factory=list)

    def __call__(self, method: str, calls: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        assert method in ASKED
        self.asked.append((method, sorted(calls)))
        return {i: _sent(getattr(self.shards[i], method)(*_sent(args))) for i, args in reversed(calls.items())}


def _sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def scattered(root: str, whole: Index, count: int) -> tuple[Scattered, Shards]:
    """Return a run over so many shards, and the shards."""
    cut = Cut.of(whole.run.run_id, whole.description, count)
    shards = Shards([Index.open(root, whole.run, share) for share in cut.shares])
    return Scattered(whole.run, whole.description, cut, shards), shards
