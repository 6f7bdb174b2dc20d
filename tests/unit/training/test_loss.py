"""The loss against Eq. 2 written out in loops, against open_clip, and in half precision."""

import math

import numpy as np
import pytest
import torch

from wristmir_ray.training.loss import equation_2, multi_positive_loss


def features(rows: int, dim: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    x = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.nn.functional.normalize(x, dim=-1).requires_grad_()


def in_loops(v: torch.Tensor, t: torch.Tensor, caption: list[int], tau: float) -> float:
    """Half of Eq. 2, sum by sum as the paper prints it."""
    batch = range(len(caption))
    total = 0.0
    for i in batch:
        same = [j for j in batch if caption[j] == caption[i]]
        for j in same:
            total += math.log(math.exp(v[i] @ t[j] / tau) / sum(math.exp(v[i] @ t[k] / tau) for k in batch)) / len(same)
            total += math.log(math.exp(t[i] @ v[j] / tau) / sum(math.exp(t[i] @ v[k] / tau) for k in batch)) / len(same)
    return -0.5 * total / len(caption)


def test_equation_2_is_the_papers_sums() -> None:
    """With a text feature of its own for each sample, equal captions or not."""
    v, t = features(12, 5, 0).detach(), features(12, 5, 1).detach()
    caption = [0, 1, 1, 2, 0, 0, 3, 1, 4, 4, 0, 5]
    ours = equation_2(v, t, torch.tensor(caption), 1 / 0.3)
    assert ours.item() == pytest.approx(in_loops(v, t, caption, 0.3), abs=1e-12)


@pytest.mark.parametrize(("images", "captions"), [(64, 7), (48, 1), (30, 30), (2, 2)])
def test_distinct_captions_with_counts_equal_eq_2_and_its_gradients(images: int, captions: int) -> None:
    image, text = features(images, 16, 0), features(captions, 16, 1)
    caption = torch.from_numpy(np.random.default_rng(2).permutation(np.arange(images) % captions))
    ours = multi_positive_loss(image, text, caption, 14.3)
    grads = torch.autograd.grad(ours, [image, text])
    plain = equation_2(image, text[caption], caption, 14.3)
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


def test_equation_2_too_is_open_clips_loss_where_each_pair_is_a_class() -> None:
    import open_clip

    image, text = features(96, 32, 3, torch.float32), features(96, 32, 4, torch.float32)
    peer = open_clip.ClipLoss()(image, text, torch.tensor(14.3))
    assert abs((equation_2(image, text, torch.arange(96), 14.3) - peer).item()) < 1e-6


@pytest.mark.parametrize("captions", [1, 9, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_stable_at_the_largest_scale(dtype: torch.dtype, captions: int) -> None:
    """Scale 100 on features as half precision rounds them: close to float32, and finite gradients."""
    image, text = features(64, 16, 0, torch.float32), features(captions, 16, 1, torch.float32)
    caption = torch.arange(64) % captions
    exact = multi_positive_loss(image, text, caption, 100.0)
    wanted = torch.autograd.grad(exact, [image, text])
    half = [x.detach().to(dtype).requires_grad_() for x in (image, text)]
    rounded = multi_positive_loss(half[0].float(), half[1].float(), caption, 100.0)
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    for got, want in zip(torch.autograd.grad(rounded, half), wanted, strict=True):
        assert torch.isfinite(got).all()
        assert (got.float() - want).norm() <= 0.1 * want.norm() + 1e-6


def test_opposite_features_at_the_largest_scale_are_finite() -> None:
    """Every image far from its caption and on another's: 200 nats, where an unguarded exponential overflows."""
    eye = torch.eye(4, 8, dtype=torch.float32)
    image, text = torch.cat([eye, -eye]), torch.cat([-eye, eye])
    image.requires_grad_()
    loss = multi_positive_loss(image, text, torch.arange(8), 100.0)
    assert loss.item() == pytest.approx(200, rel=1e-4)
    assert torch.isfinite(torch.autograd.grad(loss, image)[0]).all()
