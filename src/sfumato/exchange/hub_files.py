"""Downloads of models from the Hugging Face Hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfumato.errors import RunError
from sfumato.utils.hub import PREFIX, checked_name
from sfumato.utils.imports import require_packages
from sfumato.utils.text import first_line


def downloaded(path: str | Path, patterns: Sequence[str]) -> Path:
    """The local folder of a model, with the files that match the patterns; its name is the commit.

    Args:
        path: hf:USER/NAME or hf:USER/NAME@REVISION.
        patterns: names of the files, with wildcards.

    Raises:
        ConfigError: the Hub does not allow the name.
        RunError: the package for it is missing, or the model cannot be downloaded.
    """
    name, revision = name_and_revision(path)
    require_packages(PREFIX + name, "hub", "huggingface_hub")
    from huggingface_hub import snapshot_download, utils

    class Bar(utils.tqdm):  # type: ignore[misc,name-defined]  # it has no types
        """A progress bar in a terminal only, which is removed at the end."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
            super().__init__(*args, **{"disable": None, "leave": False} | kwargs)

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), tqdm_class=Bar))
    except Exception as error:  # the library and the network raise errors of many types
        raise _explained(error, name, revision) from error


def name_and_revision(path: str | Path) -> tuple[str, str | None]:
    """USER/NAME, and REVISION if there is one; raises `ConfigError` if the Hub does not allow the name."""
    name, _, revision = Path(path).as_posix().partition("@")
    return checked_name(name), revision or None


def _explained(error: Exception, name: str, revision: str | None) -> RunError:
    """The error for a failed download."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    path, log_in = PREFIX + name, "log in with: hf auth login."
    match error:
        case GatedRepoError():
            return RunError(
                f"{path} is only for accounts that its author accepted",
                f"Request access at https://huggingface.co/{name}, then {log_in}",
            )
        case RepositoryNotFoundError():
            return RunError(
                f"{path} does not exist on the Hub, or is private", f"Check the name. For a private model, {log_in}"
            )
        case RevisionNotFoundError():
            return RunError(f"{path} has no revision {revision}", "Choose one of its branches, tags or commits.")
    reason = first_line(error).removeprefix("Got: ").rstrip(".: ")
    return RunError(f"{path} could not be downloaded: {reason}", "Check the connection, and run it again.")
