"""What may be tuned in serving: the arguments of `build_app` and the hot settings of two deployments."""

from pydantic import Field

from wristmir_ray import storage
from wristmir_ray.config import Place, Section
from wristmir_ray.models.networks import RuntimeConfig
from wristmir_ray.serving.api import MAX_DEADLINE_S
from wristmir_ray.serving.limits import RateLimit


class ServeArgs(Section):
    """`args` of the application in `serve_config.yaml`."""

    root: Place = Field(description="folder or s3:// prefix of tables and models")
    name: str = Field("archive", min_length=1, description="the archive's name in GET /v1/archives")
    index_run: str | None = Field(None, description="run of the index to serve; default the published one")
    encoder_run: str | None = Field(
        None, description="run of the encoder; default the published one, which must be the one the index was built by"
    )
    reject_identified: bool = Field(
        False,
        description="refuse an upload whose header holds direct identifiers (ingest's default profile); a clinic's own "
        "files do, and none is kept",
    )
    api_keys: str | None = Field(
        None,
        description="YAML file of keys (wristmir_ray.serving.access makes them), on every node that answers HTTP; null "
        "serves anyone, which `wristmir_ray.serving.check` allows on 127.0.0.1 alone",
    )
    rate_limit: RateLimit | None = Field(
        RateLimit(), description="of one caller, by key or else by address; null = none"
    )
    search_apart: bool = Field(
        False,
        description="search in a deployment Search, with resources and replicas of its own, instead of in the process "
        "of each Ingress",
    )
    encode_apart: bool = Field(
        False,
        description="have Encode, which may have a GPU, encode what Look cuts of the archive's exams; else each Look "
        "does, with an encoder of its own",
    )
    shards: int = Field(
        1,
        ge=1,
        le=256,
        description="deployments Shard0, Shard1, ... among which the index is cut, each of which holds its rows alone; "
        "1: whoever searches holds them all",
    )
    deadline_s: float = Field(
        10.0,
        gt=0,
        le=MAX_DEADLINE_S,
        description="of a search that sets none, where the index does not store the region: the best answer by then",
    )
    cache: Place | None = Field(
        None,
        description="folder or s3:// prefix of computed regions and of the tokens' secret, shared by all replicas; "
        "null = `bone_cache` beside the tables under root",
    )
    runtime: RuntimeConfig | None = Field(
        None, description="what the detectors of uploads run on; default what the archive's ran on"
    )

    @property
    def cache_place(self) -> str:
        """Where computed regions are kept."""
        return self.cache or storage.join(self.root, "bone_cache")


class BatchSettings(Section):
    """`user_config` of Encode; changes apply to running replicas."""

    max_batch_size: int = Field(16, ge=1, description="crops or texts encoded at once")
    batch_wait_timeout_s: float = Field(0.005, ge=0, description="how long a first request waits for company")


class SearchSettings(Section):
    """`user_config` of Ingress, or of Search where it stands apart; a change swaps the index, no request fails."""

    index_run: str | None = Field(None, description="run of the index; default the one the application started with")
    known_rows: int = Field(
        500_000,
        ge=1,
        description="computed vectors a region that a replica holds beside the index; 1 GB at 512 numbers",
    )


class BonesSettings(Section):
    """`user_config` of Bones; changes apply to the running replica."""

    batch_rows: int = Field(16, ge=1, description="exams that Look is given at once")
    at_once: int = Field(4, ge=1, description="such batches under way: two a replica of Look keep it busy")
    retry_after_s: float = Field(300.0, ge=0, description="for so long an image that cannot be used is not tried again")
    cache_gib: float = Field(
        1.0, gt=0, description="of computed regions, in memory and at `cache`; the oldest go first"
    )
