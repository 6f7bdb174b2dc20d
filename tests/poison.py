"""A vLLM logits processor with which a tiny random model answers validly, and dies of a poisoned report.

The process really ends: a real engine death. Every prompt that the engine takes in is noted in the file
that NOTES names, so that a test can count what was read again.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from vllm.v1.sample.logits_processor import AdapterLogitsProcessor

from tests.poison_word import NOTES, POISON
from tests.scripted_endpoint import answer
from wristmir_ray.mining.answers import Answer

_FAR_ABOVE = 1e4


class Deadly(AdapterLogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Lifts the next token of one fixed answer above all others."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        super().__init__(vllm_config, device, is_pin_memory)
        self._tokenizer = AutoTokenizer.from_pretrained(vllm_config.model_config.tokenizer)
        said = json.dumps(Answer.model_validate(answer()).model_dump(mode="json"))  # as guided decoding spaces it
        self._tokens = [*self._tokenizer.encode(said, add_special_tokens=False), self._tokenizer.eos_token_id]

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        for _, _, prompt, _ in batch_update.added if batch_update else ():
            self._take_in(self._tokenizer.decode(prompt))
        super().update_state(batch_update)

    def _take_in(self, prompt: str) -> None:
        numbers = re.findall(r"case ([0-9]+)", prompt)
        if NOTES in os.environ and numbers:  # the http engine's own harmless report has none
            with Path(os.environ[NOTES]).open("a") as f:
                f.write(f"{numbers[-1]}\n")
        if POISON in prompt:
            os._exit(9)

    def new_req_logits_processor(self, params: Any) -> Any:
        return self._lift

    def _lift(self, written: list[int], logits: Any) -> Any:
        logits[self._tokens[min(len(written), len(self._tokens) - 1)]] += _FAR_ABOVE
        return logits
