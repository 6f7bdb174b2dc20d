"""A run of the index over shards: each is asked for its share, and what they find is merged (scatter, gather).

The answer is that of one index over all rows, bit for bit: a score is of one row alone, ties are decided by ids, and
the merge is associative (`search.merge`). An answer over some of the shards is none: a call to one that does not
answer raises.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wristmir_ray import storage
from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.cut import Cut
from wristmir_ray.retrieval.gallery import Candidates, Gallery, Holding
from wristmir_ray.retrieval.layout import Description
from wristmir_ray.retrieval.query import Prepared
from wristmir_ray.retrieval.unstored import Source
from wristmir_ray.search.merge import gather

Ask = Callable[[str, Mapping[int, tuple[Any, ...]]], Mapping[int, Any]]
"""(method of the shard's `Index`, shard -> arguments) -> shard -> its answer; raises where one of them has none."""

ASKED = frozenset({"counts", "look", "candidates", "rows", "sources", "ready"})
"""Methods that a shard is asked for."""


class Scattered(Gallery):
    """A run whose rows lie with shards; holds none itself, and no metadata.

    Args:
        run: its manifest.
        description: what binds its segments.
        cut: which shard holds which rows.
        ask: asks several shards at once, and blocks until all have answered.
    """

    is_local = False

    def __init__(self, run: storage.Manifest, description: Description, cut: Cut, ask: Ask) -> None:
        super().__init__(run, description)
        self.cut = cut
        self._ask = ask
        self._every = range(len(cut.shares))
        counts = ask("counts", dict.fromkeys(self._every, ()))
        self._exams: int = sum(exams for exams, _ in counts.values())
        found: Counter[Region] = Counter()
        for _, by_region in counts.values():
            found.update(by_region)
        self._found = {r: found[r] for r in Region}

    def __len__(self) -> int:
        return self._exams

    def found(self) -> dict[Region, int]:
        return dict(self._found)

    def ready(self) -> None:
        self._ask("ready", dict.fromkeys(self._every, ()))

    def look(self, exam_id: str) -> Holding | None:
        held = self._ask("look", dict.fromkeys(self._every, (exam_id,)))
        found: Holding | None = next((h for h in held.values() if h is not None), None)
        return found

    def candidates(self, prepared: Prepared) -> Candidates:
        """Return the candidates of all shards, merged.

        Of its milliseconds `filter` and `coarse` are the slowest shard's, `scatter` is what the way there and back
        took beside the slowest, and `merge` is this one's own.
        """
        started = time.perf_counter()
        sent = replace(prepared, request=replace(prepared.request, own=None, vectors={}))  # `ask` has what is needed
        found: list[Candidates] = list(self._ask("candidates", dict.fromkeys(self._every, (sent,))).values())
        back = time.perf_counter()
        ask = prepared.ask
        part = gather([f.part for f in found], prepared.mode, ask.wanted, ask.one_a_patient)
        ms = {name: max(f.ms[name] for f in found) for name in found[0].ms}
        slowest = max(sum(f.ms.values()) for f in found)
        ms |= {"scatter": max(0.0, 1e3 * (back - started) - slowest), "merge": 1e3 * (time.perf_counter() - back)}
        recalls = [f.recall for f in found if f.recall is not None]
        return Candidates(
            part,
            sum(f.gallery for f in found),
            ms,
            any(f.certified for f in found),
            min(recalls) if recalls else None,
        )

    def rows(self, places_M2: np.ndarray) -> list[dict[str, Any]]:
        return self._of_holders("rows", places_M2)

    def sources(self, places_M2: np.ndarray) -> list[Source]:
        return self._of_holders("sources", places_M2)

    def _of_holders(self, method: str, places_M2: np.ndarray) -> list[Any]:
        """Return an answer a place, each from the shard that holds it."""
        holders = self.cut.holders(places_M2)
        of = {i: np.flatnonzero(holders == i) for i in np.unique(holders).tolist()}
        answers = self._ask(method, {i: (places_M2[at],) for i, at in of.items()}) if of else {}
        out: list[Any] = [None] * len(places_M2)
        for i, at in of.items():
            for n, one in zip(at.tolist(), answers[i], strict=True):
                out[n] = one
        return out
