"""FAISS indexes that may miss a row, with the recall that was measured when they were built."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from wristmir_ray.retrieval.config import IndexConfig, Kind
from wristmir_ray.search.coarse import scores, top

LINKS = 32
"""HNSW: neighbours a node."""
MEASURED = 200
"""Rows that are asked as queries to measure recall."""


class Approximate:
    """Names rows that seem to be the best; the caller scores them in full, and checks them against its filter.

    Args:
        index: a FAISS index over every row of a segment, zeros where a row has no embedding.
        config: breadth of a query.
    """

    def __init__(self, index: Any, config: IndexConfig) -> None:
        import faiss

        self._faiss: Any = faiss
        self._index = index
        self._config = config

    @classmethod
    def open(cls, path: Path, config: IndexConfig) -> "Approximate":
        """Open a written one; replicas on one machine share its pages."""
        import faiss

        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), config)

    @classmethod
    def build(cls, vectors_ND: np.ndarray, config: IndexConfig) -> "Approximate":
        """Build one over (N, D) float32 vectors; NaN rows are kept as zeros, so that rows keep their numbers."""
        import faiss

        filled_ND = np.nan_to_num(vectors_ND, nan=0.0)
        rows, dim = filled_ND.shape
        if config.kind is Kind.HNSW:
            index: Any = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        else:
            lists = max(1, min(round(4 * math.sqrt(rows)), rows // 39))  # FAISS wants 39 rows a list to train
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
            index.train(filled_ND)
        index.add(filled_ND)
        return cls(index, config)

    def write(self, path: Path) -> None:
        """Write it to a file."""
        self._faiss.write_index(self._index, str(path))

    def rows(self, query_D: np.ndarray, k: int, allowed_N: np.ndarray | None = None) -> np.ndarray:
        """Return at most k ascending rows, allowed ones alone."""
        chosen = {}
        if allowed_N is not None:
            packed = np.packbits(allowed_N, bitorder="little")
            chosen["sel"] = self._faiss.IDSelectorBitmap(packed)
        if self._config.kind is Kind.HNSW:
            parameters = self._faiss.SearchParametersHNSW(efSearch=max(self._config.ef_search, 2 * k), **chosen)
        else:
            parameters = self._faiss.SearchParametersIVF(nprobe=self._config.probes, **chosen)
        _, found = self._index.search(np.ascontiguousarray(query_D[None], np.float32), k, params=parameters)
        named = np.unique(found[found >= 0])
        return named if allowed_N is None else named[allowed_N[named]]  # whatever the index type did with the selector

    def recall(self, vectors_ND: np.ndarray, k: int, seed: int = 0) -> float:
        """Return the share of the exact top k that is found, over rows of the gallery asked without themselves."""
        found = np.flatnonzero(~np.isnan(vectors_ND[:, 0]))
        if len(found) < 2:
            return 1.0
        hit = total = 0
        for row in np.random.default_rng(seed).permutation(found)[:MEASURED]:
            others = ~np.isnan(vectors_ND[:, 0])
            others[row] = False
            best = top(scores(vectors_ND[row], vectors_ND), k, others)
            hit += int(np.isin(best, self.rows(vectors_ND[row], k + 1, others)).sum())
            total += len(best)
        return hit / total
