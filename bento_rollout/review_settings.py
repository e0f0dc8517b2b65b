"""`Review`: how people are asked about an endpoint's predictions, as a spec says it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from .addresses import check_source, place_of
from .amounts import DAY, in_time
from .errors import InvalidValue
from .explaining import Problem, Problems
from .references import Reference
from .reviewing import Visibility
from .values import Seconds, Strict, check_name, check_text, parse_fraction, shown

__all__ = ["Overflow", "Overlap", "Review", "ReviewWebhook", "needed", "parse_choice"]

MOST_CHOICES = 1000
"""Choices that reviewers may have."""

LONGEST_CHOICE = 200
"""Letters of a choice."""

_LABEL = re.compile(r"[^\W\d][\w.:-]{0,63}")
"""What the ledger takes as a label's name."""

Unanswered = Literal["model", "default", "reject", "wait"]
_WAYS = "model, default, reject or wait"


def parse_choice(value: object, what: str = "choice") -> str:
    """Return a choice, or a class, as text on one line; whole numbers become text, truth values are refused.

    >>> parse_choice("benign"), parse_choice(0)
    ('benign', '0')
    """
    if isinstance(value, bool):
        return check_name(value, what)  # which says that YAML reads more than these two as truth values
    text = str(value) if isinstance(value, int) else value
    if isinstance(text, str) and not text.strip():
        raise InvalidValue(f"an empty {what} cannot be told from no answer")
    return check_text(text, what, LONGEST_CHOICE)


def _choices(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise InvalidValue(f"{shown(value)} is no list of choices: write like [benign, malignant]")
    found = tuple(map(parse_choice, value))
    if len(found) < 2 or len(found) > MOST_CHOICES:  # noqa: PLR2004 - with one there is nothing to choose
        raise InvalidValue(f"{len(found)} choices are not valid: write 2 to {MOST_CHOICES} of them")
    if twice := {one for one in found if found.count(one) > 1}:
        raise InvalidValue(f"{min(twice)!r} stands twice among the choices")
    return found


def needed(*words: str) -> Callable[[object], object]:
    """Return what refuses, in these words, that a field without a default is left out."""

    def check(value: object) -> object:
        if value is None:
            raise Problems([Problem((), "".join(words))])
        return value

    return check


def _label(value: object) -> str:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise InvalidValue(
            f"label {shown(value)} is no name: a letter, then letters, digits, _.:-; at most 64 of them"
        )
    return value


class Overlap(Strict):
    """Cases that two people answer, neither seeing the other's answer.

    Attributes:
        share: of all cases, drawn by the prediction's id.
        adjudicate: whether a third decides where the two differ; else the first answer stands.
    """

    share: Annotated[float, BeforeValidator(parse_fraction)] = 0.0
    adjudicate: Annotated[bool, Field(strict=True)] = False


class Overflow(Strict):
    """What becomes of a case when too many are open.

    Attributes:
        max_open: how many may be open, audits included.
        action: ``model`` or ``default``: that answers; ``reject``: the caller is refused; ``wait``: it is
            taken all the same.
    """

    max_open: Annotated[int, Field(strict=True, gt=0)]
    action: Annotated[
        Unanswered,
        BeforeValidator(needed("there is no default: write what happens when too many are open: ", _WAYS)),
    ] = Field(default=None, validate_default=True)


def _url(value: object) -> str:
    try:
        place_of(value)
    except InvalidValue as error:  # its own words only: an address may be a secret
        raise Problems([Problem((), str(error))]) from None
    return str(value)


def _secret(value: object) -> str:
    try:
        return check_source(value)
    except InvalidValue as error:
        raise Problems([Problem((), str(error))]) from None


def _console(value: object) -> str | None:
    if value is None:
        return None
    try:
        place_of(str(value).replace("?", " "))  # a path of ours comes behind it
    except InvalidValue:
        words = "it is the service's address as people reach it, like https://screening.example.com"
        raise Problems([Problem((), words)]) from None
    return str(value).rstrip("/")


def _fields(value: object) -> object:
    if value is not None and not isinstance(value, (Mapping, ReviewWebhook)):
        words = "its fields are expected: write like {url: 'https://…', secret: env:NAME}"
        raise Problems([Problem((), words)])  # the text is not repeated: an address may be a secret
    return value


class ReviewWebhook(Strict):
    """Who is told of cases, by requests that are signed as Standard Webhooks has it.

    Attributes:
        url: an ``https`` address; nothing shows more of it than its host.
        secret: where the key lies: ``env:NAME`` or ``file:PATH``.
        timeout: seconds that one request may take.
        answer: whether it is told what was decided, too; else only that it was.
        console: the address of the service as people reach it, for links into the console; None: no links.
    """

    url: Annotated[str, BeforeValidator(_url), Field(repr=False)]
    secret: Annotated[str, BeforeValidator(_secret)]
    timeout: Seconds = 15.0
    answer: Annotated[bool, Field(strict=True)] = False
    console: Annotated[str | None, BeforeValidator(_console)] = None


class Review(Strict):
    """How people are asked, and what of it is kept.

    Attributes:
        choices: what they choose from; None: taken from the output's type, else they fill in a form.
        answer: called with the choice and the suggestion (None: there is none), returns the output; None:
            the choice is the output.
        choice_of: called with an output, returns the choice that it is; None: the one label in it.
        inputs: ``reference``: only what ``display`` returns, or an id; ``sealed``: encrypted; ``plain``.
        display: called with the arguments by name, returns an address or text that reviewers see with
            ``inputs: reference``; None: they see the id of the call, and look the rest up where it lies.
        keep: seconds until the input is deleted.
        suggestion: when reviewers see what the model says; degrees human and shadow hide it.
        blind_rate: the part of the cases in which it is hidden all the same.
        overlap: cases that two people answer.
        lease: seconds that a reviewer has a case without a sign of life.
        due: seconds in which an answer is wanted; None: whenever.
        on_timeout: what happens then: ``model`` or ``default`` answers, the call is rejected, or it waits on.
        default: the choice that ``default`` answers.
        overflow: what happens when too many cases are open.
        label: what a label is called that a decision becomes in the ledger.
        webhook: who is told of cases and of their ends; None: nobody.
    """

    choices: Annotated[tuple[str, ...] | None, BeforeValidator(_choices)] = None
    answer: Reference | None = None
    choice_of: Reference | None = None
    inputs: Annotated[
        Literal["reference", "sealed", "plain"],
        BeforeValidator(
            needed(
                "there is no default, as inputs may be patients: write reference (only what display: returns "
                "is kept, or an id), sealed or plain"
            )
        ),
    ] = Field(default=None, validate_default=True)
    display: Reference | None = None
    keep: Seconds = 30 * DAY
    suggestion: Visibility = Visibility.AFTER_ANSWER
    blind_rate: Annotated[float, BeforeValidator(parse_fraction)] = 0.1
    overlap: Overlap = Field(default_factory=Overlap)
    lease: Seconds = 600.0
    due: Seconds | None = None
    on_timeout: Annotated[
        Unanswered,
        BeforeValidator(
            needed("there is no default: write what happens when nobody answers in time: ", _WAYS)
        ),
    ] = Field(default=None, validate_default=True)
    default: Annotated[str, BeforeValidator(parse_choice)] | None = None
    overflow: Annotated[
        Overflow,
        BeforeValidator(
            needed("there is no default: write like {max_open: 5000, action: reject}; action is ", _WAYS)
        ),
    ] = Field(default=None, validate_default=True)
    label: Annotated[str, BeforeValidator(_label)] = "label"
    webhook: Annotated[ReviewWebhook | None, BeforeValidator(_fields)] = None

    @model_validator(mode="after")
    def _whole(self) -> Review:
        if found := list(_in_review(self)):
            raise Problems(found)
        return self

    @property
    def answers_by_default(self) -> bool:
        """Whether ``default`` may ever answer."""
        return "default" in (self.on_timeout, self.overflow.action)


def _in_review(review: Review) -> Iterator[Problem]:
    if review.inputs != "reference" and review.display is not None:
        words = f"it is never called with inputs: {review.inputs}, which keeps the input itself"
        yield Problem(("display",), f"{words}; write inputs: reference, or leave it out")
    if review.answers_by_default and review.default is None:
        where = "on_timeout" if review.on_timeout == "default" else "overflow.action"
        yield Problem(("default",), f"{where}: default answers with it: write one of the choices")
    if review.default is not None and review.choices is not None and review.default not in review.choices:
        yield Problem(("default",), f"{review.default!r} is none of the choices: {', '.join(review.choices)}")
    if review.due is None and review.on_timeout != "wait":
        words = f"on_timeout: {review.on_timeout} needs it: write in what time an answer is wanted, like 4h"
        yield Problem(("due",), words)
    if review.due is not None and review.due > review.keep:
        words = f"{in_time(review.keep)} is shorter than due ({in_time(review.due)})"
        yield Problem(("keep",), f"{words}: the input would be deleted before an answer is wanted")
    if review.overlap.adjudicate and not review.overlap.share:
        words = "with share 0 no case has two answers that could differ; write like share: 5%"
        yield Problem(("overlap", "adjudicate"), words)
