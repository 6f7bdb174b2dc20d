"""Deaths of a real vLLM engine on CPU, of what counts them, and of a real vLLM server.

The model is tiny and random; a logits processor of the tests makes its answers valid, ends the engine
where a report is poisoned, and notes every report that an engine takes in.
"""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO
from tests.integration.local_head import end_session, environment, free_ports, wait_for
from tests.integration.mining_world import (
    cases,
    common,
    findings,
    http,
    is_dead,
    kill,
    processes,
    publish_reports,
    tell,
    wait_until,
    written,
)
from tests.poison_word import DEADLY, NOTES, POISON
from tests.scripted_endpoint import report
from tests.tiny_gemma import make_tiny_gemma
from wristmir_ray.mining.config import MiningConfig, VllmConfig
from wristmir_ray.mining.isolation import MAX_DEATHS
from wristmir_ray.mining.pipeline import mine

pytestmark = [pytest.mark.ray, pytest.mark.fault, pytest.mark.slow]
ENGINE, ACTOR, LEDGER = "VLLM::EngineCore", "MapBatches(GuardedEngine)", "DeathLedger"


@pytest.fixture(scope="module")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_gemma(tmp_path_factory.mktemp("gemma") / "tiny")


def config(root: Path, model: Path, **changes: Any) -> MiningConfig:
    engine = {"dtype": "bfloat16", "enforce_eager": True, "max_num_seqs": 8, "logits_processors": [DEADLY]}
    given = {"device": "cpu", "max_tokens": 900, "batch_size": 8, "max_concurrent_batches": 1, **changes}
    env = {"PYTHONPATH": str(REPO), NOTES: str(root / "notes")}
    vllm = VllmConfig(model=str(model), engine_kwargs=engine, env=env, **given)
    return MiningConfig(**common(root, engine="vllm", vllm=vllm))


def taken_in(root: Path) -> Counter[int]:
    """Return how often each report was taken in by an engine."""
    notes = root / "notes"
    return Counter(map(int, notes.read_text().split())) if notes.exists() else Counter()


def classes(root: Path, by_id: dict[str, str]) -> dict[str, str | None]:
    return {by_id[i]: r["failure_class"] for i, r in findings(root).items()}


def test_a_report_that_kills_the_engine_is_set_apart(local_ray: None, tmp_path: Path, tiny_gemma: Path) -> None:
    """The engine's process really dies, three times; the neighbours have their rows, and nothing hangs."""
    texts = [report(n, POISON if n == 7 else "") for n in range(8)]
    by_id = publish_reports(tmp_path, texts)
    mine(config(tmp_path, tiny_gemma))
    assert classes(tmp_path, by_id) == {t: "engine_death" if POISON in t else None for t in texts}
    assert taken_in(tmp_path)[7] == MAX_DEATHS


@pytest.mark.parametrize("victim", [ENGINE, ACTOR])
def test_a_killed_engine_costs_what_it_was_reading(
    local_ray: None, tmp_path: Path, tiny_gemma: Path, victim: str
) -> None:
    """The engine's process or the actor that holds it: nobody is blamed, and no engine is left behind."""
    texts = [report(n) for n in range(32)]
    by_id = publish_reports(tmp_path, texts)

    def kill_at_half() -> set[int]:
        wait_until(lambda: taken_in(tmp_path).total() > 0)
        engines = processes(ENGINE)
        assert len(engines) == 1
        kill(victim, when=lambda: taken_in(tmp_path).total() >= len(texts) // 2 + 4)
        wait_until(lambda: is_dead(engines[0]), 20)  # before the next one wants the memory
        return set(taken_in(tmp_path)) - cases(by_id, written(tmp_path))

    with ThreadPoolExecutor(1) as pool:
        in_flight = pool.submit(kill_at_half)
        mine(config(tmp_path, tiny_gemma))
    read = taken_in(tmp_path)
    tell({n for n in read if read[n] > 1}, len(texts), in_flight.result())
    assert classes(tmp_path, by_id) == dict.fromkeys(texts)


def test_deaths_are_counted_anew_when_their_ledger_died(local_ray: None, tmp_path: Path, tiny_gemma: Path) -> None:
    """Killed after the first death of the engine, it forgets its suspects; the poison is set apart all the same."""
    texts = [report(n, POISON if n == 3 else "") for n in range(8)]
    by_id = publish_reports(tmp_path, texts)
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill, LEDGER, lambda: taken_in(tmp_path)[3] == 1)
        mine(config(tmp_path, tiny_gemma))
    assert killed.result()
    print(f"the poison was taken in {taken_in(tmp_path)[3]} times")
    assert classes(tmp_path, by_id) == {t: "engine_death" if POISON in t else None for t in texts}
    assert taken_in(tmp_path)[3] in {MAX_DEATHS, MAX_DEATHS + 1}


# ---------------------------------------------------------------- a vLLM server


def test_a_server_that_dies_of_a_report_and_is_started_again(local_ray: None, tmp_path: Path, tiny_gemma: Path) -> None:
    """A real `vllm serve`, its engine really dead three times, a supervisor that starts it again."""
    texts = [report(n, POISON if n == 5 else "") for n in range(12)]
    by_id = publish_reports(tmp_path, texts)
    with supervised_server(tiny_gemma, tmp_path) as (url, starts):
        endpoint = http(url, model=str(tiny_gemma), timeout_s=120, backoff_s=1.0, concurrency=4, max_tokens=900)
        mine(MiningConfig(**common(tmp_path, engine="http", http=endpoint)))
        print(f"{starts()} starts, the poison was taken in {taken_in(tmp_path)[5]} times")
        assert starts() == MAX_DEATHS + 1
    assert classes(tmp_path, by_id) == {t: "engine_death" if POISON in t else None for t in texts}
    assert taken_in(tmp_path)[5] == MAX_DEATHS


@contextmanager
def supervised_server(model: Path, root: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    """Start a server, and again whenever it has ended; yield its address, and how often it was started."""
    (port,) = free_ports(1)
    arguments = ["--model", str(model), "--port", str(port), "--logits-processors", DEADLY, "--max-num-seqs", "8"]
    arguments += ["--dtype", "bfloat16", "--enforce-eager", "--max-model-len", "8192", "--host", "127.0.0.1"]
    arguments += ["--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}']
    environ = {**environment(), "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    environ |= {"PYTHONPATH": str(REPO), NOTES: str(root / "notes")}
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments]
    lives: list[subprocess.Popen[bytes]] = []
    stop = threading.Event()

    def start() -> None:
        with (root / "server.log").open("ab") as log:
            lives.append(subprocess.Popen(command, env=environ, start_new_session=True, stdout=log, stderr=log))

    def supervise() -> None:
        while not stop.wait(0.2):
            if lives[-1].poll() is not None:
                start()

    start()
    supervisor = threading.Thread(target=supervise, daemon=True)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", lives[0])
        supervisor.start()
        yield f"http://127.0.0.1:{port}/v1/", lambda: len(lives)
    finally:
        stop.set()
        if supervisor.ident:
            supervisor.join()
        for life in lives:
            end_session(life)
