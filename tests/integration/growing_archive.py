"""An archive that grows: radiographs with their tables, and ingest runs that count what they decode."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.fakes import counting_decode
from tests.overlays import fonts, text
from tests.unit.imaging import samples
from wristmir_ray import storage
from wristmir_ray.ingest.config import IngestConfig, MetadataColumns, MetadataConfig, ReportsConfig
from wristmir_ray.ingest.pipeline import run
from wristmir_ray.job import Summary
from wristmir_ray.schemas import EXAMS, REPORTS, SOURCES
from wristmir_ray.tables import Table

COLUMNS = MetadataColumns(
    file="file", patient_id="patient_id", accession="accession", view="view", age_years="age", sex="sex"
)


class GrowingArchive:
    """Images `NNN.png` and `NNN.dcm` by number; what a number holds never changes, unless it is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True, exist_ok=True)

    def add(self, *numbers: int) -> None:
        for n in numbers:
            picture = np.roll(samples.pixels(12, 40, 40), n, axis=1)
            if n % 2:
                data = samples.write(samples.dataset(picture, SOPInstanceUID=f"1.2.{n}", PatientID=f"P{n // 4}"))
            else:
                data = samples.png(picture * 16)
            file = self.file(n)
            file.write_bytes(data)
            os.utime(file, (1_700_000_000, 1_700_000_000 + n))

    def add_held(self, named: int, written: int) -> None:
        """Add an object whose header names a person (odd number), and one with a line of text in it (even)."""
        self.add(named, written)
        picture = np.roll(samples.pixels(12, 40, 40), named, axis=1)
        header = samples.dataset(picture, SOPInstanceUID=f"1.2.{named}", PatientName="Musterfrau^Erika")
        self.file(named).write_bytes(samples.write(header))
        pixels = np.full((120, 260), 900, np.uint16)
        mask = text.block(["MUSTERFRAU, ERIKA"], fonts.DEVELOPED["DejaVu Sans"], 12)
        pixels[20 : 20 + mask.shape[0], 30 : 30 + mask.shape[1]][mask > 128] = 4000
        self.file(written).write_bytes(samples.png(pixels << 4))
        for n in (named, written):
            os.utime(self.file(n), (1_700_000_000, 1_700_000_000 + n))

    def file(self, number: int) -> Path:
        return self.images / f"{number:03d}.{'dcm' if number % 2 else 'png'}"

    def write_tables(self, count: int, lateral: tuple[int, ...] = (), age: float = 9.0, word: str = "fracture") -> None:
        rows = [f"{n:03d},P{n // 4},A{n // 2},{'lateral' if n in lateral else 'pa'},{age},female" for n in range(count)]
        (self.folder / "metadata.csv").write_text("\n".join(["file,patient_id,accession,view,age,sex", *rows]) + "\n")
        texts = [f"A{n},Report {n}: no {word}." for n in range(count // 2)]
        (self.folder / "reports.csv").write_text("\n".join(["accession,report", *texts]) + "\n")

    def config(self, root: str, **more: Any) -> IngestConfig:
        return IngestConfig(
            root=str(self.folder / root),
            metadata=MetadataConfig(path=str(self.folder / "metadata.csv"), columns=COLUMNS),
            reports=ReportsConfig(path=str(self.folder / "reports.csv")),
            **{"fragment_rows": 4, "images": str(self.images), "ray": {"progress": False}, **more},
        )

    def ingest(self, root: str, seconds: float = 0.0, **more: Any) -> tuple[Summary, int]:
        """Run the job; return its summary and how many objects it decoded."""
        log = self.folder / f"decoded-{os.getpid()}"  # a killed run's workers may outlive it by a moment
        log.write_text("")
        summary = run(self.config(root, **more), partial(counting_decode, log=str(log), seconds=seconds))
        return summary, len(log.read_text().split())

    def same(self, one: str, other: str, tables: tuple[Table, ...] = (SOURCES, EXAMS, REPORTS)) -> bool:
        """Whether two roots hold equal tables, bit for bit."""
        pairs = [[storage.read_table(str(self.folder / r), t, good_only=False) for r in (one, other)] for t in tables]
        return all(a.equals(b) and a.num_rows for a, b in pairs)
