"""The preprocess job on a real local Ray: every exam ends as four regions."""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.unit.models.test_detector import constant_network
from tests.unit.preprocess.fake_detectors import fake_load
from wristmir_ray import keys, raydata, storage
from wristmir_ray.anatomy import BONES, Region
from wristmir_ray.config import PoolConfig
from wristmir_ray.errors import ConfigError, NotPublished
from wristmir_ray.imaging.config import EnhanceConfig
from wristmir_ray.imaging.crop import decode_png, encode_png
from wristmir_ray.models.detector import BONE_DETECTOR, MODEL_FILE, ROI_DETECTOR, SPEC_FILE, DetectorSpec
from wristmir_ray.preprocess.config import PreprocessConfig, RegionConfig
from wristmir_ray.preprocess.extractor import load_extractor
from wristmir_ray.preprocess.pipeline import run
from wristmir_ray.schemas import CROPS, EXAMS, REGIONS
from wristmir_ray.tables import conform

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

GOOD, BAD = 21, 4


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 255, (180, 120), np.uint8)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """EXAMS of good images, and one each truncated, without a wrist, gone, replaced, rejected."""
    files = {f"{i:02d}": encode_png(picture(i)) for i in range(GOOD)}
    files |= {"cut": files["00"][:500], "dark": encode_png(np.eye(180, 120, dtype=np.uint8) * 255)}
    files |= {"replaced": encode_png(picture(99))}
    for name, data in files.items():
        (tmp_path / f"{name}.png").write_bytes(data)
    rows = [
        {
            "source_id": f"s{n}",
            "exam_id": f"e{n}",
            "source_uri": str(tmp_path / f"{n}.png"),
            "pixel_id": keys.pixel_id(picture(int(n))) if n.isdigit() else "seen" if n == "replaced" else None,
            "split": "test" if n < "10" else "train",
            "error": "view_not_pa" if n == "lateral" else None,
        }
        for n in [*files, "gone", "lateral"]
    ]
    _publish_exams(tmp_path, rows)
    for name in (ROI_DETECTOR, BONE_DETECTOR):
        _publish_model(tmp_path, name, {})
    return tmp_path


def _publish_exams(root: Path, rows: list[dict[str, object]]) -> None:
    table = conform(rows, EXAMS).sort_by("source_id")
    storage.write_parquet(table, storage.join(storage.run_uri(str(root), EXAMS.name, "x1"), "a.parquet"), 64)
    manifest = storage.Manifest(EXAMS.name, "x1", "ingest", schema=EXAMS.fingerprint, files=["a.parquet"])
    storage.publish(str(root), manifest)


def _publish_model(root: Path, name: str, config: dict[str, object], digest: str = "") -> None:
    manifest = storage.Manifest(name, "m1", "train_detector", metrics={"digest": digest or name}, config=config)
    storage.publish(str(root), manifest)


def _config(root: Path, **more: object) -> PreprocessConfig:
    one = PoolConfig(batch_size=4)
    return PreprocessConfig(root=str(root), fragment_rows=8, max_reject_share=1, read=one, detect=one, **more)


def _publish_networks(root: Path) -> None:
    """Detectors that find a wrist and three bones at places that hang on the image by their scores alone."""
    roi, bones = np.zeros((5, 1)), np.zeros((7, 3))
    roi[:, 0] = [32, 32, 30, 50, 0.8]
    for i in range(3):
        bones[:4, i] = [25 + 4 * i, 40, 12, 16]
        bones[4 + i, i] = 0.9
    for name, classes, output in ((ROI_DETECTOR, (Region.WRIST,), roi), (BONE_DETECTOR, BONES, bones)):
        model = constant_network(output, symbolic=True)
        spec = DetectorSpec(classes, 64, (0.5,) * len(classes), 0.5).sealed(model)
        folder = storage.run_uri(str(root), name, "m1")
        storage.write_bytes(storage.join(folder, MODEL_FILE), model)
        storage.write_bytes(storage.join(folder, SPEC_FILE), spec.to_json().encode())
        _publish_model(root, name, {}, spec.digest)


def test_every_exam_ends_as_four_regions(archive: Path) -> None:
    config = _config(archive, preview=3)
    done = run(config, fake_load)
    exams = GOOD + BAD
    codes = ("corrupt_image", "source_unreadable", "source_changed", "no_wrist")
    assert done.rows == 4 * exams
    assert done.rejects == dict.fromkeys(codes, 4) | {"no_region": GOOD}
    assert done.facts["found_wrist"] == pytest.approx(GOOD / exams, abs=1e-4)
    assert done.facts["found_ulnar_styloid"] == 0

    regions = storage.read_table(str(archive), REGIONS, good_only=False).to_pylist()
    crops = storage.read_table(str(archive), CROPS, good_only=False).to_pylist()
    for table in (regions, crops):
        keys = [(r["exam_id"], r["region"]) for r in table]
        assert keys == sorted(set(keys))
        assert Counter(e for e, _ in keys) == dict.fromkeys({k[0] for k in keys}, 4)
    assert [r["error"] for r in regions] == [c["error"] for c in crops]
    assert {r["exam_id"] for r in crops if r["error"] == "corrupt_image"} == {"ecut"}
    assert {r["exam_id"] for r in crops if r["error"] == "source_changed"} == {"ereplaced"}
    assert "elateral" not in {r["exam_id"] for r in crops}

    wrist = next(r for r in regions if (r["exam_id"], r["region"]) == ("e05", "wrist"))
    assert [wrist[n] for n in ("x0_px", "y0_px", "x1_px", "y1_px")] == [24, 18, 96, 162]
    assert wrist["detector_digest"] == ROI_DETECTOR
    assert {c["split"] for c in crops if c["exam_id"] == "e05"} == {"test"}

    sheet = storage.read_bytes(storage.join(storage.run_uri(str(archive), "crops", done.runs["crops"]), "preview.png"))
    assert cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_COLOR).shape == (20 + 3 * (20 + 256), 5 * 256, 3)

    again = run(config, fake_load)
    assert again.skipped
    assert again.runs == done.runs
    assert run(config.with_(regions=RegionConfig(crop_size=64)), fake_load).runs != done.runs


def test_an_image_that_can_be_read_again_is_cut_by_the_next_run(archive: Path) -> None:
    first = run(_config(archive), fake_load)
    assert run(_config(archive), fake_load).skipped, "nothing has changed"

    (archive / "gone.png").write_bytes(encode_png(picture(77)))
    second = run(_config(archive), fake_load)
    assert second.runs["crops"] != first.runs["crops"]
    assert second.facts["taken_over"] == GOOD + 2, "all but the two that another try may mend"
    assert "source_unreadable" not in second.rejects
    assert second.rejects["source_changed"] == 4
    shown = {c["region"] for c in storage.read_table(str(archive), CROPS).to_pylist() if c["exam_id"] == "egone"}
    assert "wrist" in shown

    third = run(_config(archive), fake_load)
    assert third.skipped
    assert third.runs == second.runs

    (archive / "gone.png").unlink()
    assert run(_config(archive), fake_load).runs == second.runs, "what is cut stays cut"


def test_a_query_goes_through_what_the_archive_went_through(archive: Path) -> None:
    _publish_networks(archive)
    regions = RegionConfig(bone_margin=0.3, crop_size=96, same_bone_iou=1.0)
    done = run(_config(archive, regions=regions))
    assert done.facts["found_ulnar_styloid"] > 0.8
    stored = {
        (c["exam_id"], c["region"]): decode_png(c["png"]) for c in storage.read_table(str(archive), CROPS).to_pylist()
    }
    extract = load_extractor(str(archive))
    for i in (0, 7, 20):
        gray = decode_png((archive / f"{i:02d}.png").read_bytes())
        fresh = _windowed(gray)
        for found in extract(fresh):
            assert found.crop is not None
            np.testing.assert_array_equal(found.crop, stored[f"e{i:02d}", found.region])


ON_A_GPU = """
import ray
from wristmir_ray.config import PoolConfig
from wristmir_ray.preprocess.config import PreprocessConfig
from wristmir_ray.preprocess.pipeline import run

ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
runtime = {"backend": "onnxruntime", "precision": "float32", "batch_size": 4}
detect = PoolConfig(batch_size=4, num_cpus=2, num_gpus=1)
run(PreprocessConfig(root=ROOT, max_reject_share=1, runtime=runtime, read=PoolConfig(batch_size=4), detect=detect))
"""


def test_the_plan_for_a_gpu_gives_the_same_tables(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _publish_networks(archive)
    other = tmp_path_factory.mktemp("gpu") / "archive"
    shutil.copytree(archive, other)
    cpu = run(_config(archive, runtime={"backend": "onnxruntime", "precision": "float32"}))
    code = ON_A_GPU.replace("ROOT", repr(str(other)))
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    for table in (REGIONS, CROPS):
        on_cpu = storage.read_table(str(archive), table, cpu.runs[table.name], good_only=False)
        on_gpu = storage.read_table(str(other), table, good_only=False)
        assert on_gpu.equals(on_cpu)
        assert on_cpu.num_rows == 4 * (GOOD + BAD)


def _windowed(gray: np.ndarray) -> np.ndarray:
    from wristmir_ray.imaging.config import DecodeConfig
    from wristmir_ray.imaging.decode import decode

    return decode(encode_png(gray), DecodeConfig()).gray


def test_a_bone_detector_of_another_enhancement_is_refused(archive: Path) -> None:
    trained_with = EnhanceConfig(unsharp_amount=0.0).model_dump(mode="json")
    _publish_model(archive, BONE_DETECTOR, {"enhance": trained_with})
    with pytest.raises(ConfigError, match=r"regions\.enhance"):
        run(_config(archive), fake_load)
    _publish_model(archive, BONE_DETECTOR, {"roi_margin": 0.2})
    with pytest.raises(ConfigError, match=r"regions\.roi_margin"):
        run(_config(archive), fake_load)


def test_detectors_may_stand_elsewhere_and_must_stand_somewhere(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="roi_detector"):
        run(_config(archive, detectors=str(tmp_path / "nowhere")), fake_load)


def test_with_gpus_decoding_stands_before_the_detectors_and_gives_the_same(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages of a GPU pool, placed on CPUs: the pipeline is chosen by `num_gpus`, this machine has none."""
    run(_config(archive), fake_load)
    one_stage = [storage.read_table(str(archive), t, good_only=False) for t in (REGIONS, CROPS)]
    for name in (REGIONS.name, CROPS.name):
        storage.delete_tree(str(archive / name))
    placed = raydata.actors
    seen: list[float] = []

    def on_cpus(pool: PoolConfig) -> dict[str, object]:
        seen.append(pool.num_gpus)
        return placed(pool.model_copy(update={"num_gpus": 0.0}))

    monkeypatch.setattr(raydata, "actors", on_cpus)
    config = _config(archive).with_(detect=PoolConfig(batch_size=4, num_gpus=1))
    assert not run(config, fake_load).skipped
    assert seen == [1]
    for before, table in zip(one_stage, (REGIONS, CROPS), strict=True):
        assert storage.read_table(str(archive), table, good_only=False).equals(before)


def test_a_death_between_two_tables_leaves_the_first_as_it_is(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = storage.publish

    def die_at_crops(root: str, manifest: storage.Manifest) -> storage.Manifest:
        if manifest.name == CROPS.name:
            raise KeyboardInterrupt
        return publish(root, manifest)

    with monkeypatch.context() as m:
        m.setattr(storage, "publish", die_at_crops)
        with pytest.raises(KeyboardInterrupt):
            run(_config(archive), fake_load)
    files = storage.table_files(str(archive), storage.published(str(archive), REGIONS.name))
    before = [Path(f).stat().st_mtime_ns for f in files]
    done = run(_config(archive), fake_load)
    assert [Path(f).stat().st_mtime_ns for f in files] == before
    assert done.resumed_rows == GOOD + BAD
    rows = [storage.read_table(str(archive), t, good_only=False).num_rows for t in (REGIONS, CROPS)]
    assert rows == [4 * (GOOD + BAD)] * 2
