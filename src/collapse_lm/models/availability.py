"""Whether a model can be had here, asked before anything is begun. Loads and downloads nothing."""

from collapse_lm.models import ladder, packaged
from collapse_lm.models.files import find_local_model, is_local, require_hub_model
from collapse_lm.toys.names import is_toy, parse


def require_model(reference: str) -> None:
    """See that the files behind a reference are here or on the hub.

    The packaged model is converted, and a model of the ladder trained, once, where the cache does
    not hold it.

    Raises:
        UserError: as `load_model`, for what can be told without loading.
        MachineError: where the cache cannot be written.
    """
    if is_toy(reference):
        parse(reference)
    elif reference == packaged.NAME:
        if not packaged.is_converted():
            packaged.prepare()
    elif ladder.is_ladder(reference):
        ladder.prepare(reference)
    elif is_local(reference):
        find_local_model(reference)
    else:
        require_hub_model(reference)
