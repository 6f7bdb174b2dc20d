"""A step is one function, however it is computed: on one rank or four, at once or in parts."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from wristmir_ray.training.loss import equation_2, multi_positive_loss
from wristmir_ray.training.step import Towers, distinct_captions, forward

BATCH = 256
RUNS = {"many": (40, None), "few": (3, None), "one": (1, None), "in parts": (40, 24), "in small parts": (3, 7)}
"""Distinct captions of the batch (three and one are fewer than the ranks), and micro-batch."""


def test_ranks_share_the_distinct_captions_equally() -> None:
    caption = np.array([5, 5, 2, 9, 2, 7, 5, 5])
    parts = [distinct_captions(caption, rank, 3) for rank in range(3)]
    assert [len(mine) for _, mine, _ in parts] == [2, 2, 2]
    encoded = np.concatenate([mine for _, mine, _ in parts])
    everything, _, index = parts[0]
    assert list(encoded[: len(everything)]) == [2, 5, 7, 9]
    assert list(everything[index]) == list(caption)


class TwoTowers(torch.nn.Module):
    """The smallest model with the towers' interface; its image tower may drop units."""

    def __init__(self, drop: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.visual = torch.nn.Sequential(torch.nn.Linear(12, 6), torch.nn.Dropout(drop), torch.nn.Linear(6, 6))
        self.text = torch.nn.Embedding(40, 6)
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, images: torch.Tensor | None, tokens: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        unit = torch.nn.functional.normalize
        image = None if images is None else unit(self.visual(images), dim=-1)
        text = None if tokens is None else unit(self.text(tokens), dim=-1)
        return image, text, self.logit_scale.exp()


def one_step(name: str, rank: int = 0, world: int = 1, micro_batch: int | None = None) -> dict[str, torch.Tensor]:
    """Loss and gradients of one global batch of 256, as this rank sees them."""
    model: torch.nn.Module = TwoTowers()
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if world > 1 else model
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.normal(size=(BATCH, 12)).astype(np.float32))
    caption = rng.integers(0, RUNS[name][0], BATCH)
    all_U, mine, of_B = distinct_captions(caption, rank, world)

    def loss_of(image: torch.Tensor, text: torch.Tensor | None, scale: torch.Tensor) -> torch.Tensor:
        assert text is not None
        return multi_positive_loss(image, text[: len(all_U)], torch.from_numpy(of_B), scale)

    share = BATCH // world
    part = images[rank * share : (rank + 1) * share]
    half = forward(Towers(wrapped), part, torch.from_numpy(mine), loss_of, rank, world, micro_batch)
    half.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": torch.tensor(half.loss), **grads}


def written_out(name: str) -> dict[str, torch.Tensor]:
    """The same with nothing of ours but Eq. 2 as printed: one text a sample, one graph, one backward."""
    model = TwoTowers()
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.normal(size=(BATCH, 12)).astype(np.float32))
    caption = torch.from_numpy(rng.integers(0, RUNS[name][0], BATCH))
    image, text, scale = model(images, caption)
    loss = equation_2(image, text, caption, scale)
    loss.backward()
    return {"loss": loss.detach(), **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}}


def _rank(rank: int, world: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    made = {name: one_step(name, rank, world, micro_batch) for name, (_, micro_batch) in RUNS.items()}
    torch.save(made, f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


def assert_equal(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], tolerance: float) -> None:
    assert got.keys() == wanted.keys() >= {"loss", "visual.0.weight", "text.weight", "logit_scale"}
    for name, value in wanted.items():
        assert torch.allclose(got[name], value, atol=tolerance, rtol=0), name
    assert any(value.abs().max() > 100 * tolerance for name, value in wanted.items() if name != "loss")


def test_four_ranks_of_64_give_the_loss_and_gradients_of_one_of_256(tmp_path: Path) -> None:
    """Real processes over gloo, gradients after DistributedDataParallel's mean; also in parts."""
    torch.multiprocessing.spawn(_rank, args=(4, str(tmp_path)), nprocs=4)
    for rank in range(4):
        parts = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        for name in RUNS:
            assert_equal(parts[name], written_out(name), 1e-5)


@pytest.mark.parametrize("micro_batch", [None, 1, 24, 100, 256, 1000])
def test_parts_of_any_size_give_the_loss_and_gradients_of_the_whole(micro_batch: int | None) -> None:
    assert_equal(one_step("many", micro_batch=micro_batch), written_out("many"), 1e-5)


def test_a_part_that_is_encoded_again_drops_the_same_units() -> None:
    """The gradient of the loss that was computed: checked by differences along it, the units held by their seed."""
    model = TwoTowers(drop=0.5)
    model.double()
    images, tokens = torch.randn(32, 12, dtype=torch.float64), torch.arange(32) % 5

    def half() -> object:
        torch.manual_seed(3)
        return forward(
            Towers(model), images, torch.arange(5), lambda i, t, s: multi_positive_loss(i, t, tokens, s), micro_batch=8
        )

    first = half()
    first.backward()  # type: ignore[attr-defined]
    weight = model.visual[0].weight
    direction, eps = weight.grad.clone(), 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * eps * direction
        values.append(half().loss)  # type: ignore[attr-defined]
        with torch.no_grad():
            weight -= sign * eps * direction
    slope = (values[0] - values[1]) / (2 * eps)
    assert slope == pytest.approx(float(direction.square().sum()), rel=1e-5)
