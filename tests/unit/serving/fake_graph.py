"""A graph that answers from memory, and records what it was asked."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from wristmir_ray.anatomy import Region
from wristmir_ray.serving import api, problems
from wristmir_ray.serving.images import Image
from wristmir_ray.serving.problems import ProblemError
from wristmir_ray.serving.service import Query, Sighting

EXAM = "0" * 31 + "1"
LINEAGE = api.Lineage(index="i1", encoder="e1", roi_detector="r1", bone_detector="b1")
SUMMARY = api.ArchiveSummary(
    name="archive",
    exams=1,
    regions={Region.WRIST: 1},
    modes=list(api.Mode),
    lineage=LINEAGE,
)
BOX = api.PixelBox(x0_px=1, y0_px=2, x1_px=3, y1_px=4)


def hit(exam_id: str = EXAM, rank: int = 1) -> api.Hit:
    return api.Hit(
        exam_id=exam_id,
        final_rank=rank,
        stage1_rank=rank,
        global_score=0.9,
        region_score=0.8,
        laterality="left",
        view="pa",
        age_years=9.5,
        sex="female",
        study_date=datetime.date(2024, 5, 17),
        findings=[],
        caption="No distal radius fracture.",
        box=BOX,
    )


@dataclass
class FakeGraph:
    """Finds `regions` in every upload; a text's vector is (1, 0), a crop's is (0, 1)."""

    regions: tuple[Region, ...] = tuple(Region)
    problem: api.Problem | None = None
    asked: list[Query] = field(default_factory=list)
    encoded: list[bytes | str] = field(default_factory=list)

    def _check(self) -> None:
        if self.problem:
            raise ProblemError(self.problem)

    async def extract(self, image: bytes) -> Sighting:
        self._check()
        pngs: Mapping[Region, bytes] = {r: r.value.encode() for r in self.regions}
        return Sighting(pngs, dict.fromkeys(self.regions, BOX), {"decode": 1.0, "detect": 2.0})

    async def encode_image(self, png: bytes) -> np.ndarray:
        self.encoded.append(png)
        return np.array([0, 1], np.float32)

    async def encode_text(self, text: str) -> np.ndarray:
        self.encoded.append(text)
        return np.array([1, 0], np.float32)

    async def search(self, query: Query) -> api.SearchAnswer:
        self._check()
        self.asked.append(query)
        p = query.parameters
        return api.SearchAnswer(
            hits=[hit()],
            region=p.region,
            mode=p.mode,
            pool=p.pool,
            gallery=1,
            exactness="exact",
            fallback=None,
            stage_ms={"coarse": 1.0, "rerank": 0.5},
            lineage=LINEAGE,
        )

    async def archive(self) -> api.ArchiveSummary:
        self._check()
        return SUMMARY

    async def exam(self, exam_id: str) -> api.Exam:
        if exam_id != EXAM:
            raise ProblemError(problems.unknown_exam())
        facts = {"laterality": "left", "view": "pa", "age_years": 9.5, "sex": "female", "study_date": None}
        return api.Exam(exam_id=EXAM, **facts, findings=[], boxes={})

    async def crop(self, exam_id: str, region: Region) -> bytes:
        if region is not Region.WRIST:
            raise ProblemError(problems.unknown_region())
        return b"\x89PNG"

    async def image(self, exam_id: str, max_side: int | None, held: str) -> Image:
        if exam_id != EXAM:
            raise ProblemError(problems.unknown_exam())
        tag = f'"{max_side}"'
        return Image(tag, None if held == tag else b"\x89PNG image")

    async def figures(self) -> Mapping[str, float]:
        return {"computed": 3.0}

    async def ready(self) -> api.Readiness:
        self._check()
        return api.Readiness(ready=True, lineage=LINEAGE)
