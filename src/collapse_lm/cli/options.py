"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Engine(StrEnum):
    """Where the runs of a sweep are done."""

    local = "local"
    ray = "ray"


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
