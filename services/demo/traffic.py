"""Sends the held-out patients to the service from several connections, and keeps what was answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import Self

CONNECTIONS = 8
PAUSE = 0.02
"""Seconds between two requests of one connection: busy, and far from saturating two cores."""
REQUESTS_PER_CONNECTION = 40
"""Then the connection is opened anew, so that every worker is met."""


@dataclass(frozen=True)
class Patient:
    """One routing key, the body that is sent for it, and which held-out row that is."""

    key: str
    row: int
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What one request came to; times are monotonic seconds.

    Attributes:
        status: the HTTP status; 0 when there was no answer at all.
        probability: of malignancy; None when there is no 200.
        error: what went wrong, or empty.
    """

    patient: Patient
    started: float
    ended: float
    status: int
    variant: str = ""
    revision: int = 0
    reason: str = ""
    prediction_id: str = ""
    probability: float | None = None
    error: str = ""


class Traffic:
    """Clients that walk through their share of the patients again and again until they are told to stop."""

    def __init__(self, port: int, patients: Sequence[Patient]) -> None:
        self.answers: list[Answer] = []
        self.passes = [0] * CONNECTIONS
        self._port = port
        self._patients = patients
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._walk, args=(n,), daemon=True) for n in range(CONNECTIONS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=30)

    @property
    def alive(self) -> bool:
        """Whether every client is still at it."""
        return all(thread.is_alive() for thread in self._threads)

    def _walk(self, number: int) -> None:
        mine = self._patients[number::CONNECTIONS]
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        sent = 0
        while not self._stopping.is_set():
            for patient in mine:
                if sent % REQUESTS_PER_CONNECTION == 0:
                    connection.close()
                self.answers.append(ask(connection, patient))
                sent += 1
                if self._stopping.wait(PAUSE):
                    break
            else:
                self.passes[number] += 1
        connection.close()


def ask(connection: http.client.HTTPConnection, patient: Patient) -> Answer:
    """Send one request, without a second try, and return what came of it."""
    headers = {"content-type": "application/json", "x-patient-id": patient.key}
    started = time.monotonic()
    try:
        connection.request("POST", "/predict", patient.body, headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Answer(patient, started, time.monotonic(), 0, error=repr(error))
    ended = time.monotonic()
    ok = response.status == http.client.OK
    return Answer(
        patient,
        started,
        ended,
        response.status,
        variant=response.headers.get("x-rollout-variant", ""),
        revision=int(response.headers.get("x-rollout-revision", 0)),
        reason=response.headers.get("x-rollout-reason", ""),
        prediction_id=response.headers.get("x-rollout-prediction-id", ""),
        probability=float(json.loads(body)[0]) if ok else None,
        error="" if ok else body[:200].decode(errors="replace"),
    )
