"""The `vllm` engine: Ray Data's own LLM processor over a fixed pool of vLLM replicas."""

import os
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import ray
from ray.data import Dataset

from wristmir_ray.errors import ConfigError
from wristmir_ray.mining.answers import FailureClass, answer_schema
from wristmir_ray.mining.attempts import ANSWERS
from wristmir_ray.mining.config import VllmConfig
from wristmir_ray.mining.isolation import ENGINE_DIED, DeathLedger
from wristmir_ray.mining.prompt import load_prompt

_ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
_ON_CPU = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
_SMALL = {"num_cpus": 0.1}
"""Templates and tokens cost little: a stage that reserved a whole CPU would keep a small machine waiting."""


def ask(reports: Dataset, config: VllmConfig, ends: ExitStack) -> Dataset:
    """Reports (report_id, text, hint) -> ANSWERS, 1:1. A failing report costs no other: it has its failure class.

    Args:
        reports: what is asked, one answer each.
        config: the engine.
        ends: closed when the answers are written; ends the ledger, which a handle in a stage would keep alive.

    Raises:
        ConfigError: vLLM is not installed, or this machine, which is the whole cluster, has too few GPUs.
    """
    has = int(ray.cluster_resources().get("GPU", 0))
    if config.device == "gpu" and not os.environ.get("RAY_ADDRESS") and has < config.tensor_parallel:
        raise ConfigError(
            f"an engine needs {config.tensor_parallel} GPU(s) and this machine has {has}; submit the job to a cluster, "
            "or use engine http or rules"
        )
    try:
        import vllm  # noqa: F401
        from ray.data.llm import build_processor
    except ImportError as e:
        raise ConfigError(
            f"engine vllm needs vLLM ({type(e).__name__}); install requirements/gpu.txt, or use engine http or rules"
        ) from None
    processor = build_processor(
        _processor_config(config),
        preprocess=_Ask(config.max_tokens),
        postprocess=_keep,
        preprocess_map_kwargs=_SMALL,
        postprocess_map_kwargs=_SMALL,
    )
    _guard(processor, ends)
    projection = {"max_tokens": config.max_tokens}
    return processor(reports).map_batches(
        _project, fn_kwargs=projection, batch_format="pyarrow", batch_size=None, **_SMALL
    )


def _guard(processor: Any, ends: ExitStack) -> None:
    """Put `GuardedEngine` in the place of Ray's own vLLM stage."""
    from wristmir_ray.mining.engines.guarded import GuardedEngine

    name = "vLLMEngineStage"
    stage = processor.get_stage_by_name(name)
    ledger = ray.remote(DeathLedger).options(num_cpus=0, max_restarts=-1, max_task_retries=-1).remote()
    ends.callback(ray.kill, ledger)
    arguments = {**stage.fn_constructor_kwargs, "ledger": ledger}
    # a copy: assigning would run the stage's validator again, which forgets where the engine is placed
    processor.stages[name] = stage.model_copy(update={"fn": GuardedEngine, "fn_constructor_kwargs": arguments})


def _processor_config(config: VllmConfig) -> Any:
    from ray.data.llm import vLLMEngineProcessorConfig

    stage = {"enabled": True, "num_cpus": 0.1, "concurrency": 1, "batch_size": config.batch_size}
    cpu = config.device == "cpu"
    placement = {"placement_group_config": {"bundles": [{"CPU": 0.5}]}} if cpu else {}
    return vLLMEngineProcessorConfig(
        model_source=config.model,
        engine_kwargs=engine_arguments(config),
        batch_size=config.batch_size,
        max_concurrent_batches=config.max_concurrent_batches,
        concurrency=(config.replicas, config.replicas),
        accelerator_type=config.accelerator_type,
        runtime_env={"env_vars": environment(config)},
        chat_template_stage=stage,
        tokenize_stage=False,  # the engine does both itself: two processes less, each with its own tokenizer
        detokenize_stage=False,
        should_continue_on_error=True,
        log_engine_metrics=config.engine_metrics,
        **placement,
    )


def engine_arguments(config: VllmConfig) -> dict[str, Any]:
    """Return vLLM's engine arguments, but for the model."""
    return {
        "tensor_parallel_size": config.tensor_parallel,
        "max_model_len": config.max_model_len,
        "enable_prefix_caching": True,
        "seed": 0,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        **config.engine_kwargs,
    }


def environment(config: VllmConfig) -> dict[str, str]:
    """Return the environment of the engines."""
    return {**_ENVIRONMENT, **(_ON_CPU if config.device == "cpu" else {}), **config.env}


def sampling(max_tokens: int) -> dict[str, Any]:
    """Return the sampling parameters of every report."""
    return {"temperature": 0.0, "max_tokens": max_tokens, "structured_outputs": {"json": answer_schema()}}


class _Ask:
    """Row -> row with messages and sampling parameters; temperature 0."""

    def __init__(self, max_tokens: int) -> None:
        self._sampling = sampling(max_tokens)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        messages = load_prompt().messages(row["text"], row["hint"])
        return {**row, "messages": messages, "sampling_params": self._sampling}


def _keep(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _project(batch: pa.Table, max_tokens: int) -> pa.Table:
    """Give every batch the same columns: a failed row brings all of the processor's own, a good one few."""
    rows = batch.to_pylist()
    return pa.Table.from_pylist([_answer(row, max_tokens) for row in rows], ANSWERS)


def _answer(row: dict[str, Any], max_tokens: int) -> dict[str, Any]:
    failed = row.get("__inference_error__") or ""
    died = failed == ENGINE_DIED
    tokens = row.get("num_generated_tokens") or 0
    return {
        "report_id": row["report_id"],
        "text": row["text"],
        "answer": None if failed else row.get("generated_text"),
        "cut": tokens >= max_tokens,
        "tokens_in": (row.get("tokens_in") or 0) + (row.get("num_input_tokens") or 0),
        "tokens_cached": (row.get("tokens_cached") or 0) + (row.get("num_cached_tokens") or 0),
        "tokens_out": (row.get("tokens_out") or 0) + tokens,
        "failure": (FailureClass.ENGINE_DEATH if died else FailureClass.ENGINE_ERROR).value if failed else None,
        "message": failed or None,
    }
