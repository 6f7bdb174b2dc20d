"""Made-up embeddings for the search benchmarks, and a published index of them.

`crowded` resembles what a contrastive image tower gives for one kind of image. All share a cone (a
common direction); patients lie around it with standard deviations that fall as 1 / i over the
dimensions, an exam around its patient likewise at half the size; isotropic noise of norm 0.05 fills the
rest; reflections mix the axes. The demo's own trained encoder (128 wide, 1,597 phantom wrists) has .972
of its energy in 8 directions, .995 in 32 and .9993 in 64: `energy` gives the same figures of what is
made here. Real archives may be less crowded: `isotropic` is the worst case, in which no scan can leave
a row out.
"""

from pathlib import Path
from typing import Any

import numpy as np

DIM = 512
EXAMS_A_PATIENT = 3
_BLOCK = 50_000


def crowded(n: int, seed: int) -> np.ndarray:
    """Return (n, 512) float32 unit vectors; exams of one patient follow each other."""
    rng = np.random.default_rng(seed)
    spectrum = (1 / np.arange(1, DIM + 1)).astype(np.float32)
    spectrum /= np.linalg.norm(spectrum)
    mirrors = [v / np.linalg.norm(v) for v in rng.standard_normal((6, DIM), dtype=np.float32)]
    cone = 0.9 * mirrors[0]
    out = np.empty((n, DIM), np.float32)
    for start in range(0, n, _BLOCK):
        m = min(_BLOCK, n - start)
        patients = rng.standard_normal((m // EXAMS_A_PATIENT + 1, DIM), dtype=np.float32)
        rows = np.repeat(patients, EXAMS_A_PATIENT, axis=0)[:m]
        rows += 0.5 * rng.standard_normal((m, DIM), dtype=np.float32)
        rows *= spectrum
        for mirror in mirrors[1:]:
            rows -= np.outer(2 * (rows @ mirror), mirror)
        rows += cone + 0.05 / DIM**0.5 * rng.standard_normal((m, DIM), dtype=np.float32)
        out[start : start + m] = rows / np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return out


def isotropic(n: int, seed: int) -> np.ndarray:
    """Return (n, 512) float32 unit vectors of any direction."""
    rows = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    rows /= np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return rows


def energy(vectors: np.ndarray) -> dict[str, float]:
    """Return the share of energy in the leading 8, 32 and 64 directions."""
    sample = vectors[:: max(1, len(vectors) // 5000)].astype(float)
    values = np.cumsum(np.linalg.eigvalsh(sample.T @ sample)[::-1])
    return {str(i): round(float(values[i - 1] / values[-1]), 4) for i in (8, 32, 64)}


def publish(
    root: Path, wrists: np.ndarray, bones: np.ndarray, run: str = "b", encoder_digest: str = "e", **manifest: Any
) -> Any:
    """Return an opened index of these exams, whose ages are spread evenly over 0 to 100.

    Args:
        root: where it is published.
        wrists: (N, D) float32 unit norm.
        bones: (N, D) likewise, of every bone.
        run: its id.
        encoder_digest: of the encoder that is said to have made the vectors.
        manifest: what its manifest says beside, such as models and inputs.
    """
    import pyarrow as pa

    from wristmir_ray import storage
    from wristmir_ray.anatomy import Region
    from wristmir_ray.retrieval.config import IndexConfig
    from wristmir_ray.retrieval.index import Index
    from wristmir_ray.retrieval.writing import Making, write_index

    n = len(wrists)
    words = pa.array(["left"] * n)
    columns = {"exam_id": pa.array([f"{i:032x}" for i in range(n)])}
    columns |= {"patient_id": pa.array([f"{i // EXAMS_A_PATIENT:032x}" for i in range(n)])}
    columns |= dict.fromkeys(("laterality", "view", "sex", "split"), words)
    ages = np.random.default_rng(9).permutation(n) * (100 / n)
    columns |= {"age_years": pa.array(ages, pa.float32()), "study_date": pa.nulls(n, pa.date32())}
    for region in Region:
        columns[f"{region.value}_box"] = pa.array([[0.0, 0.0, 9.0, 9.0]] * n, pa.list_(pa.float32()))
        columns |= {f"{region.value}_{c}": words for c in ("caption", "presence", "healing", "fracture_type")}
    vectors = {r: wrists if r is Region.WRIST else bones for r in Region}
    config = IndexConfig(calibration_queries=1)
    folder = storage.run_uri(str(root), "index", run)
    files = write_index(folder, pa.table(columns), vectors, Making(encoder_digest, config))
    settings = {"index": config.model_dump(mode="json")}
    storage.publish(str(root), storage.Manifest("index", run, "bench", n, files=files, config=settings, **manifest))
    return Index.load(str(root))
