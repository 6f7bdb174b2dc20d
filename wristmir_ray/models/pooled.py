"""A vision transformer that pools one token needs no other in its last block: exact, and a tenth less work."""

from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def pool_early(visual: Any) -> bool:
    """Let the last block of a timm ViT compute its first token alone, if that alone is pooled.

    Keys and values come from all tokens, so that value and gradients of the pooled token are those of
    the plain block; the others, of which nothing would be read, are not computed. Weights and their
    names stay as they are; only this instance of the model is changed.

    Returns:
        Whether the tower is one of those where this is exact: a plain ViT with class-token pooling and no
        dropout in its last block.
    """
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block, VisionTransformer

    trunk: Any = getattr(visual, "trunk", None)
    if type(trunk) is not VisionTransformer or trunk.global_pool != "token" or trunk.attn_pool is not None:
        return False
    block: Any = trunk.blocks[-1] if len(trunk.blocks) else None
    if type(block) is not Block or type(block.attn) is not Attention or not trunk.num_prefix_tokens:
        return False
    if any(getattr(module, "p", 0) or getattr(module, "drop_prob", 0) for module in block.modules()):
        return False
    block.forward = MethodType(_first_token, block)
    return True


def _first_token(block: Any, x_BNC: "torch.Tensor", attn_mask: Any = None, is_causal: bool = False) -> "torch.Tensor":
    """Return (B, 1, C), the first token of timm's `Block`."""
    if attn_mask is not None or is_causal:
        raise ValueError("a block that computes its pooled token alone takes no attention mask")
    first_B1C = x_BNC[:, :1] + block.ls1(_attend(block.attn, block.norm1(x_BNC)))
    out: torch.Tensor = first_B1C + block.ls2(block.mlp(block.norm2(first_B1C)))
    return out


def _attend(attn: Any, x_BNC: "torch.Tensor") -> "torch.Tensor":
    """Return (B, 1, C): timm's `Attention` of the first token over all."""
    from torch.nn import functional

    width, weight, bias = attn.attn_dim, attn.qkv.weight, attn.qkv.bias
    biases = (None, None) if bias is None else (bias[:width], bias[width:])
    q = functional.linear(x_BNC[:, :1], weight[:width], biases[0])
    kv = functional.linear(x_BNC, weight[width:], biases[1])
    rows, tokens, _ = x_BNC.shape
    q = attn.q_norm(q.reshape(rows, 1, attn.num_heads, attn.head_dim).transpose(1, 2))
    k, v = kv.reshape(rows, tokens, 2, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
    seen = functional.scaled_dot_product_attention(q, attn.k_norm(k), v)
    seen = attn.norm(seen.transpose(1, 2).reshape(rows, 1, width))
    if attn.gate is not None:
        seen = seen * attn.gate(x_BNC[:, :1]).sigmoid()
    out: torch.Tensor = attn.proj(seen)
    return out
