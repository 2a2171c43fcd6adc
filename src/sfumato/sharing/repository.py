"""A repository on the Hugging Face Hub: what it contains, and the upload of a folder in one commit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sfumato
from sfumato.errors import RunError
from sfumato.evaluation.evaluate import RECORD
from sfumato.sharing.card import MARK, SAMPLES, TAGS
from sfumato.training.measurements import METRICS_FILE
from sfumato.training.run_directory import CONFIG

CARD = "README.md"

NEUTRAL = {".gitattributes", ".gitignore", CARD}
"""Files of a repository that was made on the website."""

WRITTEN = {
    *(CARD, CONFIG, METRICS_FILE, RECORD, SAMPLES),
    *("model_index.json", "pipeline.py", "scheduler", "unet", "weaker"),
}
"""Files and folders that a push may write."""

MOST_NAMED = 8
"""Maximum number of files that an error names."""

FOLDER_ONLY = "To write the folder without an upload: --dry-run OUT"


@dataclass(frozen=True)
class Existing:
    """Content of a repository that may be replaced.

    Attributes:
        commit: hash of its newest commit.
        files: paths of its files.
        is_ours: whether sfumato wrote it.
        metadata: metadata of its card.
        notes: text of its card that is kept: that after `MARK`, or all without `MARK`.
    """

    commit: str
    files: tuple[str, ...]
    is_ours: bool
    metadata: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""


class Repository:
    """Access to a repository, with the login of huggingface_hub.

    Args:
        name: USER/NAME.
    """

    def __init__(self, name: str) -> None:
        from huggingface_hub import HfApi

        self.name = name
        self.api = HfApi(library_name="sfumato", library_version=sfumato.__version__)

    @property
    def address(self) -> str:
        """Address of its page."""
        return f"{self.api.endpoint}/{self.name}"

    def existing(self, private: bool) -> Existing | None:
        """Content of the repository; None if it does not exist.

        Args:
            private: whether the repository must not be public.

        Raises:
            RunError: nobody is logged in, the Hub cannot be reached, or the repository must not be replaced.
        """
        from huggingface_hub import ModelCard
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._errors():
            self.api.whoami()
            try:
                info = self.api.model_info(self.name)
            except RepositoryNotFoundError:
                return None
        files = tuple(sorted(file.rfilename for file in info.siblings or []))
        is_ours = TAGS[0] in (info.tags or [])
        foreign = [file for file in files if file not in NEUTRAL and not file.startswith("LICENSE")]
        if foreign and not is_ours:
            named = ", ".join(foreign[:MOST_NAMED]) + (", ..." if len(foreign) > MOST_NAMED else "")
            raise RunError(
                f"{self.name} exists and contains files that sfumato did not write: {named}",
                f"Choose another name, or delete the repository at {self.address}/settings.",
            )
        if private and not info.private:
            raise RunError(
                f"{self.name} exists and is public, but --private was given",
                f"Make it private at {self.address}/settings, or leave out --private.",
            )
        if CARD not in files:
            return Existing(str(info.sha), files, is_ours)
        with self._errors():
            path = self.api.hf_hub_download(self.name, CARD, revision=info.sha)
            found = ModelCard.load(path, ignore_metadata_errors=True)
        _, mark, after = found.text.partition(MARK)
        return Existing(str(info.sha), files, is_ours, found.data.to_dict(), after if mark else found.text)

    def upload(self, folder: Path, existing: Existing | None, private: bool, say: Callable[[str], None]) -> None:
        """Uploads a folder in one commit, which also deletes files of an earlier push that the folder does not have.

        Args:
            folder: new content.
            existing: present content; None: the repository is created.
            private: whether a new repository is private.
            say: called with messages on files that are replaced.

        Raises:
            RunError: the Hub did not accept it; no file in the repository is changed.
        """
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        files = sorted(path for path in folder.rglob("*") if path.is_file())
        additions = [CommitOperationAdd(path.relative_to(folder).as_posix(), path) for path in files]
        stale = []
        if existing is not None and existing.is_ours:
            ours = [file for file in existing.files if file.split("/")[0] in WRITTEN]
            stale = [file for file in ours if not (folder / file).is_file()]
            say("The repository contains an earlier push, which is replaced; its history stays on the Hub.")
        if stale:
            say(f"Deleted, because the model no longer needs them: {', '.join(stale)}.")
        with self._errors():
            if existing is None:
                self.api.create_repo(self.name, private=private or None, exist_ok=True)
            self.api.create_commit(  # not upload_folder, which may split an upload into several commits
                self.name,
                [*additions, *map(CommitOperationDelete, stale)],
                commit_message="Push a model with sfumato",
                parent_commit=None if existing is None else existing.commit,
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Converts errors of huggingface_hub and of the network to `RunError`."""
        from huggingface_hub.errors import LocalTokenNotFoundError

        try:
            yield
        except LocalTokenNotFoundError as error:
            raise RunError(
                "you are not logged in to the Hugging Face Hub", f"Log in with: hf auth login. {FOLDER_ONLY}"
            ) from error
        except Exception as error:  # the library, its storage backend and the network raise many types of exceptions
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> RunError:
        """The error for a failed request."""
        from huggingface_hub.errors import HfHubHTTPError

        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, HfHubHTTPError):
            cause = cause.__cause__
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if cause is None:
            return RunError(
                f"{self.name} could not be pushed: {reason}",
                f"Check the connection, and run the same command again. {FOLDER_ONLY}",
            )
        status = cause.response.status_code
        detail = (reason if status == 401 or cause is not error else cause.server_message or "").strip().rstrip(".")
        match status:
            case 401:
                problem, remedy = "the Hub does not accept your login", "Log in again: hf auth login."
            case 403 | 404:
                problem = "the Hub does not let you write there"
                remedy = "Use your name or that of your organization, and a token with the role write: hf auth login."
            case 409 | 412:
                problem, remedy = "the repository was changed at the same time", "Run the same command again."
            case _:
                problem = "the Hub rejected the request"
                remedy = f"Correct what it names, or run the same command again later. {FOLDER_ONLY}"
        answer = f"HTTP {status}{': ' if detail else ''}{detail}"
        return RunError(f"{self.name} could not be pushed: {problem} ({answer})", remedy)
