"""Names on the Hub: the same are allowed as by huggingface_hub."""

from __future__ import annotations

import pytest
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, but not in a stub

from sfumato.errors import ConfigError
from sfumato.utils.hub import NAME, checked_name, is_hub_name


@pytest.mark.parametrize(
    "name",
    [
        *("mnist", "user/photos", "a/b", "0/1", "A.b_c-d/e.f_g-h", "_a_/_b_", "a.git/b", f"user/{'n' * 96}"),
        *(
            "",
            "/",
            "a/",
            "/a",
            "a/b/c",
            "-a/b",
            "a/-b",
            "a/b-",
            "a/.b",
            "a/b.",
            "a--b/c",
            "a/b--c",
            "a/b..c",
            "a/b.git",
        ),
        *("a b/c", "a/b:c", "a/b@c", "a\\b", f"user/{'n' * 97}", "a/b\n"),
    ],
)
def test_the_hub_allows_the_same_names(name: str) -> None:
    try:
        validate_repo_id(name)
    except HFValidationError:
        is_allowed = False
    else:
        is_allowed = True
    assert (NAME.fullmatch(name) is not None) == is_allowed


def test_a_repository_has_a_user() -> None:
    assert checked_name("hf:user/photos") == checked_name("user/photos") == "user/photos"
    with pytest.raises(ConfigError, match=r"^'hf:photos' is not the name of a repository .* anna/flowers\.$"):
        checked_name("hf:photos")
    assert checked_name("hf:photos", "data set") == "photos"


def test_a_name_on_the_hub_has_the_prefix() -> None:
    assert is_hub_name("hf:user/photos")
    assert not is_hub_name("user/photos")
