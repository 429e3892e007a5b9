"""What a model's own code raises, told as what it is: a model that cannot be used here."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from collapse_lm.errors import CollapseLMError, UserError

_MEMORY = ("can't allocate memory", "bad_alloc")


@contextmanager
def own_code(reference: str, doing: str) -> Iterator[None]:
    """Turn whatever the model's code raises in the body of a with statement into a refusal.

    Args:
        reference: of the model.
        doing: what was asked of it, e.g. "reading tokens".

    Raises:
        UserError: with the type and the first line of what was raised. Our own errors, and
            memory that is missing, pass as they are.
    """
    try:
        yield
    except (CollapseLMError, MemoryError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError.single(
            f"model {reference}",
            f"code of its own that fails at {doing}: {told(error)}",
            "a causal language model that reads token ids, and nothing beside them",
            "try it with transformers alone; docs/models.md lists the families that work",
        ) from error


def told(error: BaseException) -> str:
    """Type and first line of an error."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """True of the errors by which torch and Python say that memory is missing."""
    is_named = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_named or any(word in str(error) for word in _MEMORY)
