"""collapse-lm: what happens to a language model that is trained on its own text.

    import collapse_lm
    result = collapse_lm.run("quickstart")

The pure pieces are importable too: `self_train` (the loop), `judge` (the collapse
rule), `measure_samples` and `find_loop` (text metrics). Names are loaded at their
first use, so that importing the package, or its configuration and reports, does not
import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from collapse_lm._version import __version__

if TYPE_CHECKING:
    from collapse_lm.config import Config, load_config
    from collapse_lm.corpora.evaluation_set import EvaluationSet
    from collapse_lm.errors import CollapseLMError, MachineError, UserError
    from collapse_lm.loop import Experiment, RunState, self_train
    from collapse_lm.measures import CollapseRule, Observation, find_loop, judge, measure_samples
    from collapse_lm.measures.validation import evaluate
    from collapse_lm.models.load import load_model
    from collapse_lm.reproduction.api import ReproductionResult, reproduce
    from collapse_lm.rundir import RunReader
    from collapse_lm.rundir.session import RunResult, resume, run
    from collapse_lm.sampling import Filters, sample
    from collapse_lm.sweeps.api import SweepResult, sweep

_HOMES = {
    "config": ("Config", "load_config"),
    "errors": ("CollapseLMError", "MachineError", "UserError"),
    "corpora.evaluation_set": ("EvaluationSet",),
    "measures.validation": ("evaluate",),
    "loop": ("Experiment", "RunState", "self_train"),
    "measures": ("CollapseRule", "Observation", "find_loop", "judge", "measure_samples"),
    "models.load": ("load_model",),
    "reproduction.api": ("ReproductionResult", "reproduce"),
    "rundir": ("RunReader",),
    "rundir.session": ("RunResult", "resume", "run"),
    "sampling": ("Filters", "sample"),
    "sweeps.api": ("SweepResult", "sweep"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "CollapseLMError",
    "CollapseRule",
    "Config",
    "EvaluationSet",
    "Experiment",
    "Filters",
    "MachineError",
    "Observation",
    "ReproductionResult",
    "RunReader",
    "RunResult",
    "RunState",
    "SweepResult",
    "UserError",
    "__version__",
    "evaluate",
    "find_loop",
    "judge",
    "load_config",
    "load_model",
    "measure_samples",
    "reproduce",
    "resume",
    "run",
    "sample",
    "self_train",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
