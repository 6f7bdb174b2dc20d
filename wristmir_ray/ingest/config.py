"""What may be tuned about ingest."""

from datetime import date
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from wristmir_ray.anatomy import Sex, Side, View
from wristmir_ray.config import JobConfig, PoolConfig, Section
from wristmir_ray.imaging.config import DecodeConfig, DeidConfig


def _folded(value: Any) -> Any:
    """Make a value map's keys text in lower case, since YAML reads 1 as a number."""
    return {str(k).strip().casefold(): v for k, v in value.items()} if isinstance(value, dict) else value


class TableFile(Section):
    """A table that lies beside the images."""

    path: str | None = Field(None, description="CSV, Parquet or JSONL file, local or s3://; null for none")
    encoding: str = Field("utf8", description="text encoding of a CSV; a byte order mark is skipped")
    delimiter: str = Field(",", min_length=1, max_length=1, description="separator of a CSV")


class MetadataColumns(Section):
    """Which column of the table holds what; null where the table has no such column."""

    file: str = Field("file", description="path (its end is enough), file name, or file name without extension")
    patient_id: str | None = Field(None, description="patient's identifier; stored as a keyed hash only")
    accession: str | None = Field(None, description="the study's identifier, which reports refer to")
    laterality: str | None = Field(None, description="side")
    view: str | None = Field(None, description="projection")
    age_years: str | None = Field(None, description="age in years")
    sex: str | None = Field(None, description="sex")
    study_date: str | None = Field(None, description="YYYY-MM-DD or YYYYMMDD")


class ValueMaps(Section):
    """How the table spells things; keys are matched whole, without regard to case."""

    laterality: Annotated[dict[str, Side], BeforeValidator(_folded)] = Field(
        {"left": Side.LEFT, "l": Side.LEFT, "right": Side.RIGHT, "r": Side.RIGHT}, description="spelling -> side"
    )
    view: Annotated[dict[str, View], BeforeValidator(_folded)] = Field(
        {
            "pa": View.PA,
            "ap": View.PA,
            "dp": View.PA,
            "lateral": View.LATERAL,
            "lat": View.LATERAL,
            "oblique": View.OBLIQUE,
        },
        description="spelling -> view",
    )
    sex: Annotated[dict[str, Sex], BeforeValidator(_folded)] = Field(
        {"female": Sex.FEMALE, "f": Sex.FEMALE, "male": Sex.MALE, "m": Sex.MALE, "other": Sex.OTHER, "o": Sex.OTHER},
        description="spelling -> sex",
    )


class MetadataConfig(TableFile):
    """The table of what is known of each image; it wins over a DICOM header."""

    columns: MetadataColumns = MetadataColumns()
    values: ValueMaps = ValueMaps()


class ReportColumns(Section):
    """Which column of the reports table holds what."""

    accession: str = Field("accession", description="the study's identifier, as in the metadata or the header")
    text: str = Field("report", description="the report; several rows of one study are joined in order")


class ReportsConfig(TableFile):
    """The table of reports."""

    columns: ReportColumns = ReportColumns()


class GateConfig(DeidConfig):
    """The de-identification gate, and what a person has let through it."""

    release: str | None = Field(
        None,
        description="text file, local or s3://, of source ids, one a line, # for comments: a person looked at these",
    )


class SplitConfig(Section):
    """Shares of patients; the rest trains. A patient is in one split, whatever the archive's order."""

    val_share: float = Field(0.1, ge=0, le=1, description="share of patients that choose checkpoints")
    test_share: float = Field(0.3, ge=0, le=1, description="share of patients that are held out")

    @model_validator(mode="after")
    def _leaves_train(self) -> Self:
        if self.val_share + self.test_share >= 1:
            raise ValueError("val_share + test_share must be below 1, or nothing is left to train on")
        return self


class DicomwebConfig(Section):
    """What is asked of a DICOMweb server, and with how much patience. Credentials stand in the environment alone."""

    modalities: list[str] = Field(["DX", "CR"], description="Modality, one query each; [] asks for any")
    body_parts: list[str] = Field(
        [], description="BodyPartExamined, one query each; [] asks for any (many archives leave it empty)"
    )
    study_date_from: date | None = Field(None, description="first StudyDate; null for no bound")
    study_date_to: date | None = Field(None, description="last StudyDate; null for no bound")
    days_per_query: int | None = Field(
        None, ge=1, description="cut the dates into queries of so many days: deep paging is slow; needs both dates"
    )
    page_size: int = Field(500, ge=1, description="instances asked for at a time; a server may give fewer")
    timeout_s: float = Field(30.0, gt=0, description="seconds without a byte after which a request is given up")
    attempts: int = Field(5, ge=1, description="tries a request, after waits of 1, 2, 4, ... s")
    max_connections: int = Field(8, ge=1, description="requests at a time, over the whole cluster")

    @model_validator(mode="after")
    def _dates_fit(self) -> Self:
        first, last = self.study_date_from, self.study_date_to
        if first and last and first > last:
            raise ValueError("study_date_from must not lie behind study_date_to")
        if self.days_per_query and not (first and last):
            raise ValueError("days_per_query needs study_date_from and study_date_to")
        return self


class IngestConfig(JobConfig):
    """Settings of `jobs/ingest.py`."""

    images: str = Field(
        description="folder, s3:// prefix, one file, glob (a/**/*.png), @LIST (a text file with one address a line), "
        "or dicomweb+https://host/path"
    )
    dicomweb: DicomwebConfig = DicomwebConfig()
    metadata: MetadataConfig = MetadataConfig()
    reports: ReportsConfig = ReportsConfig()
    decode: DecodeConfig = DecodeConfig()
    deid: GateConfig = GateConfig()
    split: SplitConfig = SplitConfig()
    assume_view: View | None = Field(
        None, description="view of an image of which neither header nor table names one; null rejects it"
    )
    max_file_mib: int = Field(512, ge=1, description="larger objects are rejected unread: a worker holds a file whole")
    pool: PoolConfig = PoolConfig(batch_size=32)
