"""What every `jobs/X.py` does: read the configuration, run, print one summary, give an exit code."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from wristmir_ray import log, storage
from wristmir_ray.config import JobConfig, load_config
from wristmir_ray.errors import EXIT_TOO_MANY_REJECTS, WristmirError

C = TypeVar("C", bound=JobConfig)


@dataclass(frozen=True)
class Summary:
    """What a job did."""

    job: str
    runs: dict[str, str]
    """Published name -> run id."""
    rows: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    """Reject code -> rows of the job's main table."""
    skipped: bool = False
    """The very same run was already published: nothing was done."""
    resumed_rows: int = 0
    """Rows taken over from an earlier, interrupted try."""
    seconds: float = 0.0
    max_reject_share: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)
    """Further figures, e.g. mAP50 or reports per second."""
    advice: tuple[str, ...] = ()
    """What somebody should look at: a line each, with its mend."""

    @property
    def exit_code(self) -> int:
        share = sum(self.rejects.values()) / self.rows if self.rows else 0.0
        return EXIT_TOO_MANY_REJECTS if share > self.max_reject_share else 0

    def __str__(self) -> str:
        lines = [f"{self.job}: {'already published' if self.skipped else 'done'} in {self.seconds:.1f} s"]
        lines += [f"  published {name} {run}" for name, run in self.runs.items()]
        good = self.rows - sum(self.rejects.values())
        lines.append(f"  rows {self.rows} (good {good}, resumed {self.resumed_rows})")
        lines += [f"  rejected {code}: {n}" for code, n in sorted(self.rejects.items())]
        lines += [f"  {name}: {value}" for name, value in self.facts.items() if not _nested(value)]
        lines += [f"  warning: {line}" for line in self.advice]
        if self.exit_code:
            lines.append(f"  too many rejects: more than {self.max_reject_share:.0%} of rows (max_reject_share)")
        return "\n".join(lines)


def _nested(value: Any) -> bool:
    """Whether a fact is a table of tables: it stands in the manifest, and would fill the screen."""
    return isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values())


def main(config_class: type[C], run: Callable[[C], Summary], program: str, argv: Sequence[str] | None = None) -> int:
    """Run a job from its command line.

    Args:
        config_class: the job's configuration.
        run: does the work.
        program: `__file__` of the job; the default YAML stands beside it.
        argv: arguments without the program's name; default the process's own.

    Returns:
        0 done; 1 our bug; 2 the run asked for something impossible; 3 too many rejects.
    """
    started = time.monotonic()
    try:
        config = load_config(config_class, sys.argv[1:] if argv is None else argv, Path(program).with_suffix(".yaml"))
        log.setup(config.log)
        storage.check_root(config.root)
        summary = run(config)
    except (WristmirError, OSError) as e:
        failed = e if isinstance(e, WristmirError) else storage.failure(e)
        if failed is None:
            raise
        print(f"{Path(program).stem}: {failed}", file=sys.stderr)
        return failed.exit_code
    print(Summary(**{**summary.__dict__, "seconds": time.monotonic() - started}))
    return summary.exit_code
