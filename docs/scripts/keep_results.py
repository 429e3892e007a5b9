"""Keep what a sweep found as tables in the repository: docs/results/NAME.

    .venv/bin/python docs/scripts/keep_results.py SWEEP_DIR NAME [--commit HASH]
    .venv/bin/python docs/scripts/keep_results.py RUN_DIR dynamic-eval
    .venv/bin/python docs/scripts/render_findings.py

Writes runs.csv, updates.csv and about.json (collapse_lm.analysis.kept): the used columns, with
five significant digits. Of a dynamic evaluation also segments.csv, its static and dynamic losses
by update. NAME is that of the sweep, as docs/predictions.md calls it.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collapse_lm.analysis.kept import write_kept
from collapse_lm.analysis.kept.write import NAMES
from collapse_lm.rundir import RunReader
from collapse_lm.sweeps import SweepFolder
from collapse_lm.sweeps.groups import group_of

RESULTS = Path(__file__).parents[1] / "results"
MOST_BYTES = 5_000_000  # of all results together
DYNAMIC = (  # of the summary of a dynamic evaluation
    *("tokens", "segments", "static_context", "static_loss_longest", "longest_context"),
)


def main(words: Sequence[str] | None = None) -> None:
    """Keep one folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of a sweep, or a run directory")
    parser.add_argument("name", help="of the folder below docs/results")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="of rows that are kept")
    parser.add_argument("--every", type=int, default=1, help="updates between rows that are kept")
    parser.add_argument("--commit", help="of the code; default: what the manifests say")
    chosen = parser.parse_args(words)
    out = chosen.results / chosen.name
    facts = {"name": chosen.name} | ({"git_commit": [chosen.commit]} if chosen.commit else {})
    if (chosen.source / "sweep.yaml").is_file():
        keep_sweep(chosen.source, out, facts, chosen.names, chosen.every)
    else:
        keep_run(RunReader(chosen.source), out, facts, chosen.names)
    for path in sorted(out.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")
    total = size_of(chosen.results)
    print(f"all results: {total:,} of {MOST_BYTES:,} bytes")
    if total > MOST_BYTES:
        sys.exit("too much for the repository: keep fewer --names, or rows with --every")


def keep_sweep(
    source: Path, out: Path, facts: dict[str, Any], names: Sequence[str], every: int
) -> None:
    """Keep the finished runs of a sweep."""
    folder = SweepFolder(source)
    plan = folder.plan()
    group = group_of(plan.varied) if plan.varied else None
    told = write_kept(
        folder.readers(plan),
        out,
        keys=plan.keys,
        group=group,
        names=names,
        every=every,
        facts={**facts, "planned": len(plan.runs)},
    )
    if told["runs"] < len(plan.runs):
        print(f"only {told['runs']} of {len(plan.runs)} runs have ended", file=sys.stderr)


def keep_run(reader: RunReader, out: Path, facts: dict[str, Any], names: Sequence[str]) -> None:
    """Keep a single run; of a dynamic evaluation also its losses by update."""
    summary = reader.summary() or {}
    known = {name: summary[name] for name in DYNAMIC if name in summary}
    write_kept([reader], out, keys=(), names=names, facts={**facts, "planned": 1, **known})
    if "static_losses" not in summary:
        return
    dynamic = {row.update: row.get("train.loss") for row in reader.updates() if row.update}
    with (out / "segments.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["update", "static", "dynamic"])
        for update, static in enumerate(summary["static_losses"], 1):
            writer.writerow([update, f"{static:.5g}", f"{dynamic[update]:.5g}"])


def size_of(folder: Path) -> int:
    """Bytes of all tables below a folder; pictures are drawn from them and do not count."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.suffix in (".csv", ".json"))


if __name__ == "__main__":
    main()
