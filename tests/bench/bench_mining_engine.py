"""Mining by the `vllm` engine (validation, grounding, second tries, tables) against the bare engine on equal prompts.

The model is a tiny random Gemma 3 on CPU; guided decoding makes it write answers of some 270 tokens,
and lets one in twenty run into the limit, which get their second try. The peer (`bare_engine.py`) is one
process with the same engine, the same arguments, sampling parameters and requests at a time; it gets
every prompt that the pipeline sent, first and second tries at once, and throws the answers away.

Starting is left out of both in one way: each side runs a small and a large archive, each with
processes of its own, and its rate is the difference of answers over the difference of seconds. So
what is paid once a job falls out (the engine's start, of which the pipeline has a second one for the
second tries; compiling the grammar; filling and draining), and all that is paid for a report stays
in. `start_s` says what fell out. Engines are not batch-invariant: `tokens` and `peer_tokens` say how
much each side wrote. Three rounds, the two in turn; the median of the rounds' ratios is the result.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mining_cases import distinct_reports
from tests.tiny_gemma import make_tiny_gemma

FEW, MANY = 48, int(os.environ.get("BENCH_ASKED", "240"))
ROUNDS = 3
PEER = Path(__file__).parent / "bare_engine.py"


@dataclass(frozen=True)
class Run:
    """One archive on one side: answers, tokens written, seconds."""

    asked: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Side:
    """A small and a large archive."""

    few: Run
    many: Run

    @property
    def rate(self) -> float:
        """Answers a second, without what is paid once."""
        return (self.many.asked - self.few.asked) / (self.many.seconds - self.few.seconds)

    @property
    def start_s(self) -> float:
        """Seconds that are paid once."""
        return self.few.seconds - self.few.asked / self.rate


def measure() -> dict[str, Any]:
    """Return answers a second of both, and their ratio."""
    from wristmir_ray import raydata
    from wristmir_ray.config import RayConfig

    raydata.connect(RayConfig(progress=False))
    with tempfile.TemporaryDirectory() as folder:
        model = make_tiny_gemma(Path(folder) / "tiny")
        rounds = [_round(model) for _ in range(ROUNDS)]
    ours, peer = (statistics.median(r[i].rate for r in rounds) for i in (0, 1))
    ratios = [round(o.rate / p.rate, 3) for o, p in rounds]
    return {
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "unit": "answers/s",
        "reports": [FEW, MANY],
        "answers": [[o.few.asked, o.many.asked] for o, _ in rounds],
        "tokens": [[o.few.tokens, o.many.tokens] for o, _ in rounds],
        "peer_tokens": [[p.few.tokens, p.many.tokens] for _, p in rounds],
        "start_s": [round(statistics.median(r[i].start_s for r in rounds), 1) for i in (0, 1)],
    }


def _round(model: Path) -> tuple[Side, Side]:
    """Return both sides, the small archive first, the two in turn."""
    few, many = (_both(model, n) for n in (FEW, MANY))
    return Side(few[0], many[0]), Side(few[1], many[1])


def _both(model: Path, reports: int) -> tuple[Run, Run]:
    with tempfile.TemporaryDirectory() as root:
        ours, wanted = _ours(model, reports, Path(root))
        return ours, _peer(model, wanted, Path(root))


def _vllm(model: Path) -> dict[str, Any]:
    engine = {"dtype": "bfloat16", "enforce_eager": True, "max_num_seqs": 16}
    return {"model": str(model), "device": "cpu", "max_tokens": 400, "batch_size": 8, "engine_kwargs": engine}


def _ours(model: Path, reports: int, root: Path) -> tuple[Run, list[tuple[str, str | None]]]:
    """Mine so many reports; return the run, and every report that was asked for with its hint."""
    from tests.integration.test_mine_reports import publish
    from wristmir_ray import keys, storage
    from wristmir_ray.mining.config import MiningConfig
    from wristmir_ray.mining.pipeline import mine
    from wristmir_ray.schemas import ATTEMPTS, REPORTS

    texts = list(distinct_reports(reports))
    publish(root, REPORTS, [{"report_id": keys.report_id(t), "text": t} for t in texts])
    config = MiningConfig(
        root=str(root),
        engine="vllm",
        vllm=_vllm(model),
        max_reject_share=1.0,
        fragment_rows=8,
        ray={"progress": False},
    )
    started = time.perf_counter()
    summary = mine(config)
    seconds = time.perf_counter() - started
    first = storage.read_table(str(root), ATTEMPTS, good_only=False).to_pylist()
    again = [(row["text"], row["hint"]) for row in first if row["status"] == "open"]
    assert again, "no second try, hence no second start of the engine: the two archives differ by one"
    wanted = [(text, None) for text in texts] + again
    return Run(len(wanted), summary.facts["tokens_out"], seconds), wanted


def _peer(model: Path, wanted: list[tuple[str, str | None]], folder: Path) -> Run:
    from wristmir_ray.mining.config import VllmConfig
    from wristmir_ray.mining.engines.vllm import environment

    config = VllmConfig(**_vllm(model))
    work = folder / "work.json"
    work.write_text(json.dumps({"vllm": config.model_dump(), "wanted": wanted}))
    path = {"PYTHONPATH": str(PEER.parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(PEER), str(work)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment(config), **path},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return Run(found["asked"], found["tokens"], found["seconds"])
