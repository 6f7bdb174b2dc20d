"""Two-stage search over arrays: coarse by the whole wrist, rerank by one bone (WristMIR §3.2)."""

from wristmir_ray.search.batch import shortlists
from wristmir_ray.search.two_stage import Hits, Mode, search

__all__ = ["Hits", "Mode", "search", "shortlists"]
