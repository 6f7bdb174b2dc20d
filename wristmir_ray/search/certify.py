"""A compressed scan that proves which rows cannot be among the best.

Axes are rotated so that the first C of D hold most of the energy (the leading eigenvectors of a
sample's second moment; trained embeddings of one kind of image crowd into few directions). A row is
kept as its C leading coordinates and the norm of what they leave out:

    <q, v> = <q1, v1> + <q2, v2> <= <q1, v1> + |q2| |v2|        (Cauchy-Schwarz)

so that one product over C columns bounds every score. The k rows that look best are scored in full;
the k-th of those scores is a floor under the true k-th best; whoever's bound lies below the floor is
out, everyone else is scored in full. The result is that of a full scan bit for bit, ties included.

Rounding, with u = 2^-24, unit vectors and the axes orthonormal in float64: storing q1 and v1 in
float32 moves their product by at most 3u, its float32 sum by C u, the sum of bound and product by 3u;
the full score that the floor is compared with has an error of D u. `slack` doubles the total, as
norms are one only up to 1e-3. Norms of the rest are rounded up when they are stored.
"""

from dataclasses import dataclass

import numpy as np

from wristmir_ray.search.coarse import BLOCK, kth, scores_at, top

WIDTHS = (32, 64, 96, 128, 192)
"""Numbers of leading coordinates that are tried: multiples of a cache line of float32."""
PROBES = 24
SAMPLE = 20_000
WORTH = 0.6
"""Codes are kept where a search through them is expected to cost less than this share of a full scan."""
GATHERED = 2.0
"""What a gathered row costs, in rows of a scan."""
FEW = 8
"""Up to FEW * k candidates are scored in full at once: bounds would save nothing."""
MOST_SCANNED, MOST_GATHERED = 0.2, 0.6
"""When more than this share of the rows passes the bounds, scoring all of them costs less: the first where
they would be scanned in place, the second where they are gathered anyway."""


@dataclass(frozen=True)
class Codes:
    """Compressed rows of a gallery."""

    axes: np.ndarray
    """(C, D) float64, orthonormal."""
    leading: np.ndarray
    """(N, C) float32; zeros where a row has no embedding."""
    rest: np.ndarray
    """(N,) float32, at least the norm of what the leading coordinates leave out."""

    def split(self, query_D: np.ndarray) -> tuple[np.ndarray, float]:
        """Return a query's leading coordinates (C,) float32, and the norm of its rest."""
        wide = query_D.astype(np.float64)
        q1_C = self.axes @ wide
        return q1_C.astype(np.float32), float(np.linalg.norm(wide - q1_C @ self.axes))


def slack(dim: int, width: int) -> float:
    """Return what rounding can add to a bound or take from a score, together (see the module)."""
    return 2 * (dim + width + 8) * 2.0**-24


def axes(sample_ND: np.ndarray) -> np.ndarray:
    """Return (D, D) float64 orthonormal axes by falling energy of the sample; NaN rows are left out."""
    good = sample_ND[~np.isnan(sample_ND[:, 0])].astype(np.float64)
    _, vectors_DD = np.linalg.eigh(good.T @ good)
    turned: np.ndarray = np.ascontiguousarray(vectors_DD[:, ::-1].T)
    return turned


def compress(gallery_ND: np.ndarray, axes_CD: np.ndarray) -> Codes:
    """Return the codes of a gallery.

    Args:
        gallery_ND: (N, D) float32; NaN rows get zeros.
        axes_CD: (C, D) float64 orthonormal.
    """
    leading_NC = np.empty((len(gallery_ND), len(axes_CD)), np.float32)
    rest_N = np.empty(len(gallery_ND), np.float32)
    for start in range(0, len(gallery_ND), BLOCK):
        wide_BD = np.nan_to_num(gallery_ND[start : start + BLOCK].astype(np.float64), nan=0.0)
        v1_BC = wide_BD @ axes_CD.T
        v2_B = np.linalg.norm(wide_BD - v1_BC @ axes_CD, axis=1)
        leading_NC[start : start + BLOCK] = v1_BC
        rest_N[start : start + BLOCK] = np.nextafter(v2_B.astype(np.float32), np.float32(np.inf))
    return Codes(axes_CD, leading_NC, rest_N)


def choose(gallery_ND: np.ndarray, pool: int, seed: int = 0) -> np.ndarray | None:
    """Return the axes with which a search is expected to cost least, or None where a full scan does.

    Rows of the gallery are asked against a sample of it, and the rows that pass the bounds counted.

    Args:
        gallery_ND: (N, D) float32, NaN rows allowed.
        pool: how many rows a search wants; scaled down to the sample.
        seed: of the sample.
    """
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(~np.isnan(gallery_ND[:, 0]))
    sample_MD = gallery_ND[np.sort(rng.permutation(found)[:SAMPLE])]
    if len(sample_MD) < 4 * PROBES:
        return None
    turned_DD, dim = axes(sample_MD), sample_MD.shape[1]
    k = min(len(sample_MD), max(1, round(pool * len(sample_MD) / len(found))))
    queries = sample_MD[rng.permutation(len(sample_MD))[:PROBES]]
    full_QM = queries @ sample_MD.T
    best, cost = None, WORTH
    for width in (w for w in WIDTHS if w < dim):
        codes = compress(sample_MD, turned_DD[:width])
        passed = [_passing(codes, q, np.partition(f, -k)[-k]) for q, f in zip(queries, full_QM, strict=True)]
        expected = width / dim + GATHERED * float(np.mean(passed)) / len(sample_MD)
        if expected < cost:
            best, cost = codes.axes, expected
    return best


def _passing(codes: Codes, query_D: np.ndarray, floor: float) -> int:
    q1_C, q2 = codes.split(query_D)
    return int((codes.leading @ q1_C + codes.rest * np.float32(q2) >= floor).sum())


def certified(
    query_D: np.ndarray,
    gallery_ND: np.ndarray,
    coarse_M: np.ndarray,
    ceiling_M: np.ndarray,
    k: int,
    margin: float,
    rows_M: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rows and scores that are the exact top k, or None where too many rows pass the bounds.

    Args:
        query_D: (D,) float32 unit norm.
        gallery_ND: (N, D) float32.
        coarse_M: (M,) float32, what seems the score; far below any score for rows that are no candidates.
        ceiling_M: (M,) float32, `coarse_M` and all that the score can be above it but for rounding.
        k: how many; at most the number of candidates.
        margin: rounding, as `slack` gives it.
        rows_M: rows of the gallery that the M stand for; default all of them.
    """
    most = max(2 * k, int((MOST_SCANNED if rows_M is None else MOST_GATHERED) * len(coarse_M)))
    first = np.flatnonzero(coarse_M >= kth(coarse_M, k))
    if len(first) > most:
        return None
    named = first if rows_M is None else rows_M[first]
    floor = kth(scores_at(query_D, gallery_ND, named), k)
    passing = np.flatnonzero(ceiling_M >= np.float32(floor - margin))
    if len(passing) > most:
        return None
    named = passing if rows_M is None else rows_M[passing]
    full = scores_at(query_D, gallery_ND, named)
    order = top(full, k)
    return named[order], full[order]
