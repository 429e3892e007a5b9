"""Before a sweep begins: what its runs need and cannot have, each told once.

Loads no model and creates nothing but the cache of the packaged model.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache

from collapse_lm.config import Config
from collapse_lm.corpora.corpus import load_corpus
from collapse_lm.errors import Problem, UserError
from collapse_lm.models.availability import require_model
from collapse_lm.models.ladder import is_ladder, rung_of
from collapse_lm.sweeps.engines.choose import RAY, EngineChoice
from collapse_lm.sweeps.job import SweepJob

_LOG = logging.getLogger(__name__)


def require_inputs(
    jobs: Iterable[SweepJob], engine: EngineChoice, made_later: Collection[str] = ()
) -> None:
    """See that models and texts of the runs that are left can be had.

    What only some runs lack is a warning, as the others can be done. Nothing is asked where a
    cluster does the runs, whose machines have models and texts of their own.

    Args:
        jobs: planned sweeps that begin together.
        engine: that does them.
        made_later: references of models that are trained first.

    Raises:
        UserError: where every run lacks something; each thing once.
        MachineError: where a text cannot be downloaded.
    """
    if engine.engine == RAY and engine.address:
        return
    problems = cache(lambda needs, reference: _problems(_ASK[needs], reference))

    def lacks(config: Config) -> list[Problem]:
        return [p for key in _needs(config, made_later) for p in problems(*key)]

    known = list(jobs)
    if not any(lacks(run.config) for job in known for run in job.plan.runs):
        return
    left = [task.config for job in known for task in job.tasks(job.progress())]
    _tell([lacks(config) for config in left])


def unmade_models(jobs: Iterable[SweepJob]) -> set[str]:
    """The models of the ladder that sweeps need and that are yet to be made.

    Raises:
        UserError: for a name of the ladder that means no model.
    """
    names = {run.config.model for job in jobs for run in job.plan.runs}
    return {name for name in names if is_ladder(name) and not rung_of(name).is_made}


def _needs(config: Config, made_later: Collection[str]) -> list[tuple[str, str]]:
    of_measures = (name for measure in config.measures for name in measure.corpora())
    of_steps = config.training.optimizer.corpora()
    of_run = (*config.evaluation.corpora, *config.source.corpora())
    references = (*of_run, *of_measures, *of_steps)
    texts = [("text", reference) for reference in dict.fromkeys(references)]
    return texts if config.model in made_later else [*texts, ("model", config.model)]


_ASK: dict[str, Callable[[str], object]] = {"text": load_corpus, "model": require_model}


def _problems(ask: Callable[[str], object], reference: str) -> tuple[Problem, ...]:
    try:
        ask(reference)
    except UserError as error:
        return error.problems
    return ()


def _tell(lacking: Sequence[Sequence[Problem]]) -> None:
    once = list(dict.fromkeys(problem for problems in lacking for problem in problems))
    if once and all(lacking):
        raise UserError(once)
    for problem in once:
        count = sum(problem in problems for problems in lacking)
        _LOG.warning("%s of %s runs cannot be done: %s", count, len(lacking), problem)
