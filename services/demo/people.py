"""An act of the demo: a call that people must decide is held until they did, over HTTP; no model runs."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import httpx

from examples.screening.readers import Reader, at_work, write_tokens
from services.demo.promises import Verdict
from services.demo.screen import Screen
from services.demo.server import ROOT, environment, serving

SERVICE = "examples.screening.service:Screening"
HELD = 1.0
"""Seconds in which nobody comes to work."""

SECONDS = 60.0


def held_for_people(home: Path, screen: Screen) -> Verdict:
    """Ask a service whose endpoint stands at degree human, let two people answer, and judge what came."""
    screen.say("people decide: a service at degree human, and two who read what it is asked")
    place, tokens = home / "people", home / "readers"
    train = [sys.executable, "-c", "from examples.screening.service import train; train()"]
    subprocess.run(train, cwd=ROOT, env=environment(place), stdin=subprocess.DEVNULL, check=True)
    people = Reader("ann", errs=0.0), Reader("bob", errs=0.0)
    write_tokens(tokens, {one.name: one.token for one in people})
    settings = {"BENTO_ROLLOUT_REVIEW_TOKEN_FILE": str(tokens)}
    with serving(place, home / "server.log", SERVICE, settings) as port, ThreadPoolExecutor(1) as pool:
        url, biopsy = f"http://127.0.0.1:{port}", {"patient": "0", "measured": [0.0] * 30}
        asked = pool.submit(httpx.post, f"{url}/read", json=biopsy, timeout=SECONDS)
        held = bool(wait([asked], HELD).not_done)
        with at_work(people, url, truth=[True]):
            answer = asked.result()
    by, said = answer.headers.get("x-rollout-decided-by", ""), answer.text
    screen.say(f"  held for {HELD:g} s while nobody works: {held}; then {said}, X-Rollout-Decided-By: {by}")
    kept = held and answer.is_success and by == "human" and answer.json()["label"] == "malignant"
    detail = f"{' and '.join(one.name for one in people)} answered over HTTP"
    return Verdict("what people must decide is held, and answered by them", kept, detail)
