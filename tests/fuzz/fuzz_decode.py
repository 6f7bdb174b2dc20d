"""Fuzz imaging.decode: whatever the bytes, a radiograph or a Reject, within 1 GiB and 5 s.

    python tests/fuzz/fuzz_decode.py --seconds 600 --seed 1

Small good files of every container and transfer syntax are changed, within their form and against it, and
decoded in a child process. What crashes, hangs, allocates too much or raises anything but Reject is made
smaller and kept in tests/data/decode_corpus/, which is a unit test. Files whose pixels were decoded, those in
a way no other went above all, are changed further. Exit code 1 where anything was found.
"""

import argparse
import hashlib
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fuzz.child import Child, Outcome
from tests.fuzz.objects import mutate_object, parse
from tests.fuzz.seeds import good_files
from tests.fuzz.streams import mutate_bytes, mutate_stream

CORPUS = Path(__file__).parents[1] / "data" / "decode_corpus"
MAX_POOL = 1000
MAX_FILE_BYTES = 20_000
MAX_CORPUS_BYTES = 200_000
SAME_KEPT = 2
BATCH = 32
KEPT_SHARE = 0.02
"""Of the files whose pixels were decoded, so many are changed further though others went their way before."""


@dataclass
class Campaign:
    """What a run has seen."""

    corpus: Path
    executions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, outcome: Outcome) -> bool:
        """Count an outcome; return whether no file went this way before."""
        self.executions += 1
        self.outcomes[outcome.detail.split(" ")[0] if outcome.kind == "reject" else outcome.kind] += 1
        self.slowest_s = max(self.slowest_s, outcome.cpu_s)
        self.peak_mib = max(self.peak_mib, outcome.peak_mib)
        self.ways[outcome.signature] += 1
        return self.ways[outcome.signature] == 1

    def keep(self, data: bytes, outcome: Outcome, child: Child) -> None:
        """Make a finding smaller and store it, a few of each kind."""
        self.findings[outcome.signature] += 1
        if self.findings[outcome.signature] > SAME_KEPT:
            return
        smaller = reduce(data, outcome, child)
        self.corpus.mkdir(parents=True, exist_ok=True)
        stored = sum(f.stat().st_size for f in self.corpus.iterdir())
        name = f"{outcome.kind}-{hashlib.sha256(smaller).hexdigest()[:12]}.bin"
        print(f"{name} ({len(smaller)} bytes): {outcome.detail}", flush=True)
        if len(smaller) <= MAX_FILE_BYTES and stored + len(smaller) <= MAX_CORPUS_BYTES:
            (self.corpus / name).write_bytes(smaller)


def reduce(data: bytes, outcome: Outcome, child: Child, tries: int = 150) -> bytes:
    """Return a smaller file that ends the same way: pieces are left out while it does."""
    step = max(len(data) // 2, 1)
    at = 0
    while tries and step >= 8:
        shorter = data[:at] + data[at + step :]
        tries -= 1
        if child.decode(shorter).signature == outcome.signature:
            data = shorter
        else:
            at += step
        if at >= len(data):
            step, at = step // 2, 0
    return data


def mutated(rng: Random, seeds: list[bytes], pool: list[bytes], frames: list[bytes]) -> bytes:
    """Return a file made of a seed, or of one or two of the pool."""
    data = rng.choice(seeds if rng.random() < 0.6 else pool)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        way = rng.random()
        if way < 0.15:
            data = mutate_bytes(rng, data)
        elif way < 0.2:
            other = rng.choice(pool)
            data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
        elif data[128:132] == b"DICM":
            data = mutate_object(rng, data, frames)
        else:
            data = mutate_stream(rng, data)
    return data


def fuzz(seconds: float, seed: int, corpus: Path) -> Campaign:
    """Run for a while; the mutations follow from the seed alone, how many there are from the machine."""
    rng, child, campaign = Random(seed), Child(), Campaign(corpus)
    seeds = good_files()
    frames = [f for data in seeds if data[128:132] == b"DICM" for e in parse(data) for f in (e.fragments or [])[1:]]
    pool = seeds + [f.read_bytes() for f in (sorted(corpus.glob("*.bin")) if corpus.is_dir() else [])]
    end = time.monotonic() + seconds
    told = time.monotonic()
    while time.monotonic() < end:
        batch = [mutated(rng, seeds, pool, frames) for _ in range(BATCH)]
        for data, outcome in zip(batch, child.decode_all(batch), strict=True):
            new = campaign.add(outcome)
            if outcome.is_finding:
                campaign.keep(data, outcome, child)
            elif outcome.is_deep and (new or rng.random() < KEPT_SHARE) and len(data) < MAX_FILE_BYTES:
                pool.append(data)
                if len(pool) > MAX_POOL:
                    del pool[rng.randrange(len(seeds), len(pool))]
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{campaign.executions} executions, {len(pool)} in the pool", flush=True)
    child.close()
    return campaign


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    args = parser.parse_args(argv)
    campaign = fuzz(args.seconds, args.seed, args.corpus)
    print(f"{campaign.executions} executions in {args.seconds:.0f} s, {len(campaign.ways)} ways through the decoder")
    print(f"slowest {campaign.slowest_s:.1f} s, most memory {campaign.peak_mib:.0f} MiB")
    print("; ".join(f"{name} {n}" for name, n in campaign.outcomes.most_common()))
    for signature, n in campaign.findings.most_common():
        print(f"FOUND {n} x {signature}")
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
