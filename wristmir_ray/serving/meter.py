"""What the service counts, for Prometheus: requests by route and status, and how long each stage took."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wristmir_ray.serving.api import SearchAnswer

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Meter:
    """The counters of one ingress replica. Nothing in them names an exam, a query or a caller."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "wristmir_requests", "HTTP requests answered", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "wristmir_request_seconds", "From request to answer", ("route",), registry=self._registry, buckets=_SECONDS
        )
        self._stages = Histogram(
            "wristmir_stage_seconds", "Of one query's stage", ("stage",), registry=self._registry, buckets=_SECONDS
        )
        self._partial = Counter(
            "wristmir_unfinished_answers", "Answers whose pool was not settled in time", registry=self._registry
        )
        self._bones = Gauge(
            "wristmir_computed_regions",
            "Regions that are computed as they are asked for: counts since Bones started, and what it holds",
            ("figure",),
            registry=self._registry,
        )
        self._fallbacks = Counter(
            "wristmir_fallbacks", "Answers whose second stage was not used", ("reason",), registry=self._registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, found: SearchAnswer) -> None:
        """Count an answer and its stages."""
        for stage, ms in found.stage_ms.items():
            self._stages.labels(stage).observe(ms / 1e3)
        if found.fallback:
            self._fallbacks.labels(found.fallback).inc()
        if found.coverage and found.coverage.pending:
            self._partial.inc()

    def text(self, bones: Mapping[str, float]) -> bytes:
        """Return the counters in Prometheus' format.

        Args:
            bones: figures of computed regions.
        """
        for name, value in bones.items():
            self._bones.labels(name).set(value)
        return generate_latest(self._registry)
