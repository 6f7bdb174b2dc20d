"""Settings of report mining."""

from typing import Any, Literal

from pydantic import Field

from wristmir_ray.config import JobConfig, PoolConfig, Section


class VllmConfig(Section):
    """The `vllm` engine: replicas of one model on the cluster's GPUs."""

    model: str = Field(
        "google/medgemma-27b-text-it", description="hub name, local folder or s3:// prefix of the weights"
    )
    replicas: int = Field(1, ge=1, description="engines; each reserves tensor_parallel GPUs")
    tensor_parallel: int = Field(1, ge=1, description="GPUs that share one engine's weights")
    accelerator_type: str | None = Field(None, description="Ray's name of the GPU, e.g. L4; default any")
    device: Literal["gpu", "cpu"] = Field("gpu", description="cpu is for tests of the path, with a tiny model")
    max_model_len: int = Field(8192, ge=1024, description="tokens of prompt, report and answer together")
    max_tokens: int = Field(3072, ge=64, description="tokens an answer may have; more is failure class `length`")
    batch_size: int = Field(64, ge=1, description="reports handed to an engine at a time")
    max_concurrent_batches: int = Field(
        16, ge=1, description="batches handed to an engine: each waits for its longest answer, the others keep it full"
    )
    engine_metrics: bool = Field(
        False, description="vLLM's own metrics on Ray's: a record a step of the engine, which a small model feels"
    )
    engine_kwargs: dict[str, Any] = Field({}, description="further vLLM engine arguments, e.g. {dtype: bfloat16}")
    env: dict[str, str] = Field({}, description="environment of the engines, e.g. {HF_HOME: /models}; no secrets")


class HttpConfig(Section):
    """The `http` engine: an endpoint of the OpenAI protocol. Its bearer token stands in WRISTMIR_LLM_KEY."""

    url: str = Field("http://127.0.0.1:8001/v1/", pattern=r"^https?://.+/$", description="base address, ends with /")
    model: str = Field("google/medgemma-27b-text-it", description="the model's name at the endpoint")
    concurrency: int = Field(
        16,
        ge=1,
        description="requests at a time; nobody else may use the endpoint meanwhile: a report that kills it is found "
        "by asking alone",
    )
    timeout_s: float = Field(120.0, gt=0, description="longest wait for one answer")
    retries: int = Field(
        4,
        ge=0,
        description="further tries of what may be gone at the next: no answer in time, one that cannot be read, "
        "status 408, 409, 425, 429, 504, 524, 529",
    )
    backoff_s: float = Field(
        1.0, gt=0, description="pause before the second try; doubles each time, to 60 s; `retry-after` may prolong it"
    )
    restart_wait_s: float = Field(
        600.0,
        ge=0,
        description="how long an endpoint that went away is waited for; then the job ends, and a rerun resumes",
    )
    max_tokens: int = Field(3072, ge=64, description="tokens an answer may have; more is failure class `length`")
    guided: Literal["json_schema", "json_object", "none"] = Field(
        "json_schema", description="how the endpoint is asked for JSON; answers are validated whatever it does"
    )


class MiningConfig(JobConfig):
    """Settings of `jobs/mine_reports.py`."""

    engine: Literal["rules", "vllm", "http"] = Field("rules", description="what reads the reports")
    vllm: VllmConfig = VllmConfig()
    http: HttpConfig = HttpConfig()
    reports: PoolConfig = PoolConfig(batch_size=256)
    """Where reports are read."""
    captions: PoolConfig = PoolConfig(batch_size=1024)
    """Where captions are written."""
    join_partitions: int = Field(
        8,
        ge=1,
        le=4096,
        description="parts in which exams meet their findings, at least: the cores; large archives get more",
    )
    fragment_rows: int = Field(
        512,
        ge=1,
        description="reports or exams a fragment: what a crash can lose, per worker; at least a batch is lost, and "
        "with engine http four times its concurrency",
    )
