"""The peer of `bench_http`: the same search as a competent FastAPI service without Ray would have it.

    BENCH_ROOT=... uvicorn tests.bench.httppeer:app --workers N

Every process opens FAISS's flat index over the wrists and keeps all metadata as dictionaries; a request is one FAISS
search, the product with the pool's bones, and the service's own answer model, in the event loop without a thread's hop.
"""

import os
import time
from typing import Annotated, Any

import faiss
import numpy as np
from fastapi import FastAPI, Form

from wristmir_ray.anatomy import Region
from wristmir_ray.retrieval.index import Index
from wristmir_ray.serving import api
from wristmir_ray.serving.http import SearchForm

SAME_PATIENT = 8
"""Asked for beyond the pool: exams of the query's own patient are no hits."""

faiss.omp_set_num_threads(1)
index = Index.load(os.environ["BENCH_ROOT"])
(segment,) = index.segments
vectors = {r: np.asarray(segment.vectors[r]) for r in Region}
exams = index.exams.to_pylist()
row_of = {exam["exam_id"]: row for row, exam in enumerate(exams)}
flat = faiss.IndexFlatIP(index.dim)
flat.add(vectors[Region.WRIST])
lineage = api.Lineage(index=index.run.run_id, encoder="", roi_detector="", bone_detector="")
made_by = next(iter(index.description.sources.values()))
app = FastAPI()


@app.get("/readyz")
async def readyz() -> api.Health:
    """Return that the process answers."""
    return api.Health()


@app.post("/v1/search")
async def search(form: Annotated[SearchForm, Form(media_type="multipart/form-data")]) -> api.SearchAnswer:
    """Return the exams most like an exam, seen from one bone."""
    started = time.perf_counter()
    row = row_of[form.exam_id]
    patient = exams[row]["patient_id"]
    scores, rows = flat.search(vectors[Region.WRIST][row][None], form.pool + SAME_PATIENT)
    kept = [i for i, r in enumerate(rows[0].tolist()) if exams[r]["patient_id"] != patient][: form.pool]
    seen, pool = scores[0][kept], rows[0][kept]
    local = vectors[form.region][pool] @ vectors[form.region][row]
    order = np.argsort(-local, kind="stable")[: form.k].tolist()
    hits = [hit(exams[pool[i]], form.region, n, i + 1, seen[i], local[i]) for n, i in enumerate(order, 1)]
    return api.SearchAnswer(
        hits=hits,
        region=form.region,
        mode=form.mode,
        pool=form.pool,
        gallery=len(exams),
        exactness="exact",
        fallback=None,
        stage_ms={"total": round(1e3 * (time.perf_counter() - started), 3)},
        lineage=lineage,
    )


def hit(exam: dict[str, Any], region: Region, final: int, stage1: int, seen: float, local: float) -> api.Hit:
    """Return one hit with all that the service tells of it."""
    x0, y0, x1, y1 = exam[f"{region.value}_box"]
    words = ("presence", "fracture_type", "healing", "caption")
    return api.Hit(
        exam_id=exam["exam_id"],
        final_rank=final,
        stage1_rank=stage1,
        global_score=float(seen),
        region_score=float(local),
        laterality=exam["laterality"],
        view=exam["view"],
        age_years=None if exam["age_years"] is None else round(exam["age_years"], 2),
        sex=exam["sex"],
        study_date=exam["study_date"],
        findings=[api.RegionFinding(region=r, **{w: exam[f"{r.value}_{w}"] for w in words}) for r in Region],
        caption=exam[f"{region.value}_caption"],
        box=api.PixelBox(x0_px=x0, y0_px=y0, x1_px=x1, y1_px=y1),
        region_state=api.RegionState.COMPARED,
        lineage=made_by,
    )
