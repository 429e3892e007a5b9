"""collapse-lm: what happens to a language model that is trained on its own text.

    import collapse_lm
    result = collapse_lm.run("quickstart")

`sweep`, `reproduce`, `dynamic_eval` and `audit` do what their commands do, `tables` reads
what a folder of runs recorded. In a loop of your own, `sample` and `evaluate` take what
`load_model` returns, and `probe_row` gives the collapse rule (`Watch`, `judge`) what it looks
at. The pure pieces are importable too: `self_train` (the loop), `measure_samples` and `find_loop`
(text metrics). `run` takes parts as objects, or classes of your own below `SourceConfig`,
`ObjectiveConfig`, `MeasureConfig` and `ObserverConfig` (docs/extending.md). Names are
loaded at their first use, so that importing the package, or its configuration and
reports, does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from collapse_lm._version import __version__

if TYPE_CHECKING:
    from collapse_lm import rng
    from collapse_lm.analysis.frames import tables
    from collapse_lm.audits.api import audit
    from collapse_lm.audits.result import AuditResult
    from collapse_lm.config import (
        Config,
        MeasureConfig,
        ObjectiveConfig,
        ObserverConfig,
        OptimizerConfig,
        SourceConfig,
        load_config,
    )
    from collapse_lm.corpora.evaluation_set import EvaluationSet
    from collapse_lm.dynamic.evaluate import dynamic_eval
    from collapse_lm.errors import CollapseLMError, MachineError, UserError
    from collapse_lm.experiment.batch import Batch, Record, Text
    from collapse_lm.experiment.build import Context
    from collapse_lm.experiment.models import Moment
    from collapse_lm.loop import Experiment, RunState, self_train
    from collapse_lm.measures import (
        CollapseRule,
        Observation,
        Row,
        Verdict,
        Watch,
        find_loop,
        judge,
        measure_samples,
    )
    from collapse_lm.measures.validation import CorpusLoss
    from collapse_lm.models.load import LanguageModel, load_model
    from collapse_lm.ngrams.cache_eval import cache_eval
    from collapse_lm.ngrams.ngram_eval import ngram_eval
    from collapse_lm.own_loop import evaluate, evaluation_set, probe_row, sample
    from collapse_lm.reproduction.api import ReproductionResult, reproduce
    from collapse_lm.rundir import RunReader
    from collapse_lm.rundir.process import RunResult
    from collapse_lm.rundir.session import resume, run
    from collapse_lm.sweeps.api import SweepResult, sweep

_HOMES = {
    "analysis.frames": ("tables",),
    "audits.api": ("audit",),
    "audits.result": ("AuditResult",),
    "config": (
        *("Config", "load_config"),
        *("MeasureConfig", "ObjectiveConfig", "ObserverConfig"),
        *("OptimizerConfig", "SourceConfig"),
    ),
    "errors": ("CollapseLMError", "MachineError", "UserError"),
    "corpora.evaluation_set": ("EvaluationSet",),
    "dynamic.evaluate": ("dynamic_eval",),
    "measures.validation": ("CorpusLoss",),
    "experiment.batch": ("Batch", "Record", "Text"),
    "experiment.build": ("Context",),
    "experiment.models": ("Moment",),
    "loop": ("Experiment", "RunState", "self_train"),
    "measures": (
        *("CollapseRule", "Observation", "Row", "Verdict", "Watch"),
        *("find_loop", "judge", "measure_samples"),
    ),
    "models.load": ("LanguageModel", "load_model"),
    "ngrams.cache_eval": ("cache_eval",),
    "ngrams.ngram_eval": ("ngram_eval",),
    "own_loop": ("evaluate", "evaluation_set", "probe_row", "sample"),
    "reproduction.api": ("ReproductionResult", "reproduce"),
    "rundir": ("RunReader",),
    "rundir.process": ("RunResult",),
    "rundir.session": ("resume", "run"),
    "sweeps.api": ("SweepResult", "sweep"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AuditResult",
    "Batch",
    "CollapseLMError",
    "CollapseRule",
    "Config",
    "Context",
    "CorpusLoss",
    "EvaluationSet",
    "Experiment",
    "LanguageModel",
    "MachineError",
    "MeasureConfig",
    "Moment",
    "ObjectiveConfig",
    "Observation",
    "ObserverConfig",
    "OptimizerConfig",
    "Record",
    "ReproductionResult",
    "Row",
    "RunReader",
    "RunResult",
    "RunState",
    "SourceConfig",
    "SweepResult",
    "Text",
    "UserError",
    "Verdict",
    "Watch",
    "__version__",
    "audit",
    "cache_eval",
    "dynamic_eval",
    "evaluate",
    "evaluation_set",
    "find_loop",
    "judge",
    "load_config",
    "load_model",
    "measure_samples",
    "ngram_eval",
    "probe_row",
    "reproduce",
    "resume",
    "rng",
    "run",
    "sample",
    "self_train",
    "sweep",
    "tables",
]


def __getattr__(name: str) -> Any:
    if name == "rng":  # a module, for parts that draw random numbers
        return import_module(f"{__name__}.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
