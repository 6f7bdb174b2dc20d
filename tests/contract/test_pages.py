"""The pages that people read say what stands in the code."""

import ast
import re

import pytest
import yaml

from tests.conftest import REPO

PACKAGE = REPO / "wristmir_ray"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py")


def first_line(source: str) -> str:
    return (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]


def test_the_architecture_page_has_one_line_a_file() -> None:
    page = (PACKAGE / "README.md").read_text()
    listed = re.findall(r"^- `([\w/]+\.py)` (.+)$", page, flags=re.MULTILINE)
    assert sorted(listed) == sorted((str(p.relative_to(PACKAGE)), first_line(p.read_text())) for p in MODULES)


def test_the_readme_names_every_job_and_every_target_there_is() -> None:
    page = (REPO / "README.md").read_text()
    assert set(re.findall(r"jobs/(\w+)\.py", page)) == {p.stem for p in (REPO / "jobs").glob("*.py")}
    targets = set(re.findall(r"^([a-z-]+):.*## ", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", page)) <= targets


def settings(page: str) -> list[tuple[str, str]]:
    """Every `--setting` that a command of the README gives to a job."""
    joined = page.replace("\\\n", " ")
    calls = re.findall(r"^\S*python jobs/(\w+)\.py([^#\n]*)", joined, flags=re.MULTILINE)
    return [(job, name) for job, rest in calls for name in re.findall(r"--(?!config)([\w.]+)", rest)]


@pytest.mark.parametrize(("job", "name"), settings((REPO / "README.md").read_text()))
def test_the_readmes_settings_exist(job: str, name: str) -> None:
    data = yaml.safe_load((REPO / "jobs" / f"{job}.yaml").read_text())
    for part in name.split("."):
        assert part in data, f"jobs/{job}.yaml has no {name}"
        data = data[part]
