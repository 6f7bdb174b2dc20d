"""Mining by language models on a real local Ray: a real vLLM engine with a tiny random Gemma 3, a scripted endpoint."""

import logging
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.mining_world import common, findings, http, processes, publish_reports, wait_until
from tests.scripted_endpoint import Script, report, scripted_endpoint
from tests.tiny_gemma import make_tiny_gemma
from tests.unit.imaging import samples
from wristmir_ray import keys, storage
from wristmir_ray.errors import ConfigError, EndpointRefuses, NotPublished
from wristmir_ray.ingest.config import IngestConfig
from wristmir_ray.ingest.pipeline import run as ingest
from wristmir_ray.mining.config import MiningConfig, VllmConfig
from wristmir_ray.mining.pipeline import mine
from wristmir_ray.schemas import ATTEMPTS, EXAMS, FINDINGS

pytestmark = pytest.mark.ray

OTHERS = ["CHEST, PA VIEW. Clear lungs.", " ", "x" * 100_001]


# ---------------------------------------------------------------- vLLM


@pytest.fixture(scope="module")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gemma(tmp_path_factory.mktemp("gemma") / "tiny")


def test_a_real_vllm_engine_mines_reports(local_ray: None, tmp_path: Path, tiny_gemma: Path) -> None:
    """A random model says nothing of value: what is tested is the path. Guided decoding gives valid
    records, or an answer cut at the limit; everything ends as one row, and nothing is made up."""
    by_id = publish_reports(tmp_path, [*(report(n) for n in range(10)), *OTHERS])
    engine = {"dtype": "bfloat16", "enforce_eager": True, "max_num_seqs": 4}
    vllm = VllmConfig(
        model=str(tiny_gemma), device="cpu", max_model_len=8192, max_tokens=900, batch_size=8, engine_kwargs=engine
    )
    config = MiningConfig(**common(tmp_path, engine="vllm", vllm=vllm))
    summary = mine(config)
    rows = findings(tmp_path)
    assert rows.keys() == by_id.keys()
    classes = {by_id[i]: r["failure_class"] for i, r in rows.items()}
    assert [classes[t] for t in OTHERS] == ["not_a_wrist_report", "empty_report", "report_too_long"]
    asked = [r for i, r in rows.items() if by_id[i] not in OTHERS]
    assert {r["failure_class"] for r in asked} <= {None, "length"}
    valid = [r for r in asked if r["status"] in {"ok", "repaired"}]
    assert len(valid) >= 3
    for r in valid:
        for e in [e for f in r["findings"] for e in f["evidence"]] + r["evidence"]:
            assert e["start"] == -1 or by_id[r["report_id"]][e["start"] : e["end"]] == e["quote"]
    assert all(r["tokens_in"] > 500 and r["tokens_out"] > 0 for r in asked)
    cached = sorted(r["tokens_cached"] / r["tokens_in"] for r in asked)
    assert cached[len(asked) // 2] > 0.8, "reports after the first wave read the shared prompt again"
    assert summary.facts["tokens_cached"] > 0
    first = storage.read_table(str(tmp_path), ATTEMPTS, good_only=False)
    assert first.num_rows == len(by_id)
    again = mine(config)
    assert again.skipped
    assert again.runs == summary.runs


def test_a_machine_without_a_gpu_says_so(local_ray: None, tmp_path: Path, tiny_gemma: Path) -> None:
    import ray

    if ray.cluster_resources().get("GPU"):
        pytest.skip("this machine has a GPU")
    publish_reports(tmp_path, [report(1)])
    with pytest.raises(ConfigError, match=r"needs 1 GPU\(s\) and this machine has 0"):
        mine(MiningConfig(**common(tmp_path, engine="vllm", vllm=VllmConfig(model=str(tiny_gemma)))))


# ---------------------------------------------------------------- a scripted endpoint


@pytest.fixture
def endpoint() -> Iterator[tuple[str, Script]]:
    with scripted_endpoint(slow_s=5.0) as found:
        yield found


def test_what_an_endpoint_answers_becomes_findings(
    local_ray: None, tmp_path: Path, endpoint: tuple[str, Script]
) -> None:
    words = ["", "", "mend", "enum", "prose", "down", "slow", "lie"]
    texts = [report(n, word) for n, word in enumerate(words)]
    by_id = publish_reports(tmp_path, [*texts, *OTHERS])
    config = MiningConfig(**common(tmp_path, engine="http", http=http(endpoint[0])))
    summary = mine(config)
    rows = {by_id[i]: r for i, r in findings(tmp_path).items()}
    assert [(rows[t]["status"], rows[t]["failure_class"]) for t in texts] == [
        ("ok", None),
        ("ok", None),
        ("repaired", None),
        ("rejected", "wrong_value"),
        ("rejected", "invalid_json"),
        ("rejected", "engine_error"),
        ("rejected", "timeout"),
        ("ok", None),
    ]
    assert rows[texts[2]]["attempts"] == 2
    assert rows[texts[2]]["tokens_in"] == 200
    assert summary.rejects == {
        "invalid_record": 2,
        "no_answer": 2,
        "not_a_wrist_report": 1,
        "empty_report": 1,
        "report_too_long": 1,
    }
    assert not any("case" in (r["error_message"] or "") for r in rows.values())
    asked = endpoint[1].asked.total()
    elsewhere = MiningConfig(**common(tmp_path, engine="http", http=http("http://127.0.0.1:9/v1/")))
    assert mine(config).skipped
    assert mine(elsewhere).skipped
    assert endpoint[1].asked.total() == asked


def test_what_two_studies_report_in_the_same_words_is_asked_for_once(
    local_ray: None, tmp_path: Path, endpoint: tuple[str, Script]
) -> None:
    """Ingest gives one row for each exam's report: the doubles end when REPORTS is published."""
    texts = [report(1), report(1), report(2), report(1)]
    names = [f"{n}.png" for n in range(len(texts))]
    (tmp_path / "images").mkdir()
    for n, name in enumerate(names):
        (tmp_path / "images" / name).write_bytes(samples.png(samples.pixels(16, 64, 40 + n)))
    known = [f"{name},P{n},A{n},left,pa" for n, name in enumerate(names)]
    told = [f'A{n},"{text}"' for n, text in enumerate(texts)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file,patient_id,accession,laterality,view", *known]))
    (tmp_path / "reports.csv").write_text("\n".join(["accession,report", *told]))
    columns = ("file", "patient_id", "accession", "laterality", "view")
    ingest(
        IngestConfig(
            root=str(tmp_path),
            images=str(tmp_path / "images"),
            metadata={"path": str(tmp_path / "metadata.csv"), "columns": {name: name for name in columns}},
            reports={"path": str(tmp_path / "reports.csv")},
            fragment_rows=2,
            ray={"progress": False},
        )
    )
    exams = storage.read_table(str(tmp_path), EXAMS)
    assert Counter(exams["report_id"].to_pylist()) == {keys.report_id(report(1)): 3, keys.report_id(report(2)): 1}
    mine(MiningConfig(**common(tmp_path, engine="http", http=http(endpoint[0]))))
    assert sorted(endpoint[1].asked.values()) == [1, 1]
    assert {r["status"] for r in findings(tmp_path).values()} == {"ok"}


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Nothing is logged: pytest keeps what is, Ray logs the error with all its frames, and those hold its workers."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def test_an_endpoint_that_refuses_every_report_ends_the_job_and_publishes_nothing(
    local_ray: None, tmp_path: Path, endpoint: tuple[str, Script], unlogged: None
) -> None:
    publish_reports(tmp_path, [report(n) for n in range(4)])
    config = MiningConfig(**common(tmp_path, engine="http", http=http(endpoint[0])))
    endpoint[1].refuses = 404
    with pytest.raises(EndpointRefuses, match="status 404") as caught:
        mine(config)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1
    wait_until(lambda: not processes("MapBatches(AskEndpoint)"), 60)  # its worker ends with a run
    for table in (ATTEMPTS, FINDINGS):
        with pytest.raises(NotPublished):
            storage.published(str(tmp_path), table.name)
    endpoint[1].refuses = None
    mine(config)
    assert {r["status"] for r in findings(tmp_path).values()} == {"ok"}
    wait_until(lambda: not processes("MapBatches(AskEndpoint)"), 60)


def test_a_model_that_is_not_served_is_one_line_before_any_work(local_ray: None, tmp_path: Path) -> None:
    publish_reports(tmp_path, [report(1)])
    wrong = pytest.raises(ConfigError, match=r"set --http\.model to one of: another")
    with scripted_endpoint(models=["another"]) as (url, script), wrong:
        mine(MiningConfig(**common(tmp_path, engine="http", http=http(url))))
    assert not script.asked


def test_an_endpoint_that_is_not_there_is_one_line_before_any_work(tmp_path: Path) -> None:
    publish_reports(tmp_path, [report(1)])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(ConfigError, match=r"set --http\.url"):
        mine(MiningConfig(**common(tmp_path, engine="http", http=http("http://127.0.0.1:9/v1/"))))
    assert sorted(os.listdir(tmp_path)) == before
