"""The loss against Eq. 2 written out, against open_clip, and across ranks."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from wristmir_ray.training.loss import multi_positive_loss
from wristmir_ray.training.step import distinct_captions, global_loss


def features(rows: int, dim: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.nn.functional.normalize(x, dim=-1).requires_grad_()


def written_out(image_ID: torch.Tensor, text_ID: torch.Tensor, caption_I: torch.Tensor, scale: float) -> torch.Tensor:
    """Half of Eq. 2 with its positive mask, one text a sample."""
    logits = scale * image_ID @ text_ID.T
    same = (caption_I[:, None] == caption_I[None]).double()
    p = same / same.sum(1, keepdim=True)
    i2t = -(p * torch.log_softmax(logits, 1)).sum(1)
    t2i = -(p.T * torch.log_softmax(logits.T, 1)).sum(1)
    return 0.5 * (i2t + t2i).mean()


@pytest.mark.parametrize(("images", "captions"), [(64, 7), (48, 1), (30, 30), (2, 2)])
def test_distinct_captions_with_counts_equal_eq_2_and_its_gradients(images: int, captions: int) -> None:
    image, text = features(images, 16, 0), features(captions, 16, 1)
    caption = torch.from_numpy(np.random.default_rng(2).permutation(np.arange(images) % captions))
    ours = multi_positive_loss(image, text, caption, 14.3)
    grads = torch.autograd.grad(ours, [image, text])
    plain = written_out(image, text[caption], caption, 14.3)
    wanted = torch.autograd.grad(plain, [image, text])
    assert abs((ours - plain).item()) < 1e-12
    for got, want in zip(grads, wanted, strict=True):
        assert torch.allclose(got, want, atol=1e-14, rtol=0)


def test_leaving_out_the_counts_is_another_loss() -> None:
    image, text = features(64, 16, 0), features(7, 16, 1)
    caption = torch.arange(64) % 7
    uncounted = torch.nn.functional.cross_entropy(14.3 * image @ text.T, caption)
    two_sided = 0.5 * (uncounted + torch.nn.functional.cross_entropy(14.3 * text[caption] @ image.T, torch.arange(64)))
    assert abs((multi_positive_loss(image, text, caption, 14.3) - two_sided).item()) > 0.1


def test_one_positive_each_is_open_clips_loss() -> None:
    import open_clip

    image, text = features(96, 32, 3, torch.float32), features(96, 32, 4, torch.float32)
    scale = torch.tensor(1 / 0.07)
    peer = open_clip.ClipLoss()(image, text, scale)
    assert abs((multi_positive_loss(image, text, torch.arange(96), scale) - peer).item()) < 1e-6


def test_order_of_the_samples_does_not_matter() -> None:
    image, text = features(40, 8, 5), features(6, 8, 6)
    caption = torch.arange(40) % 6
    order = torch.from_numpy(np.random.default_rng(0).permutation(40))
    texts = torch.from_numpy(np.random.default_rng(1).permutation(6))
    moved = multi_positive_loss(image[order], text[texts], torch.argsort(texts)[caption[order]], 10.0)
    assert moved.item() == pytest.approx(multi_positive_loss(image, text, caption, 10.0).item(), abs=1e-13)


def test_a_caption_without_images_changes_nothing() -> None:
    image, text = features(12, 8, 5), features(4, 8, 6)
    caption = torch.arange(12) % 3
    loss = multi_positive_loss(image, text, caption, 10.0)
    assert loss.item() == pytest.approx(multi_positive_loss(image, text[:3], caption, 10.0).item(), abs=1e-13)
    assert torch.isfinite(torch.autograd.grad(loss, image)[0]).all()


def test_equal_captions_are_worth_their_entropy_at_best() -> None:
    """Perfect features of two captions, 4 and 4 images: log 4 nats remain, since equals cannot be told apart."""
    eye = torch.eye(2, dtype=torch.float64)
    caption = torch.arange(8) % 2
    assert multi_positive_loss(eye[caption], eye, caption, 100.0).item() == pytest.approx(math.log(4), abs=1e-9)


@pytest.mark.parametrize("bad", [[0, 1, 2], [0, -1, 1], [0, 1]])
def test_an_image_without_a_positive_is_refused(bad: list[int]) -> None:
    with pytest.raises(ValueError, match=r"positive caption|caption indices"):
        multi_positive_loss(features(3, 4, 0), features(2, 4, 1), torch.tensor(bad), 1.0)


def test_half_precision_features_give_a_finite_loss() -> None:
    image, text = features(64, 16, 0, torch.float32), features(9, 16, 1, torch.float32)
    caption = torch.arange(64) % 9
    exact = multi_positive_loss(image, text, caption, 100.0).item()
    rounded = multi_positive_loss(image.bfloat16().float(), text.bfloat16().float(), caption, 100.0)
    assert rounded.item() == pytest.approx(exact, rel=0.02)


def test_ranks_share_the_distinct_captions_equally() -> None:
    caption = np.array([5, 5, 2, 9, 2, 7, 5, 5])
    parts = [distinct_captions(caption, rank, 3) for rank in range(3)]
    assert [len(mine) for _, mine, _ in parts] == [2, 2, 2]
    encoded = np.concatenate([mine for _, mine, _ in parts])
    everything, _, index = parts[0]
    assert list(encoded[: len(everything)]) == [2, 5, 7, 9]
    assert list(everything[index]) == list(caption)


class TwoTowers(torch.nn.Module):
    """The smallest model with the towers' interface."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.visual = torch.nn.Linear(12, 6, dtype=torch.float64)
        self.text = torch.nn.Embedding(9, 6, dtype=torch.float64)
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        unit = torch.nn.functional.normalize
        return unit(self.visual(images), dim=-1), unit(self.text(tokens), dim=-1), self.logit_scale.exp()


def one_step(rank: int, world: int) -> dict[str, torch.Tensor]:
    """Loss and gradients of one global batch of 16, as this rank sees them."""
    model: torch.nn.Module = TwoTowers()
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if world > 1 else model
    rng = np.random.default_rng(1)
    images = torch.from_numpy(rng.normal(size=(16, 12)))
    caption = rng.integers(0, 9, 16)
    share = 16 // world
    mine = images[rank * share : (rank + 1) * share]
    loss = global_loss(wrapped, mine, torch.from_numpy, caption, rank, world)
    loss.backward()  # type: ignore[no-untyped-call]
    return {"loss": loss.detach(), **{n: p.grad for n, p in model.named_parameters() if p.grad is not None}}


def _rank(rank: int, world: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.save(one_step(rank, world), f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_give_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    whole = one_step(0, 1)
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    for rank in range(2):
        part = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert part.keys() == whole.keys() == {"loss", "visual.weight", "visual.bias", "text.weight", "logit_scale"}
        for name, value in whole.items():
            assert torch.allclose(part[name], value, atol=1e-13, rtol=0), name
