"""Phantom reports of the open bank and what the rules read in them."""

from functools import lru_cache

import numpy as np

from wristmir_ray.audit.fabrications import Source
from wristmir_ray.audit.passages import Passages
from wristmir_ray.mining.findings import Evidence, Record
from wristmir_ray.mining.rules import mine
from wristmir_ray.mining.sections import split_sections, split_sentences
from wristmir_ray.phantom.population import sample_cases
from wristmir_ray.phantom.reports import write_report

SEED = 41


@lru_cache(maxsize=1)
def sources(count: int = 350) -> tuple[Source, ...]:
    cases = sample_cases(SEED, count)
    texts = [write_report(c, "open", np.random.default_rng((SEED, c.index))).text for c in cases]
    return tuple(Source(Passages(t), mine(t)) for t in texts)


def in_whole_sentences(source: Source) -> Source:
    """The same record as a model quotes it: each quote the whole sentence it stands in."""
    text = source.passages.report
    spans = [(x.start, x.end) for s in split_sections(text) for x in split_sentences(text, s.start, s.end)]

    def widened(e: Evidence) -> Evidence:
        start, end = next(((a, b) for a, b in spans if a <= e.start < b), (e.start, e.end))
        end = max(end, e.end)
        return e.model_copy(update={"quote": text[start:end], "start": start, "end": end})

    def wide(part: object) -> dict[str, object]:
        return {"evidence": tuple(widened(e) for e in part.evidence)}  # type: ignore[attr-defined]

    findings = tuple(f.model_copy(update=wide(f)) for f in source.record.findings)
    record: Record = source.record.model_copy(update={**wide(source.record), "findings": findings})
    return Source(source.passages, record)
