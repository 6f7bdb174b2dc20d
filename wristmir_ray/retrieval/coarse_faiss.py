"""Stage 1 through FAISS, with a proof that nothing was missed."""

from pathlib import Path
from typing import Any

import numpy as np

from wristmir_ray.search.coarse import rounding

SLACK = 64
"""Rows beyond k that the scan brings along, so that rounding rarely needs a second look."""


class CoarseScan:
    """Gives the rows that surely hold the top k whole wrists.

    FAISS sums a product in another order than `search.coarse.scores`; two such sums of one row
    differ by less than `rounding`. The scan asks for k + SLACK rows; when its last score is below
    its k-th by more than twice that, no row outside can be in the exact top k. Otherwise it asks
    for more, at last for all rows. A filter goes into the scan as a bitmap (on a flat index exact).

    Args:
        path: the flat FAISS index of the gallery.
        found_N: (N,) bool; rows without a wrist embedding are no candidates.
    """

    def __init__(self, path: Path, found_N: np.ndarray) -> None:
        import faiss

        self._faiss: Any = faiss
        self._index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        self._found_N = found_N
        self._slack = 2 * rounding(int(self._index.d))

    def shortlist(self, query_D: np.ndarray, k: int, allowed_N: np.ndarray | None) -> np.ndarray:
        """Return ascending rows that contain the exact top k among the allowed ones."""
        usable_N = self._found_N if allowed_N is None else allowed_N & self._found_N
        usable = int(usable_N.sum())
        restricted = usable < len(usable_N)
        parameters = None
        if restricted:
            packed = np.packbits(usable_N, bitorder="little")
            selector = self._faiss.IDSelectorBitmap(packed)
            parameters = self._faiss.SearchParameters(sel=selector)
        wanted = k + SLACK
        while wanted < usable:
            values, rows = self._index.search(query_D[None].astype(np.float32), wanted, params=parameters)
            if values[0, -1] < values[0, k - 1] - self._slack:
                return np.sort(rows[0])
            wanted *= 4
        return np.flatnonzero(usable_N)
