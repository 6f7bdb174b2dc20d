"""A tiny Gemma 3 with random weights, made in seconds: a real model for a real engine, which knows nothing."""

from pathlib import Path

from wristmir_ray.mining.answers import answer_schema
from wristmir_ray.mining.prompt import load_prompt

SPECIALS = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
CONTEXT = 16384
_TEMPLATE = """{{ bos_token }}
{%- set system = messages[0]['content'] if messages[0]['role'] == 'system' else '' -%}
{%- set turns = messages[1:] if system else messages -%}
{%- for m in turns -%}
{%- set text = m['content'] if m['content'] is string else m['content'][0]['text'] -%}
{%- set lead = (system if system is string else system[0]['text']) + '\n\n' if loop.first and system else '' -%}
{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + lead + text + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""


def make_tiny_gemma(folder: Path, seed: int = 0) -> Path:
    """Write weights, configuration and a byte-level tokenizer trained on the project's own prompt.

    Args:
        folder: is made.
        seed: of the weights.
    """
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, GenerationConfig

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        sliding_window=256,
        query_pre_attn_scalar=32,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        pad_token_id=0,
        eos_token_id=[1, 5],
        bos_token_id=2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Gemma3ForCausalLM(config).to(torch.bfloat16).eval()
    model.generation_config = GenerationConfig(bos_token_id=2, eos_token_id=[1, 5], pad_token_id=0)
    model.save_pretrained(folder)
    return folder


def _tokenizer():  # type: ignore[no-untyped-def]  # a class of transformers, which is imported late
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    corpus = [*(m["content"] for m in load_prompt().shared), answer_schema()]
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    plain.train_from_iterator(corpus * 10, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIALS[4:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer
