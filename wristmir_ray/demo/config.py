"""What the demo may be told."""

from pydantic import Field

from wristmir_ray.config import JobConfig, Place


class DemoConfig(JobConfig):
    """Run the whole line on a synthetic archive: phantoms, ingest, mining, detectors, crops, CLIP, index, query."""

    root: Place = Field("artifacts/demo", description="folder that gets the archive, the tables and the report")
    exams: int = Field(1600, ge=40, description="synthetic exams")
    sealed_reports: int = Field(
        1000, ge=20, description="reports from the sealed sentence bank, for the findings score"
    )
    seed: int = Field(0, ge=0, description="seed of the archive, the trainings and the bootstrap")
    seeds: list[int] = Field([], description="run once a seed, each below root/seed-N, and tabulate")
    results: str = Field(
        "tests/bench/results/demo_seeds.json", description="where the figures of a run over several seeds are kept"
    )
    real_detectors: Place | None = Field(
        None,
        description="root of the detectors that look at real radiographs (README, Detectors for real images); default: "
        "the demo's own",
    )
    overrides: dict[str, dict[str, str]] = Field(
        {}, description="step -> {dotted.setting: value} laid over that job's YAML (small runs, tests)"
    )

    @property
    def phantoms(self) -> str:
        """The synthetic archive."""
        return f"{self.root}/phantoms"

    @property
    def archive(self) -> str:
        """Where the line publishes its tables and models."""
        return f"{self.root}/archive"


class AblationConfig(JobConfig):
    """Train the demo's encoder in the paper's variants, over several seeds, on one synthetic archive, and tabulate."""

    root: Place = Field("artifacts/ablation", description="folder that gets the archive, every run and the tables")
    exams: int = Field(1600, ge=40, description="synthetic exams of the one archive")
    archive_seed: int = Field(0, ge=0, description="seed of the archive and of the detectors")
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="seeds of training: weights, order, augmentation")
    epochs: int = Field(6, ge=1, description="passes over the pairs of every variant but the one of equal steps")
    overrides: dict[str, dict[str, str]] = Field(
        {}, description="step -> {dotted.setting: value} laid over that job's YAML in every variant (small runs, tests)"
    )
