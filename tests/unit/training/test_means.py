"""What makes a step fast changes neither its loss nor its gradients: each means against the plain form."""

import os
from pathlib import Path

import pytest
import torch

from tests.unit.training import toy
from wristmir_ray.errors import ConfigError
from wristmir_ray.training.learner import Learner

PLAIN = {"distinct_captions": False, "trim_captions": False, "pooled_token": False, "fused_optimizer": False}
MEANS = {
    "distinct_captions": {"distinct_captions": True},
    "trim_captions": {"trim_captions": True},
    "pooled_token": {"pooled_token": True},
    "all": {"distinct_captions": True, "trim_captions": True, "pooled_token": True},
    "all in parts": {"distinct_captions": True, "trim_captions": True, "pooled_token": True, "micro_batch": 5},
    "checkpoint_blocks": {"checkpoint_blocks": True, "pooled_token": True},
    "prefetch": {"prefetch": 0},
}


def twin(folder: Path, step: dict[str, object], rank: int = 0, world: int = 1, **changes: object) -> Learner:
    """A learner of BiomedCLIP's shape whose last four image blocks are trained."""
    settings = {
        "encoder": {"model": toy.transformers(folder / "model"), "init": "random"},
        "trainable": {"image_blocks": 4},
        "batch_size": 16,
        "step": {**PLAIN, **step},
        **changes,
    }
    return toy.learner(folder, 10, rank, world, **settings)


def gradient(trained: Learner) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients of the first step."""
    trained.model.train()
    trained.model.text.eval()
    half = trained.forward(next(trained._batches.of_epoch(0, 0, 1)), 0)
    half.backward()
    return half.loss, {n: p.grad for n, p in trained.model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module", params=["multi_positive", "single_positive"])
def plain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, object]:
    folder = tmp_path_factory.mktemp("plain")
    return request.param, gradient(twin(folder, {}, loss=request.param))


@pytest.mark.parametrize("name", MEANS)
def test_each_means_gives_the_plain_forms_loss_and_gradients(
    name: str, plain: tuple[str, tuple[float, dict[str, torch.Tensor]]], tmp_path: Path
) -> None:
    kind, (loss, grads) = plain
    ours, got = gradient(twin(tmp_path, MEANS[name], loss=kind))
    assert ours == pytest.approx(loss, abs=1e-5)
    assert got.keys() == grads.keys()
    for parameter, wanted in grads.items():
        assert torch.allclose(got[parameter], wanted, atol=1e-5 * max(1.0, float(wanted.abs().max()))), parameter
    assert max(float(g.abs().max()) for g in grads.values()) > 1e-2


RANKED = {
    "all": ({}, {}),
    "in parts": ({"micro_batch": 3}, {}),
    "frozen text": ({}, {"trainable": {"image_blocks": 4, "text": False}}),
    "one text a sample": ({"distinct_captions": False, "micro_batch": 3}, {"loss": "single_positive"}),
}


def _rank(rank: int, world: int, folder: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    place = Path(folder) / f"rank{rank}"
    made = {
        name: gradient(twin(place, {**MEANS["all"], **step}, rank, world, **changes))
        for name, (step, changes) in RANKED.items()
    }
    torch.save(made, f"{folder}/rank{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    """Each trims its own share of the captions; whatever is on, the gradients are the plain form's."""
    torch.multiprocessing.spawn(_rank, args=(2, str(tmp_path)), nprocs=2)
    for name, (_, changes) in RANKED.items():
        loss, grads = gradient(twin(tmp_path / "whole", {}, **changes))
        for rank in (0, 1):
            ours, got = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)[name]
            assert ours == pytest.approx(loss, abs=1e-5)
            assert got.keys() == grads.keys()
            for parameter, wanted in grads.items():
                near = 1e-5 * max(1.0, float(wanted.abs().max()))
                assert torch.allclose(got[parameter], wanted, atol=near), (name, parameter)


def test_the_means_do_what_they_are_named_for(tmp_path: Path) -> None:
    """Fewer and shorter captions reach the tower, and one token leaves the last block."""
    seen: dict[str, list[tuple[int, ...]]] = {}
    for name, step in (("plain", {}), ("all", MEANS["all"])):
        trained = twin(tmp_path / name, step)
        trained.model.text.register_forward_pre_hook(lambda _, x, n=name: seen.setdefault(n, []).append(x[0].shape))
        trained.model.visual.trunk.norm.register_forward_hook(
            lambda _, x, y, n=name: seen.setdefault(n, []).append(y.shape)
        )
        gradient(trained)
    assert {tuple(s) for s in seen["plain"]} == {(16, 48), (16, 101, 64)}
    texts = next(s for s in seen["all"] if len(s) == 2)
    assert texts[0] <= 8
    assert texts[1] <= 16
    assert (16, 1, 64) in seen["all"]


def test_fused_updates_are_the_plain_ones(tmp_path: Path) -> None:
    runs = [toy.losses(twin(tmp_path / str(f), {"fused_optimizer": f}, steps=4)) for f in (False, True)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-5)


def test_frozen_blocks_and_a_frozen_text_tower_keep_no_graph(tmp_path: Path) -> None:
    """No tensor is saved for backward before the first trained block, and the text tower runs once in all."""
    trained = twin(tmp_path, MEANS["all"], trainable={"image_blocks": 4, "text": False}, steps=2)
    graphs, texts = {}, []
    blocks = trained.model.visual.trunk.blocks
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda _, x, y, i=i: graphs.__setitem__(i, y.requires_grad))
    trained.model.text.register_forward_hook(lambda _, x, y: texts.append(y.requires_grad))
    saved: list[int] = []
    count = torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(1) or t, lambda t: t)
    at_block: list[int] = []
    blocks[len(blocks) - 4].register_forward_pre_hook(lambda *_: at_block.append(len(saved)))
    with count:
        trained.train_epoch(0)
    assert graphs == {i: i >= len(blocks) - 4 for i in range(len(blocks))}
    assert at_block[0] == 0
    assert len(saved) > 0
    assert texts == [False]


def test_features_of_a_frozen_text_tower_are_those_of_its_weights(tmp_path: Path) -> None:
    """Kept features give the plain form's loss, and weights that are loaded replace them."""
    frozen = {"image_blocks": 4, "text": False}
    kept = twin(tmp_path / "kept", MEANS["all"], trainable=frozen)
    loss, grads = gradient(kept)
    plain_loss, plain_grads = gradient(twin(tmp_path / "plain", {}, trainable=frozen))
    assert loss == pytest.approx(plain_loss, abs=1e-5)
    assert grads.keys() == plain_grads.keys()
    assert not [n for n in grads if n.startswith("text.")]
    other = kept.state()
    other["model"] = {
        k: v + 0.1 * torch.randn_like(v) if k.startswith("text.proj") else v for k, v in other["model"].items()
    }
    kept.load_state(other)
    assert abs(gradient(kept)[0] - loss) > 1e-4


def test_dropout_of_an_image_tower_depends_on_seed_step_and_rank_alone(tmp_path: Path) -> None:
    model = toy.transformers(tmp_path / "model", drop=0.3)
    trained = [twin(tmp_path / str(i), {}, encoder={"model": model, "init": "random"}) for i in range(2)]
    first, again = (gradient(t)[0] for t in trained)
    torch.manual_seed(99)
    assert first == again == gradient(trained[0])[0]


@pytest.mark.slow
def test_a_compiled_model_takes_the_same_steps(tmp_path: Path) -> None:
    """Traced by Dynamo and differentiated ahead of time; no C++ is generated, so that the test stays short."""
    plain_run = toy.losses(twin(tmp_path / "plain", MEANS["all"], steps=3))
    trained = twin(tmp_path / "compiled", MEANS["all"], steps=3)
    for tower, dynamic in ((trained.model.visual, None), (trained.model.text, True)):
        tower.compile(dynamic=dynamic, backend="aot_eager")
    assert toy.losses(trained) == pytest.approx(plain_run, abs=1e-4)
    assert trained.validate()["val_loss"] is not None
    torch.compiler.reset()


def test_parts_of_the_demos_model_are_refused_when_it_is_built(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"normalises over the batch .* set step\.micro_batch to null"):
        toy.learner(tmp_path, step={"micro_batch": 8})
