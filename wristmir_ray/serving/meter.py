"""What the service counts, for Prometheus: requests by route and status, and how long each stage took."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

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
        self._fallbacks = Counter(
            "wristmir_fallbacks", "Answers whose second stage was not used", ("reason",), registry=self._registry
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, stage_ms: Mapping[str, float], fallback: str | None) -> None:
        """Count an answer's stages."""
        for stage, ms in stage_ms.items():
            self._stages.labels(stage).observe(ms / 1e3)
        if fallback:
            self._fallbacks.labels(fallback).inc()

    def text(self) -> bytes:
        """Return the counters in Prometheus' format."""
        return generate_latest(self._registry)
