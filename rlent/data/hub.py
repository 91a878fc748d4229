"""Asking the Hugging Face hub whether it has something, in seconds instead of retries."""

from dataclasses import dataclass
from typing import Literal

HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAnswer:
    """What one request to the hub showed."""

    status: Literal["found", "missing", "unreachable"]
    """``missing`` covers private repositories, which the hub does not tell apart."""
    reason: str = ""
    """A sentence that says why it was not found."""


def ask_hub(kind: Literal["model", "dataset"], name: str, revision: str | None = None) -> HubAnswer:
    """Ask the hub once for a model or dataset, without the minute of retries of a download."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx

    api = HfApi()
    try:
        api.repo_info(name, repo_type=kind, revision=revision, timeout=HUB_TIMEOUT_S)
    except HFValidationError:
        return HubAnswer(status="missing", reason=f"'{name}' is not a name the hub can have")
    except RepositoryNotFoundError:
        reason = f"{api.endpoint} has no {kind} '{name}' that is open to you"
        return HubAnswer(status="missing", reason=reason)
    except RevisionNotFoundError:
        reason = f"the {kind} '{name}' has no revision '{revision}'"
        return HubAnswer(status="missing", reason=reason)
    except OfflineModeIsEnabled:
        reason = "the hub was not asked, because HF_HUB_OFFLINE is set"
        return HubAnswer(status="unreachable", reason=reason)
    except httpx.HTTPError as error:
        reason = f"{api.endpoint} could not be reached ({type(error).__name__}: {error})"
        return HubAnswer(status="unreachable", reason=reason)
    return HubAnswer(status="found")
