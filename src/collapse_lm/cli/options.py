"""Options that several commands share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from collapse_lm.errors import Problem, UserError


class Engine(StrEnum):
    """Where the runs of a sweep are done."""

    local = "local"
    ray = "ray"


ModelReference = Annotated[
    str, typer.Argument(metavar="MODEL", help="smollm2-135m, a hub name, or a local folder")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a key, e.g. training.learning_rate=3e-5"
    ),
]
SettingsOfAll = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Give every run this value.")
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Runs at a time. Default: one per GPU, else 1.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Of each run. Default: this machine's over --jobs.")
]
ChosenEngine = Annotated[Engine, typer.Option(help="Where the runs are done.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster; without it Ray starts here.")]
Gpus = Annotated[float, typer.Option(min=0, help="GPUs of each run on Ray.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the runs and the estimated time.")]


@contextmanager
def told_as_options(options: Mapping[str, str]) -> Iterator[None]:
    """Let errors name the options of a command, by the keys of the configuration behind them."""

    def told(text: str) -> str:
        for key, option in options.items():
            text = text.replace(f"--set {key}=", f"{option} ").replace(key, option)
        return text

    try:
        yield
    except UserError as error:
        problems = [
            Problem(told(p.where), p.got, told(p.expected), p.fix and told(p.fix))
            for p in error.problems
        ]
        raise UserError(problems) from error
