"""The commands of `collapse-lm`. Each parses, calls the library and prints.

Exit codes: 0 the command ended with a finding; 1 the environment failed; 2 bad
input; 129, 130 and 143 signals.
"""

import io
import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from collapse_lm._util.printable import printable
from collapse_lm._version import __version__
from collapse_lm.cli import tables
from collapse_lm.cli.options import Settings
from collapse_lm.cli.pretrain import pretrain
from collapse_lm.cli.reproduce import reproduce
from collapse_lm.cli.show import show_resumed, show_run
from collapse_lm.cli.stopping import StopRequest
from collapse_lm.cli.sweep import sweep
from collapse_lm.config import load_config, preset_names, resolve, to_yaml
from collapse_lm.config.json_schema import json_schema, tell_parts
from collapse_lm.errors import CollapseLMError, MachineError, UserError
from collapse_lm.rundir.layout import holds_run
from collapse_lm.sweeps import tell_sweeps

app = typer.Typer(
    name="collapse-lm",
    help="Train a language model on its own text and watch whether, how fast and why it collapses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Show configurations.", no_args_is_help=True)
app.add_typer(config_app, name="config")

PresetOrFile = Annotated[
    str,
    typer.Argument(metavar="PRESET_OR_YAML", help=f"One of {', '.join(preset_names())}; or a file"),
]
ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL", help="smollm2-135m, a hub name, or a local folder")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_PERMIT = "get the permission, or name another place"


class _PrintableRecord(logging.LogRecord):
    """A notice of any library, with nothing in it that could move a cursor."""

    def getMessage(self) -> str:  # noqa: N802 (logging's name)
        return printable(super().getMessage(), keep_newlines=True)


def main() -> None:
    """Entry point: turn our own errors into messages and exit codes."""
    logging.setLogRecordFactory(_PrintableRecord)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may lack a character
            stream.reconfigure(errors="backslashreplace")
    try:
        _check_options(sys.argv[1:])
        app()
    except CollapseLMError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:  # of a place that this user named, or that is theirs
        _complain(MachineError(f"{error.filename}: {error.strerror}\n  fix       {_PERMIT}"))
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `| head`
        sys.stderr.close()
        sys.exit(1)


def _check_options(words: list[str]) -> None:
    """Refuse what is no option before the parser repeats it as it is."""
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-") and printable(name) != name:
            raise UserError.single("option", word, "an option", "--help lists them")


def _complain(error: CollapseLMError) -> None:
    if isinstance(error, UserError) and len(error.problems) > 1:
        print(f"error: {len(error.problems)} problems", file=sys.stderr)
        print(printable(str(error), keep_newlines=True), file=sys.stderr)
    else:
        print(f"error: {printable(str(error), keep_newlines=True)}", file=sys.stderr)


def _version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    preset: PresetOrFile,
    out: Annotated[Path | None, typer.Option(help="Run directory, new or empty.")] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, if there is one.")
    ] = False,
) -> None:
    """Do one run: sample, train on the sample, evaluate, judge, until collapse or max_updates."""
    config = load_config(preset, settings or [])
    if resume and out is None:
        raise UserError.single("--resume", "no --out", "the run directory to go on with", "--out")
    if resume and out is not None and holds_run(out):
        from collapse_lm.rundir.resume import overrides_to

        changes = overrides_to(out, config)
        _until_signal(lambda stop: show_resumed(out, changes, stop))
    else:
        _until_signal(lambda stop: show_run(preset, settings or [], out, stop))


@app.command()
def resume(
    path: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Keys that decide no number: run.max_updates=N extends it.",
        ),
    ] = None,
) -> None:
    """Go on with a run from its newest checkpoint, bit for bit as if never interrupted."""
    _until_signal(lambda stop: show_resumed(path, settings or [], stop))


def _until_signal(work: Callable[[StopRequest], None]) -> None:
    """Do work that a signal may end; the exit code tells which one."""
    stop = StopRequest()
    try:
        with stop:
            work(stop)
    except KeyboardInterrupt:
        sys.exit(128 + (stop.signal_number or signal.SIGINT))
    if stop.signal_number:
        sys.exit(128 + stop.signal_number)


@app.command(name="eval")
def evaluate(
    model: ModelReference,
    corpus: Annotated[list[str], typer.Option(help="A name, or text:PATH; repeatable.")],
    context: Annotated[int, typer.Option(min=1, help="Longest context in tokens.")] = 512,
    stride: Annotated[int | None, typer.Option(min=1, help="Default: the context.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Default: the full split.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on real text: loss, perplexity, bits per byte, word perplexity."""
    evaluation = {"corpora": corpus, "context": context, "stride": stride, "tokens": tokens}
    config = resolve({"model": model, "evaluation": evaluation})
    from collapse_lm.experiment.build import evaluation_sets, load_corpora, ready_model
    from collapse_lm.experiment.lengths import check_positions, evaluation_lengths
    from collapse_lm.measures.validation import evaluate_all
    from collapse_lm.rundir.manifest import describe_corpus

    corpora_read = load_corpora(config)
    ready = ready_model(config)
    check_positions(ready.model, evaluation_lengths(config))
    sets = evaluation_sets(config, ready.model, corpora_read)
    losses = evaluate_all(ready.working, sets)
    corpora = [describe_corpus(data) for data in sets]
    found = {
        "model": asdict(ready.model.provenance),
        "precision": ready.compute.precision,
        "corpora": corpora,
        "validation": {name: asdict(loss) for name, loss in losses.items()},
    }
    _print(found, as_json, lambda: tables.evaluation_table(found))


@app.command()
def sample(
    model: ModelReference,
    settings: Settings = None,
    update: Annotated[int, typer.Option(min=1, help="Random stream of this update.")] = 1,
) -> None:
    """Draw samples from a model, as update 1 of a run would (see `--set sampling.KEY=...`)."""
    config = resolve({"model": model}, settings or [])
    from collapse_lm.experiment.build import decode, own_samples, ready_model

    ready = ready_model(config)
    draw = own_samples(config, ready).sample(ready.working, update)
    for ids in draw.samples:
        print(printable(decode(ready.model, ids), keep_newlines=True))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that are ready on this machine, with sizes."""
    from collapse_lm.models.inventory import list_models

    found = list_models()
    _print([asdict(info) for info in found], as_json, lambda: tables.models_table(found))


@app.command()
def corpora(as_json: AsJson = False) -> None:
    """List the corpora, and which are ready on this machine."""
    from collapse_lm.corpora.corpus import list_corpora

    found = list_corpora()
    _print([asdict(info) for info in found], as_json, lambda: tables.corpora_table(found))


@app.command(name="ls")
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR")] = Path("runs"), as_json: AsJson = False
) -> None:
    """List the runs in a folder: model, learning rate, seed, status, collapse update."""
    from collapse_lm.analysis import run_table

    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        raise UserError.single("ls", str(folder), "a folder", "name the folder that holds the runs")
    rows = run_table(folder)
    if not as_json:
        for line in tell_sweeps(folder):
            print(printable(line))
    _print(rows, as_json, lambda: tables.runs_table(rows))


@app.command()
def doctor(preset: PresetOrFile = "quickstart", settings: Settings = None) -> None:
    """Show hardware, precision, what is missing, and the expected seconds per update."""
    config = load_config(preset, settings or [])
    from collapse_lm.machine.doctor import examine

    console = Console()
    for line in examine(config):
        console.print(tables.doctor_line(line), soft_wrap=True)


for _command in (sweep, reproduce, pretrain):
    app.command()(_command)


@config_app.command(name="show")
def config_show(preset: PresetOrFile, settings: Settings = None) -> None:
    """Print the resolved configuration of a preset or file as YAML."""
    print(to_yaml(load_config(preset, settings or [])), end="")


@config_app.command(name="schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration, every kind of part included."""
    print(json.dumps(json_schema(), indent=2))


@app.command(name="parts")
def list_parts(as_json: AsJson = False) -> None:
    """List the kinds of source, objective, optimizer, measure and observer, and their packages."""
    rows = tell_parts()
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    width = max(len(row["kind"]) for row in rows)
    for row in rows:
        print(printable(f"{row['part']:<9}  {row['kind']:<{width}}  {row['told']}"))


@config_app.command(name="presets")
def config_presets() -> None:
    """List the presets."""
    print("\n".join(preset_names()))


def _print(rows: object, as_json: bool, table: "tables.Lazy") -> None:
    if as_json:
        print(json.dumps(_finite(rows), indent=2, allow_nan=False))
    else:
        tables.show(table())


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity; null stands for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value
