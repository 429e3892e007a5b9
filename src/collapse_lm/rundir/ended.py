"""What a resume does with a run that is over: pictures, and the model where it is asked for."""

import logging

from collapse_lm._util.files import write_atomically
from collapse_lm.config import to_yaml
from collapse_lm.errors import UserError
from collapse_lm.experiment.build import Parts
from collapse_lm.observers.report import report_on
from collapse_lm.rundir import checkpoints
from collapse_lm.rundir.export import export_model
from collapse_lm.rundir.layout import CONFIG, MODEL, PAGE, REPORT, SUMMARY, RunDirectory
from collapse_lm.rundir.process import RunResult
from collapse_lm.rundir.reader import RunReader
from collapse_lm.rundir.resume import Resumable, damage, load_recorded

_LOG = logging.getLogger(__name__)


def ended(found: Resumable) -> RunResult:
    """The result of a run that is over."""
    with damage(found.path / SUMMARY):
        summary = RunReader(found.path).summary() or {}
        _LOG.info("nothing to do: the run is over (%s)", summary["reason"])
    return RunResult(found.path, summary)


def lacks_pages(found: Resumable) -> bool:
    """True where it has no page of samples or no report, and should: it was killed before."""
    return _lacks_page(found) or _lacks_report(found)


def draw_pages(found: Resumable) -> None:
    """Make the pages that a run, which is over, was killed before or while making."""
    from collapse_lm.observers.pictures import draw_run

    RunDirectory(found.path).clean()
    if _lacks_page(found):
        with damage(found.path):
            draw_run(found.path)
    if _lacks_report(found):
        report_on(found.path)


def _lacks_page(found: Resumable) -> bool:
    from collapse_lm.config.parts import Pictures

    is_drawn = any(isinstance(observer, Pictures) for observer in found.config.observers)
    return is_drawn and not (found.path / PAGE).is_file()


def _lacks_report(found: Resumable) -> bool:
    return found.config.run.report and not (found.path / REPORT).is_file()


def lacks_model(found: Resumable) -> bool:
    """True where the final model is asked for only now, and is not there."""
    is_asked = found.config.run.export_model and not load_recorded(found.path).run.export_model
    return is_asked and not (found.path / MODEL).exists()


def export_of(found: Resumable, parts: Parts) -> RunResult:
    """Export the model of a run that is over, from the checkpoint of its last update.

    Raises:
        UserError: where there is none; the run stays as it is.
    """
    checkpoint, _ = checkpoints.newest(found.path, found.snapshot)
    with damage(found.path):
        last = found.snapshot.rows[-1].update
        if checkpoint is None or checkpoint.update != last:
            raise UserError.single(
                "run.export_model",
                f"a run that is over, without a checkpoint of its last update, {last}",
                "the weights of its end",
                "do the run again in another folder with --set run.export_model=true",
            )
        checkpoints.restore(checkpoint, parts.state)
    export_model(parts.model, found.path)
    write_atomically(found.path / CONFIG, to_yaml(found.config))
    _LOG.info("the final model is in %s", found.path / MODEL)
    draw_pages(found)
    return ended(found)
