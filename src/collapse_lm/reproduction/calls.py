"""OUT/calls.jsonl: what was called, when, with which code, and how long it took."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from collapse_lm._util.files import writing
from collapse_lm.reproduction.job import ReproductionJob


@dataclass(frozen=True)
class Call:
    """A call that has begun."""

    job: ReproductionJob
    words: tuple[str, ...]
    missing: int
    began: datetime
    clock: float

    @classmethod
    def begin(cls, job: ReproductionJob, words: Sequence[str]) -> "Call":
        """Count what is left to do before it is done; `words` are those of the caller."""
        return cls(job, tuple(words), job.missing(), datetime.now(UTC), time.monotonic())

    def note(self, failed: int, signal: int | None = None) -> None:
        """Add the line of this call.

        Raises:
            MachineError: where the disk does not take it.
        """
        from collapse_lm.rundir.manifest import git_commit, package_version

        row = {
            "what": self.job.what,
            "scale": self.job.scale,
            "runs": sum(len(sweep.plan.runs) for sweep in self.job.sweeps.values()),
            "missing_before": self.missing,
            "failed": failed,
            "signal": signal,
            "words": list(self.words),
            "started": self.began.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self.clock, 1),
            "git_commit": git_commit(),
            "version": package_version("collapse-lm"),
        }
        path = self.job.out / "calls.jsonl"
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
