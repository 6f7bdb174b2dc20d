"""PMC-CLIP and MedCLIP as their own code has them: names and shapes of their tensors, and what they compute.

Written from the public sources alone, with plain functions of torch: nothing of ours is used.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

Shapes = dict[str, tuple[int, ...]]
HEADS = 12


def bert(prefix: str, vocab: int) -> Shapes:
    """BERT-base of an earlier transformers, which stored its positions and its pooler."""
    out: Shapes = {
        "embeddings.position_ids": (1, 512),
        "embeddings.word_embeddings.weight": (vocab, 768),
        "embeddings.position_embeddings.weight": (512, 768),
        "embeddings.token_type_embeddings.weight": (2, 768),
        "pooler.dense.weight": (768, 768),
        "pooler.dense.bias": (768,),
        **norm("embeddings.LayerNorm", 768),
    }
    for i in range(12):
        layer = f"encoder.layer.{i}."
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            out |= linear(layer + name, 768, 768)
        out |= linear(layer + "intermediate.dense", 768, 3072) | linear(layer + "output.dense", 3072, 768)
        out |= norm(layer + "attention.output.LayerNorm", 768) | norm(layer + "output.LayerNorm", 768)
    return {prefix + k: v for k, v in out.items()}


def linear(name: str, width: int, out: int) -> Shapes:
    return {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    return {
        **norm(name, width),
        f"{name}.running_mean": (width,),
        f"{name}.running_var": (width,),
        f"{name}.num_batches_tracked": (),
    }


def bottlenecks(prefix: str) -> Shapes:
    """The four groups of a ResNet-50."""
    out: Shapes = {}
    width_in = 64
    for group, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), 1):
        for i in range(blocks):
            block = f"{prefix}layer{group}.{i}."
            out |= {
                f"{block}conv1.weight": (width, width_in, 1, 1),
                f"{block}conv2.weight": (width, width, 3, 3),
                f"{block}conv3.weight": (4 * width, width, 1, 1),
            }
            out |= batch_norm(block + "bn1", width) | batch_norm(block + "bn2", width)
            out |= batch_norm(block + "bn3", 4 * width)
            if i == 0:
                out |= {f"{block}downsample.0.weight": (4 * width, width_in, 1, 1)}
                out |= batch_norm(block + "downsample.1", 4 * width)
            width_in = 4 * width
    return out


def pmc_clip() -> Shapes:
    """checkpoint.pt: what data-parallel training saved, fusion module and language-model head included."""
    out: Shapes = {
        "positional_embedding": (77, 768),
        "text_projection": (768, 768),
        "mlm_projection": (768, 30522),
        "logit_scale": (),
        "img_special_token": (1, 1, 768),
        **norm("ln_final", 768),
        **bert("text_encoder.", 30522),
        **modified_resnet("visual."),
    }
    for i in range(4):
        block = f"fusion_module.resblocks.{i}."
        out |= {f"{block}attn.in_proj_weight": (2304, 768), f"{block}attn.in_proj_bias": (2304,)}
        out |= linear(block + "attn.out_proj", 768, 768) | norm(block + "ln_1", 768) | norm(block + "ln_2", 768)
        out |= linear(block + "mlp.c_fc", 768, 3072) | linear(block + "mlp.c_proj", 3072, 768)
    return out


def modified_resnet(prefix: str) -> Shapes:
    out: Shapes = {
        "conv1.weight": (32, 3, 3, 3),
        "conv2.weight": (32, 32, 3, 3),
        "conv3.weight": (64, 32, 3, 3),
        "attnpool.positional_embedding": (50, 2048),
        **batch_norm("bn1", 32),
        **batch_norm("bn2", 32),
        **batch_norm("bn3", 64),
        **bottlenecks(""),
    }
    for name in ("k_proj", "q_proj", "v_proj"):
        out |= linear(f"attnpool.{name}", 2048, 2048)
    out |= linear("attnpool.c_proj", 2048, 768)
    return {prefix + k: v for k, v in out.items()}


def medclip(vision: Shapes) -> Shapes:
    return {
        "logit_scale": (),
        "text_model.projection_head.weight": (512, 768),
        **bert("text_model.model.", 28996),
        **{f"vision_model.{k}": v for k, v in vision.items()},
    }


def medclip_resnet() -> Shapes:
    stem: Shapes = {"model.conv1.weight": (64, 3, 7, 7), "model.fc.weight": (512, 2048)}
    return medclip({**stem, **batch_norm("model.bn1", 64), **bottlenecks("model.")})


def medclip_vit() -> Shapes:
    out: Shapes = {
        "embeddings.patch_embeddings.projection.weight": (96, 3, 4, 4),
        "embeddings.patch_embeddings.projection.bias": (96,),
        **norm("embeddings.norm", 96),
        **norm("layernorm", 768),
    }
    for i, (blocks, heads) in enumerate(zip((2, 2, 6, 2), (3, 6, 12, 24), strict=True)):
        width = 96 * 2**i
        for j in range(blocks):
            block = f"encoder.layers.{i}.blocks.{j}."
            out |= {
                f"{block}attention.self.relative_position_bias_table": (169, heads),
                f"{block}attention.self.relative_position_index": (49, 49),
            }
            for name in ("self.query", "self.key", "self.value", "output.dense"):
                out |= linear(f"{block}attention.{name}", width, width)
            out |= norm(block + "layernorm_before", width) | norm(block + "layernorm_after", width)
            out |= linear(block + "intermediate.dense", width, 4 * width)
            out |= linear(block + "output.dense", 4 * width, width)
        if i < 3:
            out |= {f"encoder.layers.{i}.downsample.reduction.weight": (2 * width, 4 * width)}
            out |= norm(f"encoder.layers.{i}.downsample.norm", 4 * width)
    named = {f"model.{k}": v for k, v in out.items()}
    return medclip({**named, "projection_head.weight": (512, 768)})


def random_state(shapes: Shapes, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of these shapes that keep activations of ordinary size.

    All are windows on few storages, each somewhere else, so that a saved file is a tenth of the release's size.
    """
    generator = torch.Generator().manual_seed(seed)
    pools = {
        "dense": 0.03 * torch.randn(24_000_000, generator=generator),
        "conv": 0.08 * torch.randn(3_000_000, generator=generator),
        "around one": 1 + 0.1 * torch.randn(20_000, generator=generator),
    }
    out = {}
    for name, shape in shapes.items():
        if name.endswith(("position_ids", "position_index", "num_batches_tracked")):
            out[name] = torch.zeros((), dtype=torch.int64).expand(shape)
            continue
        one = name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight"))
        pool = pools["around one" if one else "conv" if len(shape) == 4 else "dense"]
        size = math.prod(shape)
        start = int(torch.randint(len(pool) - size, (), generator=generator))
        out[name] = pool[start : start + size].view(shape)
    return {**out, "logit_scale": torch.tensor(2.5)}


def bert_states(s: Mapping[str, Tensor], prefix: str, tokens: Tensor) -> list[Tensor]:
    """Hidden states of BERT-base, embeddings first; no token is masked."""
    w = {k.removeprefix(prefix): v for k, v in s.items() if k.startswith(prefix)}

    def layer_norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (768,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    def dense(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
    x = layer_norm(x + w["embeddings.position_embeddings.weight"][: tokens.shape[1]], "embeddings.LayerNorm")
    states = [x]
    for i in range(12):
        at = f"encoder.layer.{i}."
        q, k, v = (
            dense(x, f"{at}attention.self.{n}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for n in ("query", "key", "value")
        )
        weights = (q @ k.transpose(-1, -2) / 8).softmax(-1)
        seen = (weights @ v).transpose(1, 2).flatten(2)
        x = layer_norm(x + dense(seen, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        x = layer_norm(
            x + dense(functional.gelu(dense(x, f"{at}intermediate.dense")), f"{at}output.dense"),
            f"{at}output.LayerNorm",
        )
        states.append(x)
    return states


def modified_resnet_features(s: Mapping[str, Tensor], image: Tensor) -> Tensor:
    """CLIP's ResNet-50: three convolutions at the stem, average pools before strides, attention at the end."""
    w = {k.removeprefix("visual."): v for k, v in s.items() if k.startswith("visual.")}

    def conv(x: Tensor, name: str, bn: str, stride: int = 1, padding: int = 0) -> Tensor:
        y = functional.conv2d(x, w[f"{name}.weight"], stride=stride, padding=padding)
        mean, var = w[f"{bn}.running_mean"], w[f"{bn}.running_var"]
        return functional.batch_norm(y, mean, var, w[f"{bn}.weight"], w[f"{bn}.bias"])

    x = image
    for i, stride in ((1, 2), (2, 1), (3, 1)):
        x = conv(x, f"conv{i}", f"bn{i}", stride, 1).relu()
    x = functional.avg_pool2d(x, 2)
    for group, blocks in enumerate((3, 4, 6, 3), 1):
        for i in range(blocks):
            at, stride = f"layer{group}.{i}.", 2 if i == 0 and group > 1 else 1
            y = conv(x, at + "conv1", at + "bn1").relu()
            y = conv(y, at + "conv2", at + "bn2", padding=1).relu()
            y = conv(functional.avg_pool2d(y, stride), at + "conv3", at + "bn3")
            if i == 0:
                x = conv(functional.avg_pool2d(x, stride), at + "downsample.0", at + "downsample.1")
            x = (x + y).relu()
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + w["attnpool.positional_embedding"]
    q, k, v = (
        (tokens @ w[f"attnpool.{n}_proj.weight"].T + w[f"attnpool.{n}_proj.bias"])
        .unflatten(-1, (32, 64))
        .transpose(1, 2)
        for n in "qkv"
    )
    seen = ((q[:, :, :1] @ k.transpose(-1, -2) / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)[:, 0]
    return seen @ w["attnpool.c_proj.weight"].T + w["attnpool.c_proj.bias"]


def swin_for_timm(s: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The release's Swin-tiny in the names of timm, another implementation, which merges patches one layer later."""
    prefix = "vision_model.model."
    w = {k.removeprefix(prefix): v for k, v in s.items() if k.startswith(prefix)}
    out = {}
    for part in ("weight", "bias"):
        out[f"patch_embed.proj.{part}"] = w[f"embeddings.patch_embeddings.projection.{part}"]
        out[f"patch_embed.norm.{part}"] = w[f"embeddings.norm.{part}"]
        out[f"norm.{part}"] = w[f"layernorm.{part}"]
    for i, blocks in enumerate((2, 2, 6, 2)):
        for j in range(blocks):
            theirs, ours = f"encoder.layers.{i}.blocks.{j}.", f"layers.{i}.blocks.{j}."
            out[f"{ours}attn.relative_position_bias_table"] = w[f"{theirs}attention.self.relative_position_bias_table"]
            for part in ("weight", "bias"):
                qkv = [w[f"{theirs}attention.self.{n}.{part}"] for n in ("query", "key", "value")]
                out[f"{ours}attn.qkv.{part}"] = torch.cat(qkv)
                out[f"{ours}attn.proj.{part}"] = w[f"{theirs}attention.output.dense.{part}"]
                out[f"{ours}norm1.{part}"] = w[f"{theirs}layernorm_before.{part}"]
                out[f"{ours}norm2.{part}"] = w[f"{theirs}layernorm_after.{part}"]
                out[f"{ours}mlp.fc1.{part}"] = w[f"{theirs}intermediate.dense.{part}"]
                out[f"{ours}mlp.fc2.{part}"] = w[f"{theirs}output.dense.{part}"]
        if i < 3:
            theirs, ours = f"encoder.layers.{i}.downsample.", f"layers.{i + 1}.downsample."
            out |= {ours + n: w[theirs + n] for n in ("reduction.weight", "norm.weight", "norm.bias")}
    return out
