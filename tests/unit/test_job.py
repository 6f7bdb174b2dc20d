"""What every job does around its work."""

from pathlib import Path

import pytest

from wristmir_ray import job
from wristmir_ray.config import JobConfig
from wristmir_ray.errors import NotPublished
from wristmir_ray.job import Summary


def _program(tmp_path: Path) -> str:
    (tmp_path / "example.yaml").write_text("root: r")
    return str(tmp_path / "example.py")


def test_a_run_prints_one_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: JobConfig) -> Summary:
        return Summary(
            "example", {"exams": "r1"}, rows=10, rejects={"empty_file": 1}, max_reject_share=0.2, facts=facts
        )

    facts = {"exams_by_split": {"test": 4}, "table3": {"location": {"distal_radius": 1}}}
    assert job.main(JobConfig, run, _program(tmp_path), []) == 0
    out = capsys.readouterr().out
    assert "exams_by_split: {'test': 4}" in out
    assert "table3" not in out, "tables of tables stand in the manifest"
    assert "published exams r1" in out
    assert "rejected empty_file: 1" in out


def test_advice_is_a_line_each(tmp_path: Path) -> None:
    lines = str(Summary("example", {}, facts={"n": 1}, advice=("look here", "and there"))).splitlines()
    assert lines[-2:] == ["  warning: look here", "  warning: and there"]


def test_too_many_rejects_end_with_exit_code_3(tmp_path: Path) -> None:
    def run(config: JobConfig) -> Summary:
        return Summary("example", {}, rows=10, rejects={"empty_file": 3}, max_reject_share=0.2)

    assert job.main(JobConfig, run, _program(tmp_path), []) == 3


def test_an_impossible_run_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: JobConfig) -> Summary:
        raise NotPublished("nothing is published as 'exams'")

    assert job.main(JobConfig, run, _program(tmp_path), []) == 2
    assert capsys.readouterr().err == "example: nothing is published as 'exams'\n"
    assert job.main(JobConfig, run, _program(tmp_path), ["--max_reject_share", "2"]) == 2
