"""Real input: a folder as hospitals have them, good radiographs among everything else."""

import shutil
from pathlib import Path
from typing import Any

from wristmir_ray import storage
from wristmir_ray.config import load_config
from wristmir_ray.demo.config import DemoConfig
from wristmir_ray.demo.pictures import png_uri
from wristmir_ray.demo.report import drawn
from wristmir_ray.schemas import CROPS, EXAMS, REGIONS


def mixed_folder(radiographs: Path, destination: Path) -> Path:
    """Fill a folder with real radiographs, pydicom's packaged test files, and broken files.

    Args:
        radiographs: folder with the real PNG files and their `dataset.csv`.
        destination: is made; what is there already is kept.

    Returns:
        The destination. It holds one lateral view, a truncated PNG, an empty file and a text file
        called .dcm beside the good ones.
    """
    import pydicom

    destination.mkdir(parents=True, exist_ok=True)
    images = sorted(radiographs.glob("*.png"))
    packaged = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    for file in [*images, *packaged]:
        if not (destination / file.name).exists():
            shutil.copy2(file, destination / file.name)
    broken = {
        "truncated.png": images[0].read_bytes()[:2000],
        "empty.png": b"",
        "text.dcm": b"This is a letter, not an image.\n" * 20,
    }
    for name, data in broken.items():
        if not (destination / name).exists():
            (destination / name).write_bytes(data)
    return destination


def run_real(config: DemoConfig, jobs: Path, real_data: str | None) -> dict[str, Any]:
    """Ingest and preprocess real radiographs with detectors trained on phantoms: `real_detectors`, or the demo's own.

    Returns:
        Template values `real` and `real_note`; empty where no real radiographs are at hand.
    """
    if not real_data:
        return {"real": [], "real_note": ""}
    from wristmir_ray.ingest.config import IngestConfig
    from wristmir_ray.ingest.pipeline import run as ingest
    from wristmir_ray.preprocess.config import PreprocessConfig
    from wristmir_ray.preprocess.pipeline import run as preprocess

    radiographs = Path(real_data) / "grazpedwri"
    root = storage.join(config.root, "real")
    folder = mixed_folder(radiographs, Path(root) / "input")
    where = ["--root", root, "--images", str(folder), "--metadata.path", str(radiographs / "dataset.csv")]
    found = ingest(load_config(IngestConfig, where, jobs / "ingest_grazpedwri.yaml"))
    print(found, flush=True)
    where = ["--root", root, "--detectors", config.real_detectors or config.archive, "--max_reject_share", "1"]
    print(preprocess(load_config(PreprocessConfig, where, jobs / "preprocess.yaml")), flush=True)
    rejected = sum(found.rejects.values())
    codes = ", ".join(f"{n} {code}" for code, n in sorted(found.rejects.items()))
    note = (
        f"{found.rows} files: {found.rows - rejected} good rows, {rejected} rejected ({codes}). The detectors have "
        "seen phantoms only. Radiographs: GRAZPEDWRI-DX, Nagy et al. 2022, CC BY 4.0."
    )
    return {"real": _pictures(root), "real_note": note}


def _pictures(root: str) -> list[dict[str, Any]]:
    regions, crops = storage.KeyedReader(root, REGIONS), storage.KeyedReader(root, CROPS)
    pictures = []
    for exam in storage.read_table(root, EXAMS).to_pylist():
        found = regions.rows(exam["exam_id"])
        count = sum(r["error"] is None for r in found)
        picture = drawn(exam["source_uri"], found, f"{exam['format']}, {count} of 4 regions found")
        images = [png_uri(c["png"]) for c in crops.rows(exam["exam_id"]) if c["png"]]
        pictures.append({**picture, "crops": images})
    return pictures
