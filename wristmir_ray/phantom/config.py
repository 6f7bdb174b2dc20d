"""What may be tuned when phantoms are made."""

from pydantic import Field

from wristmir_ray.config import JobConfig, Place, PoolConfig


class PhantomConfig(JobConfig):
    """Make a synthetic archive of paediatric wrist radiographs with reports and ground truth."""

    root: Place = Field("artifacts/archive", description="not used: phantoms are an input, they go to `out`")
    out: Place = Field(
        "artifacts/phantoms", description="folder of the archive; it must be new, and seen by all workers"
    )
    exams: int = Field(1600, ge=1, description="images")
    seed: int = Field(0, ge=0, description="same seed, same bytes")
    png_share: float = Field(0.4, ge=0, le=1, description="share of exams stored as 16-bit PNG, the others are DICOM")
    monochrome1_share: float = Field(0.3, ge=0, le=1, description="share of DICOM exams stored inverted")
    sealed_reports: int = Field(1000, ge=0, description="reports from the sealed sentence bank, to score mining on")
    replace: bool = Field(False, description="remove an archive of other settings, or of another version, at `out`")
    pool: PoolConfig = PoolConfig(batch_size=8)
