"""The peer of `bench_mining_engine`: a bare vLLM engine on a list of prompts; its answers are thrown away.

python tests/bench/bare_engine.py WORK.json     prints one JSON line: what was asked and written, seconds

WORK.json holds the settings of the `vllm` engine and a list of [report, hint]. Messages, chat template,
engine arguments and sampling parameters are those of the pipeline, and so is the number of requests
that the engine has at a time, a tenth more than it reads at once; only whole answers are handed out.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from wristmir_ray.mining.config import VllmConfig
from wristmir_ray.mining.engines.vllm import engine_arguments, sampling
from wristmir_ray.mining.prompt import load_prompt


async def answer_all(config: VllmConfig, wanted: list[tuple[str, str | None]]) -> dict[str, Any]:
    """Start an engine, ask for everything as fast as it takes it, and say how long both took."""
    import vllm
    from transformers import AutoProcessor

    started = time.perf_counter()
    arguments = vllm.AsyncEngineArgs(
        model=config.model, distributed_executor_backend="uni", disable_log_stats=True, **engine_arguments(config)
    )
    engine = vllm.AsyncLLMEngine.from_engine_args(arguments)
    template = AutoProcessor.from_pretrained(config.model).apply_chat_template
    at_a_time = asyncio.Semaphore(-(-config.engine_kwargs["max_num_seqs"] * 11 // 10))
    ready = time.perf_counter()

    async def ask(number: int, report: str, hint: str | None) -> int:
        async with at_a_time:
            messages = load_prompt().messages(report, hint)
            prompt = template(messages, tokenize=False, add_generation_prompt=True)
            stream = engine.generate({"prompt": prompt}, _parameters(config.max_tokens), request_id=str(number))
            return sum([len(out.outputs[0].token_ids) async for out in stream])

    written = await asyncio.gather(*(ask(i, *w) for i, w in enumerate(wanted)))
    done = time.perf_counter()
    engine.shutdown()
    return {"asked": len(wanted), "tokens": sum(written), "seconds": done - started, "start_s": ready - started}


def _parameters(max_tokens: int) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    settings = sampling(max_tokens)
    wanted = StructuredOutputsParams(**settings.pop("structured_outputs"))
    return SamplingParams(**settings, structured_outputs=wanted, output_kind=RequestOutputKind.FINAL_ONLY)


if __name__ == "__main__":
    work = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps(asyncio.run(answer_all(VllmConfig(**work["vllm"]), work["wanted"]))))
