"""What may be tuned about the index."""

from enum import StrEnum

from pydantic import Field

from wristmir_ray.anatomy import BONES, Region, Split
from wristmir_ray.config import JobConfig, PoolConfig, Section
from wristmir_ray.models.config import EncoderConfig


class Kind(StrEnum):
    """How a segment is scanned. Scores are full float32 products whatever the scan."""

    EXACT = "exact"
    """Every allowed row is scored."""
    CERTIFIED = "certified"
    """Compressed rows and their bounds leave most out; the answer is that of `exact` bit for bit."""
    IVF = "ivf"
    """FAISS, inverted lists: may miss a row; the recall measured (unfiltered) while building stands in answers."""
    HNSW = "hnsw"
    """FAISS, graph: likewise."""


class IndexConfig(Section):
    """What an index's segments hold beside their vectors."""

    kind: Kind = Field(Kind.CERTIFIED, description="how whole galleries are scanned")
    codes_min_rows: int = Field(5_000, ge=1, description="certified: smaller segments are scanned whole")
    pool: int = Field(100, ge=1, description="candidates for which codes are chosen and recall and threshold measured")
    probes: int = Field(16, ge=1, description="ivf: lists a query reads")
    ef_search: int = Field(256, ge=1, description="hnsw: breadth of a query, at least twice what it asks for")
    alpha: float = Field(0.05, gt=0, lt=1, description="share of queries that `no similar case` may turn away wrongly")
    calibration_queries: int = Field(1_000, ge=1, description="patients whose exams calibrate that threshold")


class RetrievalConfig(JobConfig):
    """Embed every crop and publish the index."""

    splits: list[Split] = Field(list(Split), description="whose exams are indexed; all for service, some for studies")
    regions: list[Region] = Field(
        list(BONES),
        description="bones whose vectors are stored beside whole wrists; the service computes the others when they are "
        "asked for, from the sources. [] = a non-cached archive (App. F)",
    )
    encoder: EncoderConfig | None = Field(
        None,
        description="null = the published encoder; else this one is published first, as it is, without training: "
        "a baseline, for evaluate too",
    )
    index: IndexConfig = IndexConfig()
    update: bool = Field(True, description="write only what changed, as one more segment, where that is possible")
    max_segments: int = Field(8, ge=1, description="more would be written as one: the index is compacted")
    max_dead_share: float = Field(0.2, ge=0, le=1, description="a larger share of dead rows: likewise")
    compact: bool = Field(False, description="only write the published index as one segment; embeds nothing")
    embed: PoolConfig = PoolConfig(batch_size=64)

    @property
    def stored(self) -> list[Region]:
        """Regions whose vectors the index holds, in the order of `Region`: whole wrists always."""
        return [r for r in Region if r is Region.WRIST or r in self.regions]
