"""Published tables to arrays: labels as DESIGN defines them."""

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import DIM, publish
from wristmir_ray.anatomy import FractureType, Presence, Region
from wristmir_ray.evaluation.archive import CLASSES, Archive, load
from wristmir_ray.schemas import CAPTIONS, EXAMS, embeddings
from wristmir_ray.tables import conform

LABELS = {  # exam -> presence, fracture type, healing
    "e0": ("present", "buckle", "acute"),
    "e1": ("present", None, "healing"),
    "e2": ("absent", None, None),
    "e3": (None, None, None),
    "e4": ("uncertain", "buckle", None),
    "e5": ("present", "transverse", "healed"),
}
RUNS = {"exams": "r1", "captions": "r1", "embeddings": "r1"}
BONE = Region.DISTAL_ULNA


def _load(root: Path, healed: Presence = Presence.PRESENT) -> Archive:
    exams = [{"source_id": f"s{9 - i}", "exam_id": f"e{i}", "patient_id": "p", "split": "test"} for i in range(7)]
    publish(str(root), EXAMS, conform(exams, EXAMS))
    named = ("presence", "fracture_type", "healing")
    rows = [
        {"exam_id": e, "region": BONE.value, "caption": e, **dict(zip(named, label, strict=True))}
        for e, label in LABELS.items()
    ]
    rows.append({"exam_id": "e6", "region": BONE.value, "error": "no_report"})
    publish(str(root), CAPTIONS, conform(rows, CAPTIONS))
    vector = {"region": BONE.value, "embedding": np.eye(DIM, dtype=np.float32)[2]}
    stored = [{"exam_id": "e3", **vector}, {"exam_id": "gone", **vector}]
    publish(str(root), embeddings(DIM), conform(stored, embeddings(DIM)))
    return load(str(root), RUNS, DIM, healed)


def test_labels(tmp_path: Path) -> None:
    found = _load(tmp_path)
    assert found.exam_ids.tolist() == [f"e{i}" for i in range(7)]
    assert found.present[BONE].tolist() == [1, 1, 0, 0, -1, 1, -1]
    names = [None if c == -1 else CLASSES[c] for c in found.classes[BONE]]
    assert names == [FractureType.BUCKLE, FractureType.UNKNOWN, "none", "none", None, FractureType.TRANSVERSE, None]
    assert found.captions[BONE].tolist() == [*LABELS, None]
    assert (found.present[Region.ULNAR_STYLOID] == -1).all()


@pytest.mark.parametrize(("healed", "expected"), [("present", 1), ("absent", 0), ("uncertain", -1)])
def test_a_healed_fracture_counts_as_the_setting_says(tmp_path: Path, healed: str, expected: int) -> None:
    found = _load(tmp_path, Presence(healed))
    assert found.present[BONE][5] == expected
    assert found.present[BONE][1] == 1  # healing is not healed


def test_vectors_stand_at_their_exam(tmp_path: Path) -> None:
    vectors = _load(tmp_path).vectors[BONE]
    assert np.flatnonzero(~np.isnan(vectors[:, 0])).tolist() == [3]
    assert vectors[3, 2] == 1
