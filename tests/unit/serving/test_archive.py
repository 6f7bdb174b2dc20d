"""The archive behind the service, its lineage, and the refusal to start; manifests and arrays, no models."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.serving.made_archive import BARE, EXAMS, publish, publish_crops, publish_index
from wristmir_ray import storage
from wristmir_ray.anatomy import Region, Side
from wristmir_ray.errors import IndexMismatch, NotPublished
from wristmir_ray.retrieval.gallery import Holding
from wristmir_ray.search import Mode
from wristmir_ray.serving import api
from wristmir_ray.serving.archive import Archive
from wristmir_ray.serving.config import SearchSettings, ServeArgs
from wristmir_ray.serving.lineage import preflight
from wristmir_ray.serving.service import Query


@pytest.fixture
def archive(args: ServeArgs) -> Archive:
    return Archive.load(args, preflight(args), SearchSettings())


def ask(archive: Archive, exam_id: str, **parameters: Any) -> api.SearchAnswer:
    found = archive.search(Query(api.SearchParameters(**parameters), exam_id=exam_id))
    assert isinstance(found, api.SearchAnswer)
    return found


def test_modes_are_those_of_the_search() -> None:
    assert {m.value for m in api.Mode} == {m.value for m in Mode}


def test_hits_carry_their_exam_and_the_lineage(archive: Archive) -> None:
    found = ask(archive, EXAMS[0], region=Region.DISTAL_ULNA)
    assert {h.exam_id for h in found.hits} == set(EXAMS[2:])
    first = found.hits[0]
    i = EXAMS.index(first.exam_id)
    assert (first.age_years, first.laterality, first.sex) == (5.0 + i, ["left", "right"][i % 2], "female")
    assert (first.view, first.study_date) == ("pa", None)
    assert first.caption == f"distal ulna {i}"
    assert [f.region for f in first.findings] == list(Region)
    assert first.box == api.PixelBox(x0_px=0, y0_px=1, x1_px=10, y1_px=11)
    assert found.lineage == archive.summary().lineage
    assert found.hits[-1].exam_id == BARE
    assert (found.hits[-1].region_score, found.hits[-1].box) == (None, None)


def test_a_query_without_the_bone_says_so(archive: Archive) -> None:
    for mode in (api.Mode.TWO_STAGE, api.Mode.REGION):
        found = ask(archive, BARE, mode=mode)
        assert found.fallback == "query_region_not_found"
        assert [h.stage1_rank for h in found.hits] == [1, 2, 3, 4]


def test_filters_reach_the_search(archive: Archive) -> None:
    found = ask(archive, EXAMS[0], laterality=Side.RIGHT, age_min=7, age_max=8)
    assert [h.exam_id for h in found.hits] == [EXAMS[3]]
    assert found.gallery == 1
    assert ask(archive, EXAMS[0], fracture_type="avulsion").hits == []


def test_one_hit_a_patient(archive: Archive) -> None:
    every, one = (ask(archive, EXAMS[0], mode="global", one_a_patient=only) for only in (False, True))
    assert [len(every.hits), len(one.hits)] == [4, 2]  # two patients beside its own
    best = {EXAMS.index(h.exam_id) // 2: h.exam_id for h in reversed(every.hits)}
    assert {h.exam_id for h in one.hits} == set(best.values())


def test_no_similar_case_is_an_answer(archive: Archive) -> None:
    thresholds = archive.index.description.thresholds
    assert isinstance(thresholds, dict)
    thresholds["two_stage/distal_radius"] = 1.1  # nothing is so similar
    for only_similar in (False, True):
        found = ask(archive, EXAMS[0], only_similar=only_similar)
        assert (found.no_similar_case, len(found.hits)) == (only_similar or None, 0 if only_similar else 4)
    thresholds["two_stage/distal_radius"] = -1.1
    assert ask(archive, EXAMS[0], only_similar=True).hits


def test_unknown_exams_and_missing_regions_are_problems(archive: Archive) -> None:
    unknown = "f" * 32
    query = Query(api.SearchParameters(), exam_id=unknown)
    for found in (archive.search(query), archive.exam(unknown), archive.crop(unknown, Region.WRIST)):
        assert isinstance(found, api.Problem)
        assert (found.status, found.code) == (404, "unknown_exam")
    missing = archive.crop(BARE, Region.DISTAL_RADIUS)
    assert isinstance(missing, api.Problem)
    assert missing.code == "no_region"


def test_an_exam_whose_wrist_was_not_embedded_can_be_asked_by_its_bone_alone(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = archive.index.look

    def wristless(exam_id: str) -> Holding | None:
        held = look(exam_id)
        return held and replace(held, vectors={r: v for r, v in held.vectors.items() if r is not Region.WRIST})

    monkeypatch.setattr(archive.index, "look", wristless)
    for mode in (api.Mode.TWO_STAGE, api.Mode.GLOBAL):
        found = archive.search(Query(api.SearchParameters(mode=mode), exam_id=EXAMS[0]))
        assert isinstance(found, api.Problem)
        assert (found.status, found.code) == (422, "no_query_vector")
    assert ask(archive, EXAMS[0], mode="region").hits


def test_a_crop_whose_store_is_away_is_no_fault_of_ours(archive: Archive, args: ServeArgs) -> None:
    Path(storage.run_uri(args.root, "crops", "r1"), "0.parquet").unlink()
    found = archive.crop(EXAMS[3], Region.DISTAL_ULNA)
    assert isinstance(found, api.Problem)
    assert (found.status, found.code) == (503, "store_away")


def test_an_exam_and_its_crop(archive: Archive) -> None:
    exam = archive.exam(BARE)
    assert isinstance(exam, api.Exam)
    assert set(exam.boxes) == {Region.WRIST}
    assert "p2" not in exam.model_dump_json()  # no patient, not even hashed
    assert archive.crop(EXAMS[3], Region.DISTAL_ULNA) == f"{EXAMS[3]}distal_ulna".encode()


def test_the_summary_counts(archive: Archive) -> None:
    summary = archive.summary()
    assert (summary.exams, summary.regions[Region.WRIST], summary.regions[Region.DISTAL_RADIUS]) == (6, 6, 5)


def test_a_new_index_of_the_same_making_can_be_swapped_in(args: ServeArgs) -> None:
    pins = preflight(args)
    publish_crops(args.root, "r2")
    publish_index(args.root, "r2", crops="r2")
    assert Archive.load(args, pins, SearchSettings(index_run="r2")).summary().lineage.index == "r2"
    assert Archive.load(args, pins, SearchSettings()).summary().lineage.index == "r1"


def test_an_index_of_other_crops_or_another_encoder_cannot(args: ServeArgs) -> None:
    pins = preflight(args)
    publish_crops(args.root, "r2", margin=0.2)
    publish_index(args.root, "r2", crops="r2")
    publish_index(args.root, "r3", digest="other")
    for run_id in ("r2", "r3"):
        with pytest.raises(IndexMismatch, match=run_id):
            Archive.load(args, pins, SearchSettings(index_run=run_id))


def test_a_newer_encoder_stops_the_start_unless_the_old_one_is_named(args: ServeArgs) -> None:
    publish(args.root, "encoder", "r2", metrics={"digest": "newer"})
    with pytest.raises(IndexMismatch, match="encoder_run: r1"):
        preflight(args)
    assert preflight(args.model_copy(update={"encoder_run": "r1"})).lineage.encoder == "r1"


@pytest.mark.parametrize("name", ["index", "encoder", "crops", "roi_detector", "bone_detector"])
def test_whatever_is_missing_is_named(args: ServeArgs, name: str) -> None:
    storage.delete_tree(storage.join(args.root, name))
    with pytest.raises(NotPublished, match=name):
        preflight(args)


def test_a_local_root_is_made_absolute_and_a_bucket_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ServeArgs(root="archive").root == str(tmp_path / "archive")
    assert ServeArgs(root="s3://bucket/archive").root == "s3://bucket/archive"
