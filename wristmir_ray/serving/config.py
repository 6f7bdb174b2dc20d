"""What may be tuned in serving: the arguments of `build_app` and the hot settings of two deployments."""

from pydantic import Field

from wristmir_ray.config import Place, Section
from wristmir_ray.models.networks import RuntimeConfig
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
    runtime: RuntimeConfig | None = Field(
        None, description="what the detectors of uploads run on; default what the archive's ran on"
    )


class BatchSettings(Section):
    """`user_config` of Encode; changes apply to running replicas."""

    max_batch_size: int = Field(16, ge=1, description="crops or texts encoded at once")
    batch_wait_timeout_s: float = Field(0.005, ge=0, description="how long a first request waits for company")


class SearchSettings(Section):
    """`user_config` of Search; a change swaps the index without a failed request."""

    index_run: str | None = Field(None, description="run of the index; default the one the application started with")
