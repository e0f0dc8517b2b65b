"""Who somebody is: by a token, by a session's mark, by a trusted proxy; and what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.admin.people import People, Person, Proxies
from bento_rollout.admin.tokens import Tokens
from bento_rollout.errors import InvalidValue
from bento_rollout.reviewing import Role


def people(**more: Any) -> People:
    """Return an admin, and roles of others."""
    roles = {"read": {"cleo": (Role.ADJUDICATOR,), "root": (Role.ADMIN,)}, "draft": {}}
    return People(Tokens("admin-token"), Tokens("reader-token", name="ada"), roles, **more)


def test_the_admins_token_holds_every_role() -> None:
    """Whoever runs the service may do everything."""
    found = people().by_token(b"admin-token")
    assert found is not None
    assert found.name == "admin"
    assert found.at("read") == frozenset(Role)
    assert found.endpoints(Role.OPERATOR) is None


def test_a_name_of_which_nothing_is_said_reviews() -> None:
    """A token is enough to review, and for nothing more."""
    found = people().by_token(b"reader-token")
    assert found is not None
    assert found.name == "ada"
    assert found.endpoints(Role.REVIEWER) == ("read", "draft")
    assert [role for role in Role if found.may(role)] == [Role.REVIEWER]


def test_roles_are_held_where_they_were_given() -> None:
    """An adjudicator of one endpoint is a reviewer of the others."""
    cleo = Person("cleo", roles={"read": frozenset({Role.ADJUDICATOR}), "draft": frozenset({Role.REVIEWER})})
    assert cleo.endpoints(Role.ADJUDICATOR) == ("read",)
    assert cleo.endpoints(Role.REVIEWER) == ("draft",)
    assert not cleo.may(Role.REVIEWER, "read")


@pytest.mark.parametrize("token", [b"", b"admin-token ", b"other", b"\xff\x00"])
def test_other_tokens_are_nobodys(token: bytes) -> None:
    """What is not a token lets nobody in."""
    assert people().by_token(token) is None


def test_a_mark_is_known_as_long_as_its_token(tmp_path: Path) -> None:
    """A session ends when its token is taken out of the file."""
    file = tmp_path / "tokens"
    file.write_text("ada:one\nben:two\n")
    everybody = People(Tokens(), Tokens(path=file))
    mark = everybody.mark_of(b"one")
    assert "one" not in mark
    found = everybody.by_mark(mark)
    assert found is not None
    assert found.name == "ada"
    file.write_text("ada:changed\nben:two\n")
    assert everybody.by_mark(mark) is None
    assert everybody.by_mark("nonsensé") is None


def test_a_broken_file_lets_nobody_in(tmp_path: Path) -> None:
    """Which of the two files is broken makes no difference."""
    file = tmp_path / "tokens"
    file.write_text("no colon\n")
    everybody = People(Tokens("admin-token"), Tokens(path=file))
    assert everybody.problem is not None
    assert everybody.by_token(b"admin-token") is None
    assert everybody.by_mark(everybody.mark_of(b"admin-token")) is None


def test_who_holds_a_role() -> None:
    """The operators' tokens hold every role, and who has it by the spec."""
    assert people().holders(Role.ADJUDICATOR, "read") == ("admin", "cleo", "root")
    assert people().holders(Role.OPERATOR, "draft") == ("admin",)


def test_environment(tmp_path: Path) -> None:
    """Tokens, files and proxies have their variables."""
    file = tmp_path / "reviewers"
    file.write_text("ada:one\n")
    found = People.from_environment(
        {
            "BENTO_ROLLOUT_ADMIN_TOKEN": "root-token",
            "BENTO_ROLLOUT_REVIEW_TOKEN": "single",
            "BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(file),
            "BENTO_ROLLOUT_USER_HEADER": "X-User",
            "BENTO_ROLLOUT_TRUSTED_PROXIES": "10.0.0.1, 10.1.0.0/16",
        }
    )
    assert found.names == ("admin", "reviewer", "ada")
    assert found.proxies.is_used
    assert not People.from_environment({}).is_open


def test_a_wrong_proxy_is_named() -> None:
    """What is no address is refused with the variable."""
    with pytest.raises(InvalidValue, match=r"BENTO_ROLLOUT_TRUSTED_PROXIES.*'proxy\.example'"):
        Proxies("X-User", ["proxy.example"])


def scope(client: tuple[str, int] | None, *headers: tuple[str, str]) -> dict[str, Any]:
    """Return what a server knows of a request."""
    return {"client": client, "headers": [(name.encode(), value.encode()) for name, value in headers]}


USER, FORWARDED = ("x-user", "ada"), ("x-forwarded-for", "203.0.113.9")


@pytest.mark.parametrize(
    ("trusted", "rewriting", "client", "headers", "user"),
    [
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [USER], "ada"),
        (["10.0.0.1"], [], ("10.0.0.2", 5000), [USER], None),
        (["10.0.0.1"], [], None, [USER], None),
        ([], [], ("10.0.0.1", 5000), [USER], None),
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [], None),
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [USER, ("x-user", "root")], None),  # two: whom to believe?
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [("x-user", " ")], None),
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [("x-user", "a" * 101)], None),
        (["10.0.0.1"], [], ("10.0.0.1", 5000), [("x-user", "a\x1b[31m")], None),
        # the server shows what a header says as the address of the caller, port 0
        (["127.0.0.1"], ["127.0.0.1", "::1"], ("203.0.113.9", 0), [USER, FORWARDED], "ada"),
        (["10.0.0.1"], ["127.0.0.1", "::1"], ("10.0.0.1", 0), [USER, FORWARDED], None),
        (["10.0.0.1"], ["*"], ("10.0.0.1", 0), [USER, FORWARDED], None),
        (["10.0.0.1"], ["*"], ("10.0.0.1", 5000), [USER, FORWARDED], None),
        (["127.0.0.1"], ["127.0.0.1"], ("203.0.113.9", 5000), [USER, FORWARDED], None),
        (["::1"], ["127.0.0.1", "::1"], ("127.0.0.1", 4000), [USER], "ada"),
        (["10.0.0.0/8"], [], ("not an address", 1), [USER], None),
    ],
)  # fmt: skip
def test_proxies_are_believed_where_it_is_sure_who_speaks(
    trusted: Sequence[str],
    rewriting: Sequence[str],
    client: tuple[str, int] | None,
    headers: Sequence[tuple[str, str]],
    user: str | None,
) -> None:
    """The header counts only when the connection itself surely comes from a trusted proxy."""
    assert Proxies("X-User", trusted, rewriting).user(scope(client, *headers)) == user


def test_a_proxy_makes_nobody_an_admin() -> None:
    """The name `admin` in a header is a name like any other; a role of the spec is a role."""
    proxies = Proxies("X-User", ["10.0.0.1"], [])
    everybody = people(proxies=proxies)
    for name, admin in (("admin", False), ("root", True)):
        found = everybody.by_proxy(scope(("10.0.0.1", 1), ("x-user", name)))
        assert found is not None
        assert not found.admin
        assert found.may(Role.OPERATOR, "read") is admin
