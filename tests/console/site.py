"""A console over a real store, with a rollout, a worker's card and a queue; served by a real HTTP server."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import uvicorn

from bento_rollout.admin.people import People, Proxies
from bento_rollout.admin.tokens import Tokens
from bento_rollout.console import console_app
from bento_rollout.console.sessions import key_in
from bento_rollout.degrees import Degree
from bento_rollout.ladder import Ladder
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.reviewing import Case, Given, Role, Selection, Shown, Suggestion, Visibility
from bento_rollout.spec import RolloutSpec
from bento_rollout.store.presence import Card, Presence, VariantCard
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore

NAME, ENDPOINT = "screening", "read"
DIGESTS = {"logistic": "3fa1" * 16, "boosted": "b7c2" * 16}
CHOICES = ("benign", "malignant")
TOKENS = {"ada": "ada-secret-token", "ben": "ben-secret-token", "cleo": "cleo-secret-token"}
ADMIN = "operators-secret-token"
ROLES: dict[str, tuple[Role, ...]] = {
    "cleo": (Role.REVIEWER, Role.ADJUDICATOR, Role.VIEWER),
    "dora": (Role.OPERATOR, Role.REVIEWER, Role.VIEWER),
}
SPEC: dict[str, Any] = {
    "automation": {
        ENDPOINT: {
            "degree": "shadow",
            "max_degree": "partial",
            "target_error": "2%",
            "review": {
                "choices": list(CHOICES),
                "inputs": "plain",
                "on_timeout": "wait",
                "overflow": {"max_open": 5000, "action": "reject"},
            },
        }
    }
}


def make(case: Case, given: Given) -> tuple[str, bytes]:
    """Make what a caller gets: the choice itself."""
    if given.choice == "impossible":
        raise ValueError("a secret of the endpoint's code")
    return "application/json", json.dumps(given.choice).encode()


@dataclass
class Site:
    """A console, and what lies below it.

    Attributes:
        folder: of everything.
        tokens: names and tokens of reviewers.
        admin: the operators' token; empty: there is none.
    """

    folder: Path
    tokens: Mapping[str, str] = field(default_factory=lambda: dict(TOKENS))
    admin: str = ADMIN
    proxies: Proxies | None = None
    prefix: str = "/rollout"

    def __post_init__(self) -> None:
        self.store = SQLiteStore(self.folder / "rollouts.db", create=True)
        self.spec = RolloutSpec.parse(SPEC)
        self.ladders = {ENDPOINT: Ladder(degree=2, max_degree=4, target_error=0.02)}
        open_state(self.store, NAME, "logistic", self.spec, DIGESTS)
        self.place = self.store.place(NAME)
        self.reviews = Reviews(self.place, rollout=NAME)
        self.presence = Presence(self.place)
        self.presence.join()
        self.describe()
        self.number = 0
        file = self.folder / "reviewers"
        file.write_text("".join(f"{name}:{token}\n" for name, token in self.tokens.items()))
        self.token_file = file

    def describe(self) -> None:
        """Write a worker's card, at the newest revision."""
        variants = {name: VariantCard("ready", "worker", digest) for name, digest in DIGESTS.items()}
        commit = self.store.read(NAME)
        assert commit is not None
        ladder = {name: one.model_dump(mode="json") for name, one in self.ladders.items()}
        card = Card("", os.getpid(), 1, "Screening", commit.revision, variants, spec={"automation": ladder})
        self.presence.write(card)

    def rollout(self) -> Rollout:
        """Open the rollout."""
        return open_rollout(NAME, store=f"sqlite:///{self.folder / 'rollouts.db'}")

    def people(self) -> People:
        """Return who may come in."""
        roles = {ENDPOINT: ROLES}
        return People(Tokens(self.admin or None), Tokens(path=self.token_file), roles, self.proxies)

    def app(self, reviews: Callable[[], Reviews | None] | None = None, **more: Any) -> Any:
        """Return the console."""
        queue = (lambda: self.reviews) if reviews is None else reviews
        return console_app(
            self.rollout, queue, self.people(), self.prefix, make, key=lambda: key_in(self.place), **more
        )

    # -- cases -----------------------------------------------------------------------------------------

    def ask(self, shown: Shown | None = None, **more: Any) -> Case:
        """Submit a case."""
        self.number += 1
        settings: dict[str, Any] = {
            "id": f"{self.number:032x}",
            "prediction_id": f"0190aaaa-0000-7000-8000-{self.number:012d}",
            "endpoint": ENDPOINT,
            "revision": 1,
            "degree": Degree.ASSIST,
            "selection": Selection.ALL,
            "probability": 1.0,
            "input": shown or Shown("json", {"radius": 14.1, "texture": 20.3, "smoothness": 0.1}),
            "choices": CHOICES,
            "created": time.time(),
            "visibility": Visibility.HIDDEN,
        }
        case = Case(**{**settings, **more})
        self.reviews.submit(case)
        return case

    def ask_suggested(
        self, choice: str = "malignant", *, score: float = 0.91, shown: Shown | None = None, **more: Any
    ) -> Case:
        """Submit a case of which the model says something, to be seen after the answer."""
        said = Suggestion(choice, choice, score, "logistic", DIGESTS["logistic"], time.time())
        return self.ask(shown, suggestion=said, **{"visibility": Visibility.AFTER_ANSWER, **more})

    def answer(self, who: str, choice: str, *, role: Role = Role.REVIEWER) -> None:
        """Take a case and answer it, as a program would."""
        claim = self.reviews.claim(who, roles=frozenset({role}))
        assert claim is not None
        given = Given(choice, seconds=4.0)
        if self.reviews.answer(claim.case.id, who, claim.token, given, make=make).status == "revealed":
            self.reviews.answer(claim.case.id, who, claim.token, given, make=make)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve an app on this machine; yields its address."""
    listening = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves small answers waiting
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()


def picture(width: int = 320, height: int = 240) -> Shown:
    """Return an image as a case shows it."""
    from PIL import Image, ImageDraw, ImageFilter

    image = Image.new("L", (width, height), 22)
    draw = ImageDraw.Draw(image)
    for step in range(60):
        x, y = (step * 53) % width, (step * 97) % height
        draw.ellipse((x, y, x + 26, y + 18), fill=50 + (step * 29) % 90)
    draw.ellipse((width * 0.55, height * 0.35, width * 0.75, height * 0.6), fill=225)
    buffer = BytesIO()
    image.filter(ImageFilter.GaussianBlur(3)).save(buffer, "PNG")
    return Shown("image", base64.b64encode(buffer.getvalue()).decode("ascii"), "image/png")
