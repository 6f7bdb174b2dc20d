"""The phantom archive on a real Ray: its layout, a second run, and other settings in the way."""

import shutil
from pathlib import Path

import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from wristmir_ray.config import RayConfig
from wristmir_ray.errors import ConfigError
from wristmir_ray.imaging.config import DecodeConfig
from wristmir_ray.imaging.decode import decode
from wristmir_ray.phantom.config import PhantomConfig
from wristmir_ray.phantom.pipeline import run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

EXAMS = 12


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PhantomConfig:
    out = tmp_path_factory.mktemp("phantoms") / "archive"
    return PhantomConfig(out=str(out), exams=EXAMS, seed=5, sealed_reports=20, ray=RayConfig(progress=False))


@pytest.fixture(scope="module")
def archive(config: PhantomConfig, local_ray: None) -> Path:
    summary = run(config)
    assert not summary.skipped
    assert summary.exit_code == 0
    assert summary.facts["exams"] == EXAMS
    assert sum(summary.facts["formats"].values()) == EXAMS
    return Path(config.out)


def _contents(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json"]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def test_layout(archive: Path) -> None:
    metadata = pacsv.read_csv(archive / "metadata.csv").to_pylist()
    reports = pacsv.read_csv(archive / "reports.csv", parse_options=pacsv.ParseOptions(newlines_in_values=True))
    truth = pq.read_table(archive / "truth.parquet").to_pylist()
    boxes = pq.read_table(archive / "boxes.parquet").to_pylist()
    assert len(metadata) == len(truth) == reports.num_rows == EXAMS
    files = sorted(m["file"] for m in metadata)
    assert files == sorted(f"images/{p.name}" for p in (archive / "images").iterdir())
    assert files == [t["file"] for t in truth]
    accessions = {m["accession"] for m in metadata}
    assert accessions == set(reports["accession"].to_pylist()) == {t["accession"] for t in truth}
    assert {b["file"] for b in boxes} == set(files)
    assert pq.read_metadata(archive / "sealed_reports.parquet").num_rows == 20
    assert not list(archive.parent.glob("*.making-*"))


def test_boxes_fit_the_images_that_ingest_reads(archive: Path) -> None:
    boxes = pq.read_table(archive / "boxes.parquet").to_pylist()
    sizes = {}
    for path in (archive / "images").iterdir():
        shown = decode(path.read_bytes(), DecodeConfig())
        sizes[f"images/{path.name}"] = (shown.stored_rows, shown.stored_cols)
    for box in boxes:
        rows, cols = sizes[box["file"]]
        assert 0 <= box["x0_px"] < box["x1_px"] <= cols
        assert 0 <= box["y0_px"] < box["y1_px"] <= rows


def test_the_same_again_is_skipped(archive: Path, config: PhantomConfig) -> None:
    before = _contents(archive)
    summary = run(config)
    assert summary.skipped
    assert summary.facts["exams"] == EXAMS
    assert _contents(archive) == before


def test_other_settings_need_another_folder(archive: Path, config: PhantomConfig) -> None:
    before = _contents(archive)
    with pytest.raises(ConfigError, match="choose another `out` or set replace"):
        run(config.with_(seed=6))
    assert _contents(archive) == before


def test_an_archive_can_be_replaced_and_nothing_else_can(archive: Path, config: PhantomConfig, tmp_path: Path) -> None:
    out = tmp_path / "archive"
    shutil.copytree(archive, out)
    other = config.with_(out=str(out), seed=6, replace=True)
    assert not run(other).skipped
    assert run(other).skipped
    assert _contents(out) != _contents(archive)
    (out / "manifest.json").unlink()
    with pytest.raises(ConfigError, match="no phantom archive"):
        run(other)


def test_equal_bytes_whatever_the_batches(archive: Path, config: PhantomConfig) -> None:
    again = config.with_(out=f"{config.out}-again", pool=config.pool.model_copy(update={"batch_size": 3}))
    run(again)
    assert _contents(Path(again.out)) == _contents(archive)


def test_unwritable_out_is_one_line(config: PhantomConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write"):
        run(config.with_(out=str(tmp_path / "file" / "archive")))
