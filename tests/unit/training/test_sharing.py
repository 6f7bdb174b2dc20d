"""What is refused where the share of a rank, or of a part, decides what a model learns."""

import json
from pathlib import Path

import pytest
import torch

from tests.unit.training import toy
from wristmir_ray.errors import ConfigError
from wristmir_ray.models.clip import build
from wristmir_ray.models.config import EncoderConfig
from wristmir_ray.training.config import StepConfig, WorkersConfig
from wristmir_ray.training.sharing import BEGUN, begin, check_elastic, check_exact, depends_on_ranks

NORMS = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
PLAIN = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Dropout(0.0))
DROPS = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.1))


def test_a_second_pass_is_refused_where_the_model_normalises_over_the_batch() -> None:
    model = NORMS
    with pytest.raises(ConfigError, match=r"micro_batch 8 would cut .* 32 pairs .* \(1 layers, first 1\): set"):
        check_exact(model, 32, StepConfig(micro_batch=8))
    with pytest.raises(ConfigError, match=r"checkpoint_blocks runs blocks twice, .* first 1\): set it to false"):
        check_exact(model, 32, StepConfig(checkpoint_blocks=True))
    check_exact(model, 32, StepConfig(micro_batch=32))
    check_exact(model, 32, StepConfig())
    check_exact(PLAIN, 32, StepConfig(micro_batch=8, checkpoint_blocks=True))


def test_what_hangs_on_the_ranks_is_told_by_the_models_layers(tmp_path: Path) -> None:
    assert depends_on_ranks(PLAIN) == ""
    assert depends_on_ranks(NORMS) == "the model normalises over a rank's share of the batch (1 layers, first 1)"
    assert depends_on_ranks(DROPS) == "the model drops units at random, rank by rank (1 layers, first 1)"
    both = depends_on_ranks(torch.nn.Sequential(NORMS, DROPS))
    assert both.startswith("the model normalises over")
    assert "and drops units" in both
    demos = build(EncoderConfig(init="random")).model
    assert "layers, first visual.trunk." in depends_on_ranks(demos)
    text_alone = build(EncoderConfig(model=toy.transformers(tmp_path / "text", dropout=0.1), init="random"))
    assert depends_on_ranks(text_alone.model) == "", "the text tower trains without dropout"
    head = build(EncoderConfig(model=toy.transformers(tmp_path / "head", drop=0.3), init="random"))
    assert "drops units at random, rank by rank (1 layers, first visual." in depends_on_ranks(head.model)


@pytest.mark.parametrize("share", ["drop_path_rate", "patch_drop_rate", "attn_drop_rate", "proj_drop_rate"])
def test_dropped_paths_patches_and_attention_count(share: str) -> None:
    """timm's towers take all of them; what they draw is a rank's own."""
    import timm

    tower = timm.create_model("test_vit", pretrained=False, **{share: 0.5})
    assert "drops units" in depends_on_ranks(tower)
    tower.train()
    images = torch.rand(8, 3, 160, 160)
    torch.manual_seed(0)
    first = tower(images)
    torch.manual_seed(1)
    assert not torch.equal(tower(images), first)


def test_ranks_that_come_and_go_are_refused_where_each_number_is_another_training() -> None:
    elastic = WorkersConfig(num_workers=4, min_workers=2)
    for model, said in ((NORMS, "normalises over"), (DROPS, "drops units")):
        with pytest.raises(ConfigError, match=rf"workers.min_workers lets ranks come and go, but .*{said}.* to null"):
            check_elastic(model, elastic)
        check_elastic(model, WorkersConfig(num_workers=4))
        check_elastic(model, WorkersConfig(num_workers=4, min_workers=4))
    check_elastic(PLAIN, elastic)


def _begun(folder: Path, model: torch.nn.Module, ranks: int, checkpoints: int = 1) -> None:
    begin(model, WorkersConfig(num_workers=ranks), str(folder))
    for epoch in range(checkpoints):
        (folder / f"epoch_{epoch:03d}").mkdir()
        (folder / f"epoch_{epoch:03d}" / "state.pt").write_bytes(b"weights")


def test_a_resume_on_other_ranks_is_refused_where_it_would_be_another_training(tmp_path: Path) -> None:
    for name, model in (("norms", NORMS), ("drops", DROPS)):
        _begun(tmp_path / name, model, ranks=4)
        begin(model, WorkersConfig(num_workers=4), str(tmp_path / name))
        with pytest.raises(
            ConfigError, match=r"begun with 4 ranks .* with 2: .* Set workers.num_workers to 4, or delete"
        ):
            begin(model, WorkersConfig(num_workers=2), str(tmp_path / name))
    _begun(tmp_path / "plain", PLAIN, ranks=4)
    begin(PLAIN, WorkersConfig(num_workers=2), str(tmp_path / "plain"))


def test_a_run_without_a_checkpoint_begins_anew_on_any_ranks(tmp_path: Path) -> None:
    _begun(tmp_path, NORMS, ranks=4, checkpoints=0)
    begin(NORMS, WorkersConfig(num_workers=2), str(tmp_path))
    assert json.loads((tmp_path / BEGUN).read_text())["ranks"] == 2


def test_checkpoints_of_another_architecture_are_refused_by_their_shapes(tmp_path: Path) -> None:
    _begun(tmp_path, PLAIN, ranks=2)
    other = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.LayerNorm(5))
    with pytest.raises(
        ConfigError, match=r"another architecture: 4 tensors differ, first 0.bias: \(4,\) stored.* delete"
    ):
        begin(other, WorkersConfig(num_workers=2), str(tmp_path))
    (tmp_path / BEGUN).write_text("{")
    with pytest.raises(ConfigError, match=r"begun.json was lost or damaged.* delete .* to train anew"):
        begin(PLAIN, WorkersConfig(num_workers=2), str(tmp_path))
