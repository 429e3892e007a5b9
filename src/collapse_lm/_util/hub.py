"""Ask the Hugging Face hub whether something is there, and fail in seconds if not.

The libraries retry for half a minute when there is no network; one cheap question
with a short time limit comes first. Knows nothing of what is then loaded.
"""

from typing import Literal

from collapse_lm.errors import UserError

_TIMEOUT_S = 3.0


def require_hub(
    where: str,
    repository: str,
    *,
    kind: Literal["model", "dataset"],
    fix: str,
    revision: str | None = None,
) -> str:
    """Return the commit that a revision of a repository on the hub has now.

    Args:
        where: what the error is about.
        repository: owner and name.
        kind: model or dataset.
        fix: what to do about an error.
        revision: branch or other reference; None means the main branch.

    Raises:
        UserError: when the hub cannot be reached or holds no such repository.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=_TIMEOUT_S)
    except Exception as error:  # every transport library has its own tree of network errors
        raise _refused(where, repository, kind, fix, error) from None
    return str(info.sha)


def _refused(where: str, repository: str, kind: str, fix: str, error: Exception) -> UserError:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    expected = f"a local {kind}, or a network"
    match error:
        case HFValidationError():
            got, expected = repository, f"the name of a {kind} on the hub"
        case GatedRepoError():
            got, expected = f"{repository} is gated", "access to it"
            fix = "ask for access, then hf auth login"
        case RepositoryNotFoundError():
            got, expected = f"{repository}, which the hub does not have", f"an existing {kind}"
        case OfflineModeIsEnabled():
            got = f"{repository} is not on this machine, and HF_HUB_OFFLINE is set"
            expected = "a hub"
        case PermissionError():
            got = f"{error.filename}: {error.strerror}"
            expected = "a folder of the hub's library that can be read"
            fix = "name another in HF_HOME"
        case _:
            got = (
                f"{repository} is not on this machine, and the hub does not answer "
                f"({type(error).__name__})"
            )
    return UserError.single(where, got, expected, fix)
