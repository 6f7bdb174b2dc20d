"""Training through Ray: published with all it leaves, repeated as a no-op, refused before any rank starts."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.conftest import REPO
from tests.fault.training_job import tiny_vit
from tests.unit.training import toy
from wristmir_ray import job, storage
from wristmir_ray.config import RayConfig, load_config
from wristmir_ray.errors import ConfigError, NotPublished, TrainingDiverged
from wristmir_ray.models.encoder import load_encoder
from wristmir_ray.pruning import pipeline as pruning
from wristmir_ray.pruning.config import PruneConfig
from wristmir_ray.training import checkpoint, pipeline, trainer
from wristmir_ray.training.artifacts import Origin
from wristmir_ray.training.config import TrainClipConfig
from wristmir_ray.training.sharing import BEGUN

pytestmark = pytest.mark.ray

JOB = REPO / "jobs" / "train_clip.py"


def config(root: Path, **changes: object) -> TrainClipConfig:
    """Two CPU ranks, three epochs of three steps on 40 drawn exams."""
    settings = {
        "root": str(root),
        "encoder": {"init": "random", "image_size": 32, "fixed_batch": 8},
        "trainable": {"image_blocks": None},
        "batch_size": 32,
        "epochs": 3,
        "optim": {"lr": 3e-3, "warmup_steps": 2},
        "workers": {"num_workers": 2, "use_gpu": False, "cpus": 1, "max_failures": 1},
        "ray": RayConfig(progress=False).model_dump(),
        **changes,
    }
    return TrainClipConfig(**settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _ray_looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """The root of a finished run, one of whose crops is no picture."""
    root = tmp_path_factory.mktemp("trained")
    toy.publish(root, exams=40, corrupt=1)
    summary = pipeline.run(config(root))
    assert summary.rejects == {"corrupt_image": 1}
    assert not summary.skipped
    return root


def run_folder(root: Path) -> Path:
    return root / "encoder" / "runs" / storage.published(str(root), "encoder").run_id


def history(root: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_folder(root) / "metrics.jsonl").read_text().splitlines()]


def scalars(file: Path) -> list[tuple[str, int, float]]:
    """Read an event file as TensorBoard does: length, its checksum, a record, its checksum."""
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto.event_pb2 import Event

    data, found = file.read_bytes(), []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        record = data[12 : 12 + size]
        (stored,) = struct.unpack("<I", data[12 + size : 16 + size])
        crc = crc32c(record)
        assert stored == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
        event = Event.FromString(record)
        found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
        data = data[16 + size :]
    return found


def test_a_trained_encoder_is_published_with_all_it_leaves(trained: Path) -> None:
    manifest = storage.published(str(trained), "encoder")
    folder = run_folder(trained)
    left = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert left == {*manifest.files, "manifest.json"}
    assert {"model.safetensors", "encoder.json", "metrics.jsonl", "curves.png", "model_card.md", "config.yaml"} <= left
    assert manifest.inputs == {"crops": "toy", "captions": "toy"}
    rows = history(trained)
    assert [r["step"] for r in rows if r["kind"] == "step"] == list(range(6))
    assert [r["epoch"] for r in rows if r["kind"] == "epoch"] == [0, 1, 2]
    (first,) = [r for r in rows if r["kind"] == "start"]
    assert (first["ranks"], first["pairs_a_rank"], first["backend"]) == (2, 16, "gloo")
    best = max((r for r in rows if r["kind"] == "epoch"), key=lambda r: r["score"])
    assert manifest.metrics["val_recall_at_5"] == best["score"]
    assert manifest.metrics["steps"] == 6
    assert load_encoder(str(trained)).digest == manifest.metrics["digest"]


def test_its_settings_can_be_given_back_to_the_job(trained: Path) -> None:
    again = load_config(TrainClipConfig, ["--config", str(run_folder(trained) / "config.yaml")], JOB)
    assert again == config(trained)


def test_its_events_are_the_history(trained: Path) -> None:
    files = sorted((run_folder(trained) / "tensorboard").iterdir())
    assert len(files) == 3
    found = [row for file in files for row in scalars(file)]
    rows = history(trained)
    losses = [(r["step"], pytest.approx(r["loss"], rel=1e-6)) for r in rows if r["kind"] == "step"]
    assert [(step, value) for tag, step, value in found if tag == "train/loss"] == losses
    recalls = [pytest.approx(r["val_recall_at_5"], rel=1e-6) for r in rows if r["kind"] == "epoch"]
    assert [(step, value) for tag, step, value in found if tag == "epoch/val_recall_at_5"] == list(
        zip((1, 3, 5), recalls, strict=True)
    )


def test_its_card_names_data_digests_and_figures_and_no_caption(trained: Path) -> None:
    manifest, card = storage.published(str(trained), "encoder"), (run_folder(trained) / "model_card.md").read_text()
    named = {manifest.metrics["digest"], manifest.code, manifest.run_id, "run of captions: toy", "2 from epoch 0"}
    assert all(name in card for name in named)
    assert f"| val_recall_at_5 | {manifest.metrics['val_recall_at_5']:.4f} |" in card
    assert "| distal_ulna | 24 | 2 |" in card
    assert "region showing" not in card


def test_a_corrupt_crop_is_named_by_its_key(trained: Path) -> None:
    (row,) = json.loads((run_folder(trained) / "rejects.json").read_text())["corrupt_image"]
    exam, region = row.split("|")
    assert exam == toy.rows(1)[0][0]["exam_id"]
    assert region == "wrist"


def test_best_and_last_checkpoint_are_kept(trained: Path) -> None:
    epochs = [r for r in history(trained) if r["kind"] == "epoch"]
    best = max(epochs, key=lambda r: r["score"])["epoch"]
    kept = {p.name for p in (trained / "_work" / "train_clip").glob("*/epoch_*")}
    assert kept == {f"epoch_{best:03d}", "epoch_002"}


def test_the_same_run_again_does_nothing(trained: Path) -> None:
    before = storage.published(str(trained), "encoder")
    again = pipeline.run(config(trained))
    assert again.skipped
    assert again.runs == {"encoder": before.run_id}
    assert storage.published(str(trained), "encoder") == before


def _copy_of(trained: Path, root: Path) -> Path:
    """Publish the same tables below `root`, with the work of the trained run; return the run's folder there."""
    toy.publish(root, exams=40, corrupt=1)
    work = root / "_work" / "train_clip" / storage.published(str(trained), "encoder").run_id
    shutil.copytree(trained / "_work" / "train_clip" / work.name, work)
    return work


def _no_rank(*_: object) -> None:
    raise AssertionError("a rank was started")


def test_checkpoints_that_cannot_be_continued_are_refused_before_any_rank_starts(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another architecture, or, since the small model normalises over a rank's share, of another number of ranks."""
    work = _copy_of(trained, tmp_path)
    monkeypatch.setattr("wristmir_ray.training.trainer.fit", _no_rank)
    alone = config(tmp_path, workers={"num_workers": 1, "use_gpu": False, "cpus": 1})
    with pytest.raises(ConfigError, match=r"begun with 2 ranks .* with 1: .* Set workers.num_workers to 2, or delete"):
        pipeline.run(alone)
    begun = json.loads((work / BEGUN).read_text())
    begun["shapes"]["logit_scale"] = [2]
    (work / BEGUN).write_text(json.dumps(begun))
    with pytest.raises(
        ConfigError, match=rf"1 tensors differ, first logit_scale: \(2,\) stored.* delete .*{work.name}"
    ):
        pipeline.run(config(tmp_path))
    assert not (tmp_path / "encoder").exists()


def test_other_weights_under_the_same_path_are_another_run(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And those of another file with the same content are the same one."""
    from safetensors.torch import load_file, save_file

    toy.publish(tmp_path, exams=40)
    started: list[Origin] = []

    def fit(_: TrainClipConfig, origin: Origin, *__: object) -> None:
        started.append(origin)
        raise ConfigError("as far as this test goes")

    monkeypatch.setattr("wristmir_ray.training.trainer.fit", fit)
    state = load_file(run_folder(trained) / "model.safetensors")
    for name, scale in (("w", state["logit_scale"]), ("same", state["logit_scale"]), ("w", torch.tensor(1.0))):
        save_file({**state, "logit_scale": scale}, str(tmp_path / f"{name}.safetensors"))
        given = {"pretrained": str(tmp_path / f"{name}.safetensors"), "image_size": 32, "fixed_batch": 8}
        with pytest.raises(ConfigError, match="as far as"):
            pipeline.run(config(tmp_path, encoder=given))
    first, again, other = started
    assert first == again
    assert first.start != other.start
    assert first.run_id != other.run_id
    assert len(list((tmp_path / "_work" / "train_clip").iterdir())) == 2
    assert not storage.list_files(str(tmp_path / "_work" / "held"))


def test_pruning_leaves_what_a_running_training_reads(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captions were published anew while it decoded; pruned is with every age at zero, and once more when it ended."""
    toy.publish(tmp_path, exams=40)
    root, read = str(tmp_path), []
    prune = PruneConfig(root=root, keep=0, min_age_h=0, work_age_h=0, delete=True)

    def fit(_: TrainClipConfig, origin: Origin, folder: str, files: list[str]) -> None:
        storage.publish(root, storage.Manifest("captions", "later", "toy"))
        pruning.run(prune)
        read.extend([*files, str(Path(folder, origin.run_id, BEGUN)), *storage.list_files(f"{root}/captions/runs/toy")])
        assert len(read) >= 4
        assert all(Path(file).is_file() for file in read)
        raise ConfigError("as far as this test goes")

    monkeypatch.setattr("wristmir_ray.training.trainer.fit", fit)
    with pytest.raises(ConfigError, match="as far as"):
        pipeline.run(config(tmp_path))
    pruning.run(prune)
    assert not [file for file in read if Path(file).exists()]


def test_a_rank_refuses_weights_that_are_not_the_drivers(tmp_path: Path, local_ray: None) -> None:
    """As on a node with an older copy under the same path: here the driver's digest is of another file."""
    toy.publish(tmp_path, exams=40)
    model = tiny_vit(tmp_path / "model")
    one = {"num_workers": 1, "use_gpu": False, "cpus": 1, "max_failures": 3}
    few = config(tmp_path, encoder={"model": model, "init": "random"}, workers=one)
    files, _, _ = pipeline.decode(few, "toy", 36)
    origin = Origin("run", "code", {"crops": "toy", "captions": "toy"}, start="another")
    with pytest.raises(
        ConfigError, match=r"files of encoder.model local-dir:.*model on [\d.]+ are not those of the node"
    ):
        trainer.fit(few, origin, str(tmp_path / "_work" / "train_clip"), files)


@pytest.mark.slow
def test_a_checkpoint_of_another_architecture_ends_the_run_at_once(trained: Path, tmp_path: Path) -> None:
    """As if another open_clip had made the same name another model: no rank is started again for that."""
    work = _copy_of(trained, tmp_path)
    for file in work.glob("epoch_*/state.pt"):
        state = torch.load(file, weights_only=True)
        state["model"]["logit_scale"] = torch.zeros(2)
        torch.save(state, file)
    other = config(tmp_path, workers={"num_workers": 2, "use_gpu": False, "cpus": 1, "max_failures": 3})
    with pytest.raises(
        ConfigError, match=rf"1 tensors differ, first logit_scale: \(2,\) stored.* delete .*{work.name}"
    ):
        pipeline.run(other)


def test_a_loss_that_is_no_number_ends_the_run_at_once_with_its_batch(tmp_path: Path, local_ray: None) -> None:
    """Were it tried again, as often as max_failures says, the error would be the ranks', not the loss's."""
    toy.publish(tmp_path, exams=40)
    workers = {"num_workers": 2, "use_gpu": False, "cpus": 1, "max_failures": 3}
    with pytest.raises(TrainingDiverged, match=r"loss nan at step \d+ \(epoch 0\); .* begins with [0-9a-f]{32}") as e:
        pipeline.run(config(tmp_path, optim={"lr": 1e38, "warmup_steps": 0}, workers=workers))
    assert e.value.exit_code == 2
    (named,) = (tmp_path / "_work" / "train_clip").glob("*/nonfinite_batch.json")
    pairs = json.loads(named.read_text())["pairs"]
    assert len(set(pairs)) == 32
    assert set(pairs) <= {f"{r['exam_id']}|{r['region']}" for r in toy.rows(40)[0]}
    assert not (tmp_path / "encoder").exists()


TINY = ["--encoder.model", "wristmir_resnet", "--encoder.image_size", "32", "--trainable.image_blocks", "null"]
SMALL = [*TINY, "--encoder.init", "random", "--batch_size", "32", "--epochs", "3", "--optim.warmup_steps", "2"]
CPU = ["--workers.use_gpu", "false", "--workers.cpus", "1", "--workers.num_workers", "2", "--ray.progress", "false"]
BAD: dict[str, tuple[Callable[[Path], None], list[str], int, str]] = {
    "no tables": (lambda _: None, [], 2, "nothing is published as 'crops'"),
    "too few pairs": (lambda root: toy.publish(root, 10), [], 2, "24 training pairs do not fill a batch of 32"),
    "too few steps": (lambda root: toy.publish(root, 20), ["--epochs", "1"], 2, "do not outlast optim.warmup_steps"),
    "fewer captions than ranks": (
        lambda root: toy.publish(root, 40),
        ["--workers.num_workers", "16", "--workers.cpus", "0.1"],
        2,
        "distinct training captions are too few for 16 ranks",
    ),
    "a batch of one caption": (
        lambda root: toy.publish(root, 40),
        ["--batch_size", "2"],
        2,
        "have one caption, so that it teaches nothing",
    ),
    "a batch that ranks cannot share": (
        lambda root: toy.publish(root, 40),
        ["--batch_size", "33"],
        2,
        "batch_size 33 cannot be split equally over 2 workers",
    ),
    "corrupt crops": (
        lambda root: toy.publish(root, 40, corrupt=12),
        ["--max_reject_share", "0.05"],
        3,
        f"12 of 128 crops cannot be decoded, more than max_reject_share 0.05: {toy.rows(1)[0][0]['exam_id']}|",
    ),
    "no weights, no network": (
        lambda root: toy.publish(root, 40),
        ["--encoder.init", "pretrained", "--encoder.pretrained", "openai", "--encoder.model", "ViT-B-32"],
        2,
        "cannot load encoder 'ViT-B-32' with weights",
    ),
    "the paper's weights, no network": (
        lambda root: toy.publish(root, 40),
        ["--encoder.init", "pretrained", "--encoder.model", "hf-hub:nobody/nothing", "--encoder.image_size", "null"],
        2,
        "fetch it where there is a network: hf download nobody/nothing --local-dir FOLDER",
    ),
    "a file of weights that is not there": (
        lambda root: toy.publish(root, 40),
        ["--encoder.init", "pretrained", "--encoder.pretrained", "models/none.pt"],
        2,
        f"encoder.pretrained {Path.cwd()}/models/none.pt: there is no such file",
    ),
    "ranks that come and go with batch statistics": (
        lambda root: toy.publish(root, 40),
        ["--workers.min_workers", "1"],
        2,
        "workers.min_workers lets ranks come and go, but the model normalises over a rank's share of the batch",
    ),
    "weights of another architecture": (
        lambda root: toy.publish(root, 40),
        ["--encoder.init", "pretrained", "--encoder.pretrained", "OTHER"],
        2,
        "cannot load encoder 'wristmir_resnet' with weights (RuntimeError)",
    ),
    "more ranks than there is ever room for": (
        lambda root: toy.publish(root, 40),
        ["--workers.num_workers", "32"],
        2,
        "32 ranks of 1 CPU each cannot be placed: there is room for",
    ),
    "labels that no node has": (
        lambda root: toy.publish(root, 40),
        ["--workers.label_selector", '{"pool": "gpu"}'],
        2,
        "2 ranks of 1 CPU each on nodes labelled {'pool': 'gpu'} cannot be placed: there is room for 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_an_exit_code_before_any_rank_starts(
    name: str, tmp_path: Path, local_ray: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, settings, code, says = BAD[name]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    prepare(tmp_path)
    other = tmp_path / "other.safetensors"
    if "OTHER" in settings:
        from safetensors.torch import save_file

        save_file({"visual.proj": torch.zeros(3)}, str(other))
    told = [str(other) if s == "OTHER" else s for s in settings]
    capsys.readouterr()
    assert job.main(TrainClipConfig, pipeline.run, str(JOB), ["--root", str(tmp_path), *SMALL, *CPU, *told]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train_clip: ")]
    assert len(errors) == 1
    assert says in errors[0]
    assert not (tmp_path / "encoder").exists()
    assert not (tmp_path / "_work" / "train_clip").exists()


def test_pixels_that_were_damaged_since_are_named(tmp_path: Path, local_ray: None) -> None:
    toy.publish(tmp_path, exams=10)
    with pytest.raises(ConfigError, match="do not fill a batch"):
        pipeline.run(config(tmp_path))
    for file in (tmp_path / "_work" / "pixels").rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"decoded pixels were damaged; delete .*pixels"):
        pipeline.run(config(tmp_path))


def test_nothing_is_published_without_captions(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="nothing is published as 'crops'"):
        pipeline.run(config(tmp_path))


def test_a_history_survives_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / checkpoint.HISTORY).write_text('{"kind": "start"}\n{"kind":')
    with pytest.raises(checkpoint.CheckpointUnfit, match="damaged"):
        checkpoint.read_history(str(tmp_path))


def test_the_variants_differ_from_the_papers_settings_in_what_they_are_named_for() -> None:
    def load(name: str) -> dict[str, Any]:
        return load_config(TrainClipConfig, ["--config", str(JOB.with_name(name))], JOB).resolved()

    papers = load("train_clip.yaml")
    wanted = {
        "global_only": {"regions": ["wrist"]},
        "single_positive": {"loss": "single_positive"},
        "frozen_text": {"trainable": {**papers["trainable"], "text": False}},
    }
    for variant, changed in wanted.items():
        assert load(f"train_clip_{variant}.yaml") == {**papers, **changed}, variant
        written = yaml.safe_load((JOB.parent / f"train_clip_{variant}.yaml").read_text())
        assert written.pop("base") == "train_clip.yaml"
        assert written.keys() == changed.keys()
