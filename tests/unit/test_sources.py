"""What code says without its comments and blanks: the same in every version of Python."""

from __future__ import annotations

import pytest

from bento_rollout.bento.sources import source_of, written

CLASS = '''\
    @decorated(by=[1,  # class
        2])
    # before
    class A(B):  # after
        """Says # so.

        And more.\x20\x20
        """
# at the margin
        colour = "#fff"  # white

        prompt = f"""{colour}\x20\x20

    {colour!r:>{10}} # number
        """   # done
        long = 'a \\
  # b'
\t
        def f(self, ä="ü"):  # é
            return {  # here
                "a": 1,

            }\x20\x20
    # trailing
'''

PLAIN = '''\
class A(B):
    """Says # so.

        And more.\x20\x20
        """
    colour = "#fff"
    prompt = f"""{colour}\x20\x20

    {colour!r:>{10}} # number
        """
    long = 'a \\
  # b'
    def f(self, ä="ü"):
        return {
            "a": 1,
        }'''


def test_comments_and_blanks_go_and_strings_stay() -> None:
    """Comments, blank lines, trailing blanks and the indentation of the whole are no part of it."""
    assert written(CLASS, undecorated=True) == PLAIN


def test_what_is_plain_stays_as_it_is() -> None:
    """Doing it twice is doing it once."""
    assert written(PLAIN) == PLAIN


def test_without_asking_decorators_stay() -> None:
    """They are part of what a function is."""
    assert written("    @cached  # for long\n    def f(): ...\n") == "@cached\ndef f(): ..."


@pytest.mark.parametrize(
    "text",
    [
        "f = (1,  # never closed\n",
        '"f": lambda x: x)},  # never opened\n',
        "x = $  # no Python\n",
        "(]  # odd\n",
    ],
)
def test_what_is_no_whole_code_stays_raw(text: str) -> None:
    """A piece of a statement, as the line around a lambda is, is not guessed at: in no version of Python."""
    assert written(text) == text


def test_a_class_without_source_has_its_methods_code() -> None:
    """One made in a console: other code is another text."""
    made = [type("Made", (), {"f": eval(f"lambda self: {code}")}) for code in ("self", "self", "-self")]
    first, same, other = map(source_of, made)
    assert first == same != other
