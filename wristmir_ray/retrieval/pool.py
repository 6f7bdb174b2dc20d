"""The pool of a search whose region is computed as it is asked for: which candidates are settled, and their ranking."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wristmir_ray.anatomy import Box
from wristmir_ray.retrieval.gallery import Gallery
from wristmir_ray.retrieval.query import Hit, Prepared, SearchAnswer, SearchRequest
from wristmir_ray.retrieval.unstored import Found, Known, State
from wristmir_ray.search.coarse import scores
from wristmir_ray.search.merge import Mode, Part, Ranked, rank


@dataclass(frozen=True)
class Progress:
    """How far a pool has come, candidate by candidate in stage-1 order: what a continuation starts from."""

    states: np.ndarray
    """(P,) uint8 of State."""
    scores: np.ndarray
    """(P,) float32; NaN where the region was not compared."""

    def count(self, *states: State) -> int:
        """Return how many candidates are in one of these states."""
        return int(np.bincount(self.states, minlength=len(State))[list(states)].sum())

    @property
    def coverage(self) -> float:
        """Share of the pool that is settled; 1 for an empty one."""
        return 1.0 - self.count(State.PENDING) / len(self.states) if len(self.states) else 1.0


@dataclass(frozen=True)
class Partial:
    """An answer over what is computed by now."""

    answer: SearchAnswer
    states: list[State]
    """One a hit."""
    progress: Progress


NOTHING = Progress(np.zeros(0, np.uint8), np.zeros(0, np.float32))
"""Of a search that has no pool to compute."""


class Pool:
    """The candidates of one request, and what is known of them.

    Args:
        index: opened.
        known: what is computed of it.
        request: two stages, over a region that the index does not store.
        own: what has become of the query's own region; PENDING: its pool is wanted alone.
        before: of an earlier answer to the same request over the same index: what it had settled stays settled.

    Raises:
        ValueError: `before` is of another pool.
    """

    def __init__(
        self, index: Gallery, known: Known, request: SearchRequest, own: State, before: Progress | None
    ) -> None:
        prepared = Prepared.of(index, request)
        if own is State.PENDING:  # no vector yet: it is no fallback to stage 1, but the pool of a later one
            pool = replace(prepared.ask, wanted=request.pool, one_a_patient=False)
            prepared = replace(prepared, mode=Mode.TWO_STAGE, fallback=None, ask=pool)
        self._index, self._known, self._prepared = index, known, prepared
        blind = replace(prepared, ask=replace(prepared.ask, local=None))
        self._found = index.candidates(blind)
        self.part = self._found.part
        count = len(self.part.ids)
        if before is not None and len(before.states) != count:
            raise ValueError("the progress is of another pool")
        self._states = np.zeros(count, np.uint8) if before is None else before.states.copy()
        self._scores = np.full(count, np.nan, np.float32) if before is None else before.scores.copy()
        self._boxes: dict[int, Box | None] = {}
        self.region = request.region
        self.boxless = np.zeros(0, np.int64)
        """Of the hits of `answer`: those that were compared, but whose boxes are not known here."""
        if prepared.ask.local is not None:
            found, states = known.scores(request.region, prepared.ask.local, self.part.places)
            here = states != State.PENDING  # what was settled before stays so, known or not
            self._states[here], self._scores[here] = states[here], found[here]

    def missing(self) -> np.ndarray:
        """Return which candidates are pending, in stage-1 order."""
        return np.flatnonzero(self._states == State.PENDING)

    def settle(self, at: np.ndarray, found: Sequence[Found | None]) -> None:
        """Take in what came of some candidates; what was compared before stays so."""
        local = self._prepared.ask.local
        assert local is not None
        for i, f in zip(at.tolist(), found, strict=True):
            if f is None or (self._states[i] == State.COMPARED and f.box is None):
                continue
            self._states[i], self._boxes[i] = f.state, f.box
            if f.vector is not None:
                self._scores[i] = scores(local, f.vector[None])[0]

    def answer(self, waited_ms: float) -> Partial:
        """Return the best that is known by now, and note whose boxes are not (`boxless`).

        Args:
            waited_ms: for regions to be computed.
        """
        request, started = self._prepared.request, time.perf_counter()
        part = replace(self.part, region_scores=self._scores)
        ranked = rank(part, Mode.TWO_STAGE, request.k, request.one_a_patient)
        merged = time.perf_counter()
        hits = self._hits(part, ranked)
        unseen = np.array([hit.box is None for hit in hits], bool)
        self.boxless = ranked.at[unseen & (self._states[ranked.at] == State.COMPARED)]
        done = time.perf_counter()
        ms = {"compute": waited_ms, "rerank": 1e3 * (merged - started), "metadata": 1e3 * (done - merged)}
        found = self._found
        answer = SearchAnswer(hits, found.exactness, self._prepared.fallback, found.gallery, {**found.ms, **ms})
        states = [State(int(s)) for s in self._states[ranked.at]]
        return Partial(answer, states, Progress(self._states, self._scores))

    def _hits(self, part: Part, ranked: Ranked) -> list[Hit]:
        hits = self._index.hits(self.region, part.take(ranked.at), ranked.stage1_ranks)
        return [replace(hit, box=self._box(i)) for hit, i in zip(hits, ranked.at.tolist(), strict=True)]

    def _box(self, i: int) -> Box | None:
        if i not in self._boxes:
            found = self._known.found(self.region, self.part.places[i].tolist())
            return found.box if found else None
        return self._boxes[i]
