"""Finding quotes in reports: our `Locator` against langextract's word aligner, one core each.

Both get the hand-written reports with the quotes that the rules engine gives for them, each once and
in the order of the text, as the aligner wants them; every second one in capitals with doubled spaces,
as a model would mangle them. The aligner is told to match exactly (fuzzy alignment off), as ours does;
both say what share they found. It lives in an environment of its own, made on the first run
from requirements/peers.txt. Five rounds, the two in turn; the median of the ratios is the result.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.mining_cases import CASES

ROUNDS = 5
REPO = Path(__file__).parents[2]
PEERS = REPO / "artifacts" / "peers"
_PEER = """
import json, sys, time
from langextract.core.data import Extraction
from langextract.resolver import WordAligner

work = json.load(open(sys.argv[1]))
started = time.process_time()
found = 0
for report, quotes in work:
    wanted = [[Extraction("quote", q) for q in quotes]]
    aligned = WordAligner().align_extractions(wanted, report, enable_fuzzy_alignment=False)
    found += sum(e.char_interval is not None for group in aligned for e in group)
print(json.dumps([time.process_time() - started, found]))
"""


def measure() -> dict[str, Any]:
    """Return reports a second of both, their ratio, and the share of quotes that each found."""
    work = _work()
    quotes = sum(len(q) for _, q in work)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "work.json"
        file.write_text(json.dumps(work))
        python = _peer_python()
        rounds = [(_ours(work), _peer(python, file)) for _ in range(ROUNDS)]
    ours, peer = (statistics.median(r[i][0] for r in rounds) for i in (0, 1))
    return {
        "ours": round(len(work) / ours, 1),
        "peer": round(len(work) / peer, 1),
        "ratio": round(statistics.median(p[0] / o[0] for o, p in rounds), 2),
        "unit": "reports/s a core",
        "reports": len(work),
        "quotes": quotes,
        "found": round(rounds[0][0][1] / quotes, 4),
        "peer_found": round(rounds[0][1][1] / quotes, 4),
    }


def _work() -> list[tuple[str, list[str]]]:
    from wristmir_ray.mining.rules import mine

    work = []
    for case in CASES:
        if "error" in case:
            continue
        record = mine(case["report"])
        spans = sorted({(e.start, e.end) for part in (record, *record.findings) for e in part.evidence})
        quotes = [case["report"][start:end] for start, end in spans]
        work.append((case["report"], [q.upper().replace(" ", "  ") if i % 2 else q for i, q in enumerate(quotes)]))
    return work


def _ours(work: list[tuple[str, list[str]]]) -> tuple[float, int]:
    from wristmir_ray.mining.grounding import Locator

    started = time.process_time()
    found = 0
    for report, quotes in work:
        locator = Locator(report)
        found += sum(locator.find(q) is not None for q in quotes)
    return time.process_time() - started, found


def _peer_python() -> str:
    python = PEERS / "bin" / "python"
    if not python.exists():
        uv = [str(Path(sys.executable).with_name("uv"))]
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], check=True)
        wanted = ["-r", str(REPO / "requirements" / "peers.txt")]
        subprocess.run([*uv, "pip", "install", "--quiet", "-p", str(python), *wanted], check=True)
    return str(python)


def _peer(python: str, file: Path) -> tuple[float, int]:
    done = subprocess.run([python, "-c", _PEER, str(file)], check=True, capture_output=True, text=True)
    seconds, found = json.loads(done.stdout)
    return seconds, found
