"""Two-stage search over arrays: coarse by the whole wrist, rerank by one bone (WristMIR §3.2)."""

from wristmir_ray.search.batch import shortlists
from wristmir_ray.search.merge import Mode, Part, gather, rank
from wristmir_ray.search.two_stage import Hits, search

__all__ = ["Hits", "Mode", "Part", "gather", "rank", "search", "shortlists"]
