"""The hub that models come from: what of it lies on this disk, and whether it has what is asked for."""

import contextlib
from pathlib import Path
from typing import Final

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
)

from ranker.errors import ModelError
from ranker.wording import did_you_mean

_CONFIG: Final = "config.json"
_PATIENCE: Final = 5.0
"""Seconds that the hub has to answer the first question. transformers itself tries six times, for a minute and more."""


def local_models() -> list[str]:
    """Names of the hub's models that lie in its cache on this disk."""
    with contextlib.suppress(CacheNotFound):
        return sorted(
            repo.repo_id for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos if repo.repo_type == "model"
        )
    return []


def check_reachable(source: str) -> None:
    """Asks the hub once for a model that is neither a folder nor in the cache: a misspelt one is refused in seconds.

    Raises: ModelError where the hub has no such model, or does not answer.
    """
    if Path(source).is_dir():
        return
    try:
        if isinstance(try_to_load_from_cache(source, _CONFIG), str):
            return
    except HFValidationError as error:
        raise ModelError(f"{source}: is no folder here, and no name that a model of the hub can have.") from error
    nowhere = f"{source}: is no folder here, and not in the hub's cache"
    meant = did_you_mean(source, local_models())
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{nowhere}, and HF_HUB_OFFLINE forbids to ask the hub.{meant}")
    try:
        get_hf_file_metadata(hf_hub_url(source, _CONFIG), timeout=_PATIENCE)
    except (GatedRepoError, EntryNotFoundError):
        return  # of which transformers says more
    except RepositoryNotFoundError as error:
        raise ModelError(f"{nowhere}, and {constants.ENDPOINT} has no such model to show.{meant}") from error
    except Exception as error:  # whatever the libraries beneath raise where there is no network
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ModelError(f"{nowhere}, and {constants.ENDPOINT} cannot be asked: {reason}.{meant}") from error
