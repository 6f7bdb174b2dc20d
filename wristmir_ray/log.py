"""JSON lines on stderr. Messages name jobs, counts and codes: never a patient, never report text."""

import json
import logging
import sys
import time

from wristmir_ray.config import LogConfig


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `extra={"fields": {...}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, default=str)


def setup(config: LogConfig) -> None:
    """Send this package's log to stderr as JSON; calling it again changes the level only."""
    root = logging.getLogger("wristmir_ray")
    root.setLevel(config.level)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(JsonFormatter())
        root.addHandler(handler)
        root.propagate = False
