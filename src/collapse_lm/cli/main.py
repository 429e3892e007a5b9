"""The commands of `collapse-lm`. Each parses, calls the library and prints.

Exit codes: 0 the command ended with a finding; 1 the environment failed; 2 bad
input; 3 an audit found a state that it was to fail on; 129, 130 and 143 signals.
"""

import io
import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from collapse_lm._util.printable import printable
from collapse_lm._version import __version__
from collapse_lm.cli import tables
from collapse_lm.cli.audit import audit
from collapse_lm.cli.cache_eval import cache_eval
from collapse_lm.cli.compare import compare
from collapse_lm.cli.dynamic_eval import dynamic_eval
from collapse_lm.cli.evaluate import evaluate
from collapse_lm.cli.export import export
from collapse_lm.cli.figures import figures
from collapse_lm.cli.ngram_eval import ngram_eval
from collapse_lm.cli.options import ModelReference, Settings
from collapse_lm.cli.output import AsJson, show
from collapse_lm.cli.pretrain import pretrain
from collapse_lm.cli.report import report
from collapse_lm.cli.reproduce import reproduce
from collapse_lm.cli.show import show_resumed, show_run
from collapse_lm.cli.stopping import until_signal
from collapse_lm.cli.sweep import sweep
from collapse_lm.cli.view import view
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
    opens: Annotated[
        bool, typer.Option("--open", help="Open report.html at the end, on a display.")
    ] = False,
) -> None:
    """Do one run: sample, train on the sample, evaluate, judge, until collapse or max_updates."""
    config = load_config(preset, settings or [])
    if resume and out is None:
        raise UserError.single("--resume", "no --out", "the run directory to go on with", "--out")
    if resume and out is not None and holds_run(out):
        from collapse_lm.rundir.resume import overrides_to

        changes = overrides_to(out, config)
        until_signal(lambda stop: show_resumed(out, changes, stop))
    else:
        until_signal(lambda stop: show_run(preset, settings or [], out, stop, opens=opens))


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
    until_signal(lambda stop: show_resumed(path, settings or [], stop))


@app.command()
def sample(
    model: ModelReference,
    settings: Settings = None,
    update: Annotated[int, typer.Option(min=1, help="Random stream of this update.")] = 1,
) -> None:
    """Draw samples from a model, as update 1 of a run would (see `--set sampling.KEY=...`).

    Several are numbered, each with the prompt that it goes on from.
    """
    config = resolve({"model": model}, settings or [])
    from collapse_lm.experiment.build import decode, own_samples
    from collapse_lm.experiment.ready import ready_model

    ready = ready_model(config)
    draw = own_samples(config, ready).sample(ready.sampler, update)
    for number, (prompt, ids) in enumerate(zip(draw.prompts, draw.samples, strict=True), 1):
        if len(draw.samples) > 1:
            after = f" after {decode(ready.model, prompt)!r}" if len(prompt) > 1 else ""
            print(printable(f"--- sample {number} of {len(draw.samples)}{after}"))
        print(printable(decode(ready.model, ids), keep_newlines=True))


@app.command()
def models(as_json: AsJson = False) -> None:
    """List the models that are ready on this machine, with sizes."""
    from collapse_lm.models.inventory import list_models

    found = list_models()
    show([asdict(info) for info in found], as_json, lambda: tables.models_table(found))


@app.command()
def corpora(as_json: AsJson = False) -> None:
    """List the corpora, and which are ready on this machine."""
    from collapse_lm.corpora.corpus import list_corpora

    found = list_corpora()
    show([asdict(info) for info in found], as_json, lambda: tables.corpora_table(found))


@app.command(name="ls")
def list_runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR")] = Path("runs"), as_json: AsJson = False
) -> None:
    """List the runs in a folder: model, learning rate, seed, status, collapse update."""
    from collapse_lm.analysis import run_table

    if not os.path.isdir(folder):  # noqa: PTH112 (Path.is_dir raises for a name too long)
        fix = "name the folder that holds them; without --out, runs are in runs/"
        raise UserError.single("ls", f"no folder {folder}", "a folder that holds runs", fix)
    rows = run_table(folder)
    if not as_json:
        for line in tell_sweeps(folder):
            print(printable(line))
    show(rows, as_json, lambda: tables.runs_table(rows))


@app.command()
def doctor(preset: PresetOrFile = "quickstart", settings: Settings = None) -> None:
    """Show hardware, precision, what is missing, and the expected seconds per update."""
    config = load_config(preset, settings or [])
    from collapse_lm.machine.doctor import examine

    console = Console()
    for line in examine(config):
        console.print(tables.doctor_line(line), soft_wrap=True)


app.command(name="eval")(evaluate)
app.command(name="dynamic-eval")(dynamic_eval)
app.command(name="cache-eval")(cache_eval)
app.command(name="ngram-eval")(ngram_eval)
for _command in (sweep, reproduce, report, compare, view, audit, pretrain, export, figures):
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
