"""The monitor beside the callback of microsoft/post-training-toolkit, on the same series.

    python docs/scripts/compare_monitors.py record [NAME ...]      # real runs, minutes each
    python docs/scripts/compare_monitors.py judge                  # comparison.json, and the page
    python docs/scripts/compare_monitors.py check --toolkit PATH   # its own code, not our copy

Both see the same training, both look at every tenth step, and nothing is stopped. The event of a
series is the onset of the first state other than drift, by the collapse rule as it is calibrated
(patience 5), seen by a monitor that looked at every step. That favours us in one way: it is told in
our words. It is the same for both, though, and it is early: lead is counted from there, and a
negative lead is a delay. An alarm that comes before anything has happened is lead only where the
same monitor is silent on healthy series; so these stand beside.

`judge` needs nothing but the tables in docs/results/monitor. PATH is a clone of the toolkit's
repository; `check` runs its `run_heuristics` on the same tables at the same steps, and says where
our copy of its rules differs.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import toolkit_rules
from monitor_rows import Look, entered, looks, rollouts, without_drift

from collapse_lm.config import CollapseRule
from collapse_lm.measures.names import Row

from marked import put_between

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "monitor"
PAGE = ROOT / "docs" / "monitor.md"
BEGIN, END = "<!-- comparison: begin -->\n", "<!-- comparison: end -->"
TOOLKIT, MENDED, OURS, ROLLOUTS = "toolkit", "toolkit_mended", "monitor", "monitor_rollouts"
# By series: its trainer, the state that it was made to end in, and what it is.
SERIES = {
    "healthy-text": ("sft", "", "SFT on real text"),
    "healthy-reward": ("grpo", "", "GRPO at a low rate, beta 0.04"),
    "healthy-sums": ("grpo", "", "GRPO on sums that the model knows, no KL term"),
    "loop": ("sft", "loop", "SFT on its own samples, temperature 0.8"),
    "noise": ("sft", "noise", "SFT on its own samples, temperature 1.3"),
    "mode": ("sft", "mode", "SFT on four texts, over and over"),
    "shrink": ("grpo", "shrink", "GRPO that rewards short texts"),
}


def read(path: Path) -> list[dict[str, float]]:
    """A table of numbers; an empty cell is no value."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{n: float(v) for n, v in row.items() if v} for row in csv.DictReader(file)]


def rows(path: Path) -> list[Row]:
    """A table of a monitor's rows."""
    told = read(path)
    return [Row(int(line["step"]), {n: v for n, v in line.items() if n != "step"}) for line in told]


def judge(folder: Path) -> dict[str, Any]:
    """The whole comparison, from the tables in a folder."""
    found = {name: _series(folder, name) for name in SERIES}
    return {
        "toolkit": {"commit": toolkit_rules.COMMIT, "interval": toolkit_rules.INTERVAL},
        "series": found,
    }


def _series(folder: Path, name: str) -> dict[str, Any]:
    trainer, state, _ = SERIES[name]
    log = read(folder / f"series_{name}.csv")
    told: dict[str, Any] = {"steps": int(log[-1]["step"]), "made_to_end_in": state or None}
    told["event"] = _event(folder / f"series_{name}_dense.csv")
    for monitor, names in ((TOOLKIT, toolkit_rules.READS), (MENDED, toolkit_rules.MENDED)):
        told[monitor] = _of_toolkit(log, trainer, names[trainer])
    rule = CollapseRule(**json.loads((folder / "rules.json").read_text("utf-8"))[name])
    told[OURS] = _of_ours(looks(rows(folder / f"series_{name}_sparse.csv"), rule))
    sampled = folder / f"series_{name}_rollouts.csv"
    if sampled.exists():
        told[ROLLOUTS] = _of_ours(looks(rollouts(rows(sampled))))
    return told


def _event(table: Path) -> dict[str, Any] | None:
    """The first state other than drift that a probe at every step finds, and its onset."""
    found = entered(rows(table), CollapseRule())
    troubles = {state: found[state] for state in without_drift(found)}
    if not troubles:
        return None
    first = min(troubles, key=lambda state: troubles[state])
    return {"state": first, "step": troubles[first], "all": troubles}


def _of_toolkit(
    log: list[dict[str, float]], trainer: str, names: Mapping[str, str]
) -> dict[str, Any]:
    """Its first warning (medium or high), its first stop (high), and the rules that did it."""
    told = list(toolkit_rules.findings(log, trainer, names))
    warnings = [(step, rule) for step, rule in told if rule.severity in toolkit_rules.WARNS]
    stops = [(step, rule) for step, rule in told if rule.severity == toolkit_rules.STOPS]
    return {"warns": _first(warnings), "stops": _first(stops)}


def _first(told: list[tuple[int, toolkit_rules.Rule]]) -> dict[str, Any] | None:
    if not told:
        return None
    step = told[0][0]
    by = dict.fromkeys(rule.name for at, rule in told if at == step)
    return {"step": step, "by": list(by)}


def _of_ours(told: Iterable[Look]) -> dict[str, Any]:
    """Our first warning (a state is shown), and the verdict (entered); drift apart."""
    warns = stops = drift = None
    for look in told:
        shown, within = without_drift(look.shown), without_drift(look.within)
        if shown and warns is None:
            warns = {"step": look.row.update, "by": shown}
        if within and stops is None:
            stops = {"step": look.row.update, "by": within}
        if "drift" in look.shown and drift is None:
            drift = look.row.update
    return {"warns": warns, "stops": stops, "drift": drift}


def rendered(comparison: Mapping[str, Any]) -> str:
    """The lines between the markers of the page."""
    series = comparison["series"]
    lines = ["", "| series, steps | event |", "| --- | --- |"]
    lines += [f"| {_title(name, told)} | {_event_cell(told)} |" for name, told in series.items()]
    for what, title in (("warns", "first warning"), ("stops", "first stop")):
        lines += ["", f"| {title} | toolkit | toolkit, names mended | monitor | its rollouts |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += [_line(name, told, what) for name, told in series.items()]
    lines += ["", *_sums(series), ""]
    return "\n".join(lines) + "\n"


def _title(name: str, told: Mapping[str, Any]) -> str:
    return f"`{name}`: {SERIES[name][2]}, {told['steps']}"


def _event_cell(told: Mapping[str, Any]) -> str:
    event = told["event"]
    return f"{event['state']} at {event['step']}" if event else "none: healthy"


def _line(name: str, told: Mapping[str, Any], what: str) -> str:
    cells = [
        f"`{name}`",
        *(_cell(told[one][what], told["event"]) for one in (TOOLKIT, MENDED, OURS)),
    ]
    has_rollouts = ROLLOUTS in told
    cells.append(_cell(told[ROLLOUTS][what], told["event"]) if has_rollouts else "it has none")
    return "| " + " | ".join(cells) + " |"


def _cell(alarm: Mapping[str, Any] | None, event: Mapping[str, Any] | None) -> str:
    if alarm is None:
        return "silent" if event is None else "never"
    by = ", ".join(f"`{name}`" for name in alarm["by"])
    if event is None:
        return f"false alarm at {alarm['step']} ({by})"
    return f"{alarm['step']} ({event['step'] - alarm['step']:+d}; {by})"


def _sums(series: Mapping[str, Any]) -> Iterator[str]:
    """A line for each: what it would have stopped, how early or late, and its false alarms."""
    names = {
        "The toolkit as it is": (TOOLKIT,),
        "The toolkit with its names mended": (MENDED,),
        "The monitor (probes and rollouts)": (OURS, ROLLOUTS),
    }
    ruined = [told for told in series.values() if told["event"]]
    healthy = [told for told in series.values() if not told["event"]]
    for name, monitors in names.items():
        leads = [
            told["event"]["step"] - step
            for told in ruined
            if (step := _earliest(told, monitors, "stops")) is not None
        ]
        false = {
            what: sum(_earliest(told, monitors, what) is not None for told in healthy)
            for what in ("warns", "stops")
        }
        lead = f" ({', '.join(f'{lead:+d}' for lead in leads)} steps)" if leads else ""
        yield (
            f"- {name}: {len(leads)} of {len(ruined)} ruined runs stopped{lead}; of "
            f"{len(healthy)} healthy runs {false['warns']} falsely warned of, "
            f"{false['stops']} falsely stopped."
        )


def _earliest(told: Mapping[str, Any], monitors: Iterable[str], what: str) -> int | None:
    steps = [told[m][what]["step"] for m in monitors if m in told and told[m][what]]
    return min(steps, default=None)


def check(folder: Path, toolkit: Path) -> Iterator[str]:
    """Where the toolkit's own code finds something else than our copy of its rules."""
    for name in ("post_training_toolkit", "post_training_toolkit.models"):
        package = sys.modules[name] = ModuleType(name)  # whose own imports need seaborn, for plots
        package.__path__ = [str(toolkit / name.replace(".", "/"))]
    run_heuristics = import_module("post_training_toolkit.models.heuristics").run_heuristics

    for name, trainer, log in (*_recorded(folder), *_made_up()):
        for names in (toolkit_rules.READS[trainer], toolkit_rules.MENDED[trainer]):
            ours = _highest(
                (step, rule.name, rule.severity)
                for step, rule in toolkit_rules.findings(log, trainer, names)
                if rule.name not in toolkit_rules.OF_THE_CALLBACK
            )
            theirs = _highest(_by_their_code(run_heuristics, log, trainer, names))
            for at in sorted(ours.keys() | theirs.keys()):
                if ours.get(at) != theirs.get(at):
                    yield f"{name}, {at}: ours {ours.get(at)}, theirs {theirs.get(at)}"


def _recorded(folder: Path) -> Iterator[tuple[str, str, list[dict[str, float]]]]:
    for name, (trainer, _, _) in SERIES.items():
        yield name, trainer, read(folder / f"series_{name}.csv")


def _made_up() -> Iterator[tuple[str, str, list[dict[str, float]]]]:
    """Random walks, so that rules are compared that no recorded series sets off."""
    for seed in range(20):
        chance, trainer = np.random.default_rng(seed), ("sft", "grpo")[seed % 2]
        keys = sorted(set(toolkit_rules.MENDED[trainer].values()))
        level = chance.choice([0.005, 0.1, 1.0, 40.0], len(keys))
        scale = chance.choice([0.003, 0.03, 0.3], len(keys))
        walks = level * np.abs(1 + (scale * chance.standard_normal((260, len(keys)))).cumsum(0))
        yield (
            f"random walk {seed}",
            trainer,
            [{"step": n} | dict(zip(keys, row, strict=True)) for n, row in enumerate(walks, 1)],
        )


def _by_their_code(
    run_heuristics: Callable[..., Any],
    log: list[dict[str, float]],
    trainer: str,
    names: Mapping[str, str],
) -> Iterator[tuple[int, str, str]]:
    import pandas

    for seen in toolkit_rules.looks(log):
        steps = {"step": [row["step"] for row in seen]}
        logged = {field: key for field, key in names.items() if key in seen[0]}
        columns = {field: [row[key] for row in seen] for field, key in logged.items()}
        table = pandas.DataFrame(steps | columns)
        for insight in run_heuristics(table, trainer):
            if insight.type not in toolkit_rules.SAID_TWICE:
                yield int(seen[-1]["step"]), insight.type, insight.severity


def _highest(told: Iterable[tuple[int, str, str]]) -> dict[tuple[int, str], str]:
    """By step and rule the highest severity."""
    ranks = ("low", "medium", "high")
    found = dict[tuple[int, str], str]()
    for step, name, severity in told:
        before = found.get((step, name), "low")
        found[step, name] = max(before, severity, key=ranks.index)
    return found


def main() -> None:
    """Record, judge or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "judge", "check"))
    parser.add_argument("names", nargs="*", choices=[*SERIES, []], help="series to record")
    parser.add_argument("--toolkit", type=Path, help="a clone of its repository")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.what == "record":
        from record_series import record

        options.results.mkdir(parents=True, exist_ok=True)
        for name in options.names or SERIES:
            record(name, options.results)
    elif options.what == "check":
        differences = list(check(options.results, options.toolkit))
        print("\n".join(differences) or "the copy finds what the toolkit's own code finds")
        sys.exit(bool(differences))
    else:
        found = judge(options.results)
        place = options.results / "comparison.json"
        place.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        put_between(PAGE, BEGIN, END, rendered(found))


if __name__ == "__main__":
    main()
