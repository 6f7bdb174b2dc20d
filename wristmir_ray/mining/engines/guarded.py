"""Ray's vLLM stage, with the report that kills its engine set apart, and no report text in this stage's log.

Ray's own stage answers an engine's death by leaving its process: the stage starts again with the
same reports, and dies again, without end. Here a `DeathLedger` outlives the process.
"""

import asyncio
import os
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

from ray.llm._internal.batch.stages.vllm_engine_stage import _VLLM_FATAL_ERRORS, vLLMEngineStageUDF

from wristmir_ray.mining.isolation import ENGINE_DIED, MAX_DEATHS, Gate, company

_KEPT = ("generated_text", "num_generated_tokens", "num_input_tokens")
"""What is read of an answer; its tokens, its prompt and the messages would travel on through the object store."""


class GuardedEngine(vLLMEngineStageUDF):  # type: ignore[misc]  # Ray's LLM package carries no types
    """One vLLM replica.

    Args:
        ledger: handle of the job's DeathLedger.
        **stage: of Ray's own stage.
    """

    def __init__(self, ledger: Any, **stage: Any) -> None:
        from vllm.sampling_params import RequestOutputKind

        check_schemas_once()
        super().__init__(**stage)
        self._whole = RequestOutputKind.FINAL_ONLY
        self._name = uuid4().hex
        self._ledger = ledger
        handed = stage["batch_size"] * stage["max_concurrent_batches"]
        at_a_time = min(handed, self.max_pending_requests)
        self._gate = Gate(company(at_a_time))
        self._turn = asyncio.Semaphore(at_a_time)
        self._cached: dict[int, int] = {}
        self._generate = self.llm._generate_async
        self.llm._generate_async = self._counting

    async def _counting(self, request: Any) -> Any:
        """Generate, and keep what Ray's output leaves out: how much of the prompt was in the prefix cache.

        Only the whole answer is handed out: a growing copy of it for every token cost this process
        about a millisecond a token.
        """
        request.params.output_kind = self._whole
        output = await self._generate(request)
        self._cached[request.request_id] = output.num_cached_tokens or 0
        return output

    async def _generate_with_error_handling(self, row: dict[str, Any], batch_uuid: UUID) -> dict[str, Any]:
        report = row["report_id"]
        deaths = await self._ledger.arrive.remote(report, self._name)
        if deaths >= MAX_DEATHS:
            return self._failed(row, batch_uuid, ENGINE_DIED)
        # whoever the engine has no room for yet waits outside: it is no suspect, and the gate wakes all who wait in it
        async with self._turn if not deaths else nullcontext(), self._gate.enter(deaths):
            await self._ledger.begin.remote(report, self._name)
            try:
                request, output, seconds = await self.llm.generate_async(row)
            except _VLLM_FATAL_ERRORS:
                os._exit(1)  # as Ray's stage does: a new process with a new engine, and the batch again
            except Exception as e:
                await self._ledger.end.remote(report)
                return self._failed(row, batch_uuid, type(e).__name__)
            await self._ledger.end.remote(report)
        return {
            **{name: output[name] for name in _KEPT},
            "num_cached_tokens": self._cached.pop(request.request_id, 0),
            **self._columns(row, batch_uuid, request.request_id, seconds, ""),
        }

    def _failed(self, row: dict[str, Any], batch_uuid: UUID, error: str) -> dict[str, Any]:
        nothing = {"generated_text": "", "num_generated_tokens": 0, "num_input_tokens": 0}
        return {**nothing, "num_cached_tokens": 0, **self._columns(row, batch_uuid, -1, -1.0, error)}

    def _columns(
        self, row: dict[str, Any], batch_uuid: UUID, request_id: int, seconds: float, error: str
    ) -> dict[str, Any]:
        return {
            "request_id": request_id,
            self.IDX_IN_BATCH_COLUMN: row[self.IDX_IN_BATCH_COLUMN],
            "batch_uuid": batch_uuid.hex,
            "time_taken_llm": seconds,
            "params": "",
            "messages": [],
            "__inference_error__": error,
        }


def check_schemas_once() -> None:
    """Have vLLM parse a JSON schema when it first comes, not with every request that brings it again.

    The check is the engine's own (`validate_xgrammar_grammar`); it costs some 0.1 s of the one thread
    that feeds the engine, so that a replica could never be handed more than ten reports a second.
    What fails it fails it each time.
    """
    from vllm.v1.structured_output import backend_xgrammar

    check = backend_xgrammar.validate_xgrammar_grammar
    if hasattr(check, "passed"):
        return
    passed: set[str] = set()

    def check_once(parameters: Any) -> None:
        wanted = parameters.structured_outputs
        schema = wanted.json if wanted is not None and isinstance(wanted.json, str) else None
        if schema is None or schema not in passed:
            check(parameters)
        if schema is not None:
            passed.add(schema)

    check_once.passed = passed  # type: ignore[attr-defined]
    backend_xgrammar.validate_xgrammar_grammar = check_once
