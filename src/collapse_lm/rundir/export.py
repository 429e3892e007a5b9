"""RUN/model: the final weights in the hub's layout, as a whole or not at all."""

import shutil
from pathlib import Path

from safetensors import SafetensorError

from collapse_lm._util.files import writing
from collapse_lm.models.load import LanguageModel

_MODEL = "model"


def export_model(model: LanguageModel, run: Path) -> None:
    """Write RUN/model.

    Raises:
        MachineError: when the disk fails; an earlier export stays.
    """
    place, workplace = run / _MODEL, run / f".{_MODEL}"
    with writing(place, SafetensorError):
        shutil.rmtree(workplace, ignore_errors=True)
        try:
            model.save(workplace)
            shutil.rmtree(place, ignore_errors=True)
            workplace.rename(place)
        finally:
            shutil.rmtree(workplace, ignore_errors=True)
