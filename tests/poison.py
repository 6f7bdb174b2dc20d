"""A vLLM logits processor that ends the engine's process when a prompt holds the poison: a real engine death."""

import os
from typing import Any

from transformers import AutoTokenizer
from vllm.v1.sample.logits_processor import LogitsProcessor

from tests.poison_word import POISON


class Deadly(LogitsProcessor):  # type: ignore[misc]  # vLLM is not installed where types are checked
    """Does nothing to any logit."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(vllm_config.model_config.tokenizer)

    def is_argmax_invariant(self) -> bool:
        return True

    def apply(self, logits: Any) -> Any:
        return logits

    def update_state(self, batch_update: Any) -> None:
        for _, _, prompt, _ in batch_update.added if batch_update else ():
            if POISON in self._tokenizer.decode(prompt):
                os._exit(9)
