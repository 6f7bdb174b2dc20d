"""One YAML, overrides, and errors that name the setting."""

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from wristmir_ray.config import JobConfig, Section, load_config
from wristmir_ray.errors import ConfigError


class Enhance(Section):
    clip_limit: float = Field(2.0, gt=0, description="contrast limit")
    tiles: int = Field(8, ge=1, description="tiles a side")


class ExampleConfig(JobConfig):
    """An example."""

    enhance: Enhance = Enhance()
    names: list[str] = Field([], description="names")


def _load(tmp_path: Path, text: str, *argv: str) -> ExampleConfig:
    path = tmp_path / "example.yaml"
    path.write_text(text)
    return load_config(ExampleConfig, argv, path)


def test_overrides_win_over_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    config = _load(
        tmp_path, "root: r\nenhance: {clip_limit: 3.0, tiles: 4}", "--enhance.tiles", "6", "--names", "[a,b]"
    )
    assert (config.enhance.clip_limit, config.enhance.tiles, config.names) == (3.0, 6, ["a", "b"])


def test_another_file_can_be_named(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("root: /elsewhere")
    assert _load(tmp_path, "root: r", "--config", str(other)).root == "/elsewhere"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("root: r\nenhanse: {}", "unknown setting 'enhanse'"),
        ("root: r\nenhance: {tile: 3}", "unknown setting 'enhance.tile'"),
        ("root: r\nenhance: {tiles: many}", "setting 'enhance.tiles'"),
        ("root: r\nenhance: {tiles: 0}", "setting 'enhance.tiles'"),
        ("names: []", "setting 'root' is required"),
        ("root: [", "is not YAML"),
        ("just text", "mapping"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as e:
        _load(tmp_path, text)
    assert "\n" not in str(e.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load_config(ExampleConfig, [], tmp_path / "nowhere.yaml")


def test_help_shows_what_the_file_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("root: /elsewhere\nenhance: {tiles: 5}")
    with pytest.raises(SystemExit) as e:
        _load(tmp_path, "root: /there\nenhance: {clip_limit: 3.5}", "--help")
    assert e.value.code == 0
    told = " ".join(capsys.readouterr().out.split())
    for word in ("(default: /there)", "contrast limit (default: 3.5)", "tiles a side (default: 8)", "An example."):
        assert word in told
    with pytest.raises(SystemExit):
        _load(tmp_path, "root: /there", "--config", str(other), "--help")
    told = " ".join(capsys.readouterr().out.split())
    assert "(default: /elsewhere)" in told
    assert "tiles a side (default: 5)" in told


def test_help_is_there_where_the_file_lacks_a_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _load(tmp_path, "names: []", "--help")
    assert "published (required)" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_flag_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"^command line: .*--nonsense 1 \(see --help\)$"):
        _load(tmp_path, "root: r", "--nonsense", "1")
    assert not capsys.readouterr().err


def test_the_environment_changes_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOT", "from-environment")
    assert _load(tmp_path, "root: /r").root == "/r"


def test_with_validates() -> None:
    config = ExampleConfig(root="r")
    assert config.with_(root="/s").root == "/s"
    with pytest.raises(ValueError, match="fragment_rows"):
        config.with_(fragment_rows=0)


@pytest.mark.parametrize(
    ("given", "expected"), [("s3://bucket/x", "s3://bucket/x"), ("/a/b", "/a/b"), ("a", "{cwd}/a")]
)
def test_a_local_root_is_absolute_since_workers_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert JobConfig(root=given).root == expected.format(cwd=tmp_path)


def test_an_empty_root_is_refused() -> None:
    with pytest.raises(ValidationError):
        JobConfig(root="")


def test_a_yaml_is_laid_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "lowest.yaml").write_text("root: /r\nfragment_rows: 5\nray: {num_cpus: 3, object_store_gib: 0.5}\n")
    (tmp_path / "middle.yaml").write_text("base: lowest.yaml\nray: {num_cpus: 7}\n")
    (tmp_path / "top.yaml").write_text("base: middle.yaml\nfragment_rows: 6\n")
    config = load_config(JobConfig, ["--config", str(tmp_path / "top.yaml")], tmp_path / "none.yaml")
    assert (config.root, config.fragment_rows) == ("/r", 6)
    assert (config.ray.num_cpus, config.ray.object_store_gib) == (7, 0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("base: bad.yaml", "bad.yaml is its own base"),
        ("base: other.yaml", "bad.yaml is its own base"),
        ("base: nowhere.yaml", "nowhere.yaml"),
        ("base: [a, b]", "`base` must name a YAML file beside it"),
    ],
)
def test_a_base_that_leads_nowhere_is_named(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    (tmp_path / "other.yaml").write_text("base: bad.yaml")
    with pytest.raises(ConfigError, match=says):
        load_config(JobConfig, ["--config", str(tmp_path / "bad.yaml")], tmp_path / "none.yaml")
