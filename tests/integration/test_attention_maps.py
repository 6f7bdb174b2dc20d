"""The attention job on a real Ray: pictures and a sheet are published, what cannot be drawn is said."""

import numpy as np
import pytest

from tests.integration.tiny_world import World, make_world, publish_encoder
from wristmir_ray import storage
from wristmir_ray.attention.config import AttentionConfig
from wristmir_ray.attention.overlay import HEADER_PX, of_png
from wristmir_ray.attention.pipeline import NAME, SHEET, rows_of, run
from wristmir_ray.attention.stages import against
from wristmir_ray.errors import ConfigError
from wristmir_ray.schemas import CROPS

pytestmark = pytest.mark.ray
COARSE = {"window": 0.5, "stride": 0.5}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = make_world(tmp_path_factory.mktemp("world"))
    publish_encoder(world.root, "before", seed=1)
    publish_encoder(world.root)
    return world


def config(world: World, **settings: object) -> AttentionConfig:
    return AttentionConfig(
        root=world.root,
        ray={"progress": False},
        split="train",
        count=2,
        tile_px=64,
        map=settings.pop("map", COARSE),
        **settings,
    )


def picture(world: World, run_id: str, name: str) -> np.ndarray:
    return of_png(storage.read_bytes(storage.join(storage.run_uri(world.root, NAME, run_id), name)))


@pytest.mark.usefixtures("local_ray")
def test_two_encoders_make_a_sheet_of_three_columns(world: World) -> None:
    summary = run(config(world, before_run="before"))
    run_id = summary.runs[NAME]
    manifest = storage.published(world.root, NAME)
    exams = {f.split("_")[0] for f in manifest.files} - {SHEET}
    fractured = {e for i, e in enumerate(world.images) if i % 3 == 0 and i % 2 == 0}
    assert exams == set(sorted(fractured)[:2])
    assert set(manifest.files) == {SHEET, *(f"{e}_{n}.png" for e in exams for n in ("before", "after"))}
    assert picture(world, run_id, SHEET).shape == (HEADER_PX + 2 * 64, 3 * 64, 3)
    exam = min(exams)
    before, after = (picture(world, run_id, f"{exam}_{n}.png") for n in ("before", "after"))
    crop = picture(world, run_id, SHEET)[HEADER_PX : HEADER_PX + 64, :64]
    assert (crop[:, :, 0] == crop[:, :, 2]).all()
    assert (before != crop).any()
    assert (before != after).any()
    again = run(config(world, before_run="before"))
    assert again.skipped
    assert again.runs == summary.runs


@pytest.mark.usefixtures("local_ray")
def test_exams_are_named_and_held_against_another_exam(world: World) -> None:
    named = min(world.images)
    settings = {"exams": [named, "f" * 32], "target": "exam", "similar_to": max(world.images)}
    assert run(config(world, **settings)).rejects == {"no_region": 1}
    assert {f"{named}_after.png", SHEET} == set(storage.published(world.root, NAME).files)


def test_what_is_asked_is_what_the_target_says(world: World) -> None:
    """Without Ray: a fracture against no fracture and the other way round, the caption alone, a text."""
    inputs = {n: storage.published(world.root, n).run_id for n in ("crops", "captions")}
    broken, whole = (list(world.images)[i] for i in (0, 1))
    captions = {b: f"distal radius region showing {b} fracture." for b in ("buckle", "no")}
    first, second = rows_of(config(world, exams=[broken, whole]), inputs).to_pylist()
    assert (first["caption"], first["against"]) == (captions["buckle"], captions["no"])
    assert (second["caption"], second["against"]) == (captions["no"], captions["buckle"])
    (row,) = rows_of(config(world, exams=[broken], target="caption"), inputs).to_pylist()
    assert (row["caption"], row["against"], row["other_png"]) == (captions["buckle"], None, None)
    (row,) = rows_of(config(world, exams=["f" * 32], target="text", text="a cast"), inputs).to_pylist()
    assert (row["caption"], row["png"]) == ("a cast", None)


def test_a_caption_is_held_against_one_of_its_own_side() -> None:
    others = {"Left wrist showing no fracture.": 5, "Right wrist showing no fracture.": 9, "Left wrist seen.": 1}
    assert against("Left wrist showing a fracture.", others) == "Left wrist showing no fracture."
    assert against("Right wrist showing a fracture.", others) == "Right wrist showing no fracture."
    assert against("Left wrist seen.", {"Left wrist seen.": 3}) is None


def test_what_cannot_be_drawn_is_refused_before_any_work(world: World) -> None:
    for settings, said in (
        ({"map": {"method": "rollout"}}, "rollout needs a Vision Transformer"),
        ({"exams": ["e" * 32]}, "has no caption of the distal radius"),
        ({"region": "ulnar_styloid"}, "no exam of split train has a fracture of the ulnar styloid"),
        ({"target": "exam", "similar_to": "e" * 32}, "similar_to: exam e+ has no crop"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(config(world, **settings))
    with pytest.raises(ValueError, match="give both or neither"):
        config(world, target="text")


def test_an_exams_own_crop_is_what_is_drawn(world: World) -> None:
    """Without Ray: the stage's rows, a reject beside a good one."""
    from wristmir_ray.attention.config import MapConfig
    from wristmir_ray.attention.stages import ASKED, DrawMaps
    from wristmir_ray.imaging.crop import decode_png, resize
    from wristmir_ray.models.encoder import load_encoder
    from wristmir_ray.tables import conform

    exam = min(world.images)
    png = next(r["png"] for r in storage.KeyedReader(world.root, CROPS).rows(exam) if r["region"] == "distal_radius")
    rows = [
        {"exam_id": "good", "png": png, "caption": "a fracture"},
        {"exam_id": "broken", "png": b"no png", "caption": "a fracture"},
        {"exam_id": "same", "png": png, "caption": "a fracture", "against": "a fracture"},
    ]
    stage = DrawMaps({"after": lambda: load_encoder(world.root)}, MapConfig(**COARSE), 64)
    good, broken, same = stage(conform(rows, ASKED)).to_pylist()
    assert np.array_equal(of_png(good["crop"])[:, :, 0], resize(decode_png(png), 64, 64))
    assert (broken["error"], broken["after"]) == ("corrupt_image", None)
    assert same["error"] == "stage_failed"
