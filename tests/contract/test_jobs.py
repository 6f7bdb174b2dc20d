"""Every job's YAML loads, its `--help` answers, and bad input is one line with exit code 2."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wristmir_ray import job
from wristmir_ray.config import load_config

JOBS = Path(__file__).parents[2] / "jobs"
NAMES = sorted(p.stem for p in JOBS.glob("*.py"))
YAMLS = sorted(JOBS.glob("*.yaml"))


def _config_class(name: str, monkeypatch: pytest.MonkeyPatch) -> type:
    """The configuration class a job hands to `job.main`."""
    spec = importlib.util.spec_from_file_location(f"job_{name}", JOBS / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    seen: list[type] = []
    monkeypatch.setattr(job, "main", lambda cls, *_: seen.append(cls) or 0)
    module.main([])
    return seen[0]


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.name)
def test_every_yaml_loads_and_help_shows_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = max((n for n in NAMES if path.stem.startswith(n)), key=len)
    cls = _config_class(name, monkeypatch)
    config = load_config(cls, [], path)
    assert config.root
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit):
        load_config(cls, ["--help"], path)
    shown = capsys.readouterr().out
    assert f"(default: {config.root})" in shown
    assert "(required)" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_every_job_is_short_and_has_its_yaml(name: str) -> None:
    lines = (JOBS / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 60
    assert (JOBS / f"{name}.yaml").exists()


@pytest.mark.parametrize("name", NAMES)
def test_bad_settings_are_one_line_and_exit_code_2(name: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text((JOBS / f"{name}.yaml").read_text() + "\nnonsense_setting: 1\n")
    command = [sys.executable, str(JOBS / f"{name}.py"), "--config", str(bad)]
    out = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), cwd=tmp_path, check=False)
    assert out.returncode == 2, out.stderr
    assert "nonsense_setting" in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [bad]
