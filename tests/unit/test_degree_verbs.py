"""The verbs of the degrees of automation on a real store, with live workers, reviews and processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bento_rollout.applying import ladders_of
from bento_rollout.degrees import Degree
from bento_rollout.errors import Conflict, InvalidSpec, InvalidValue, NotReady, Refused, StoreUnreachable
from bento_rollout.opening import open_state
from bento_rollout.operations import Rollout, open_rollout
from bento_rollout.reviewing import Selection
from bento_rollout.spec import RolloutSpec
from bento_rollout.standing import degree_of
from bento_rollout.store.reviews import Reviews
from bento_rollout.store.sqlite import SQLiteStore
from tests.states import finish, fork
from tests.unit.degrees import answer, automation, certificate
from tests.unit.door import Door, Say
from tests.unit.workers import READY, Join, with_digest

NAMED = {name: card.digest for name, card in READY.items()}
HUMAN, SHADOW, ASSIST, PARTIAL, FULL = Degree


def spec(degree: object = "shadow", **changes: Any) -> RolloutSpec:
    """A spec that automates ``read``."""
    return RolloutSpec.parse(automation(degree, **changes))


def card(made: RolloutSpec) -> dict[str, Any]:
    """What a worker's card says of it."""
    return {"automation": {name: one.plain for name, one in ladders_of(made).items()}}


@pytest.fixture
def serve(store: SQLiteStore, join: Join) -> Callable[..., Rollout]:
    """Deploy a service that automates ``read``; returns the rollout as ann sees it."""

    def serve(degree: object = "shadow", **changes: Any) -> Rollout:
        made = spec(degree, **changes)
        open_state(store, "screening", "logistic", made, NAMED)
        join(spec=card(made))
        return open_rollout("screening", author="ann")

    return serve


@pytest.fixture
def reviews(store: SQLiteStore) -> Reviews:
    """What people answered."""
    return Reviews(store.place("screening"), rollout="screening")


def certify(rollout: Rollout, **changes: Any) -> None:
    """Keep a certificate for the champion, as `calibrate` does."""
    desk = rollout._desk
    made = certificate(rollout.state.champions_digest, **changes)
    desk.change("calibrate", lambda state, _: state.certify("read", made), "", None)


def degree(rollout: Rollout) -> str:
    """The degree of ``read`` now."""
    return degree_of(rollout.state, "read").word


# -- how a service begins -----------------------------------------------------------------------------------


def test_a_known_rollout_takes_up_a_newly_automated_endpoint(serve: Callable[..., Rollout]) -> None:
    """The deployment records it, and says so; the next start records nothing."""
    rollout = serve("assist")
    newest = rollout.history()[0]
    assert (newest.author, newest.action, newest.revision) == ("deploy", "deploy", 2)
    assert newest.reason == "read begins at degree assist"
    serve("assist")
    assert rollout.state.revision == 2


@pytest.mark.parametrize("word", ["partial", "full"])
@pytest.mark.parametrize("known", [True, False])
def test_a_start_above_assist_is_refused(store: SQLiteStore, tmp_path: Path, word: str, known: bool) -> None:
    """Of a new rollout, and of an endpoint that is new to a known one; the error says what to do."""
    place = store if known else SQLiteStore(tmp_path / "new.db", create=True)
    told = (
        rf"automation\.read\.degree: {word} needs a threshold .* this very model \(1{{12}}\); start at shadow"
    )
    with pytest.raises(InvalidSpec, match=told):
        open_state(place, "screening", "logistic", spec(word), NAMED)
    assert known or place.read("screening") is None


def test_where_the_state_is_known_it_wins(serve: Callable[..., Rollout], store: SQLiteStore) -> None:
    """A spec may go on asking for partial once people have set it; and for less, which is only told."""
    rollout = serve()
    certify(rollout)
    rollout.set_degree("read", "partial")
    open_state(store, "screening", "logistic", spec("partial"), NAMED)
    assert degree(rollout) == "partial"
    open_state(store, "screening", "logistic", spec("human"), NAMED)
    assert degree(rollout) == "partial"
    told = "automation.read.degree: the spec asks for shadow, the state has partial"
    assert told in rollout.status()["differences"]
    assert rollout.differences(spec("human")) == [told.replace("shadow", "human")]


def test_a_store_that_cannot_be_used_never_stops_a_start(tmp_path: Path) -> None:
    """It serves at shadow what asks for more: nothing certified can be seen."""
    (tmp_path / "rollouts.db").write_bytes(b"not a database" * 100)
    store = SQLiteStore(tmp_path / "rollouts.db", patience=0.1)
    commit = open_state(store, "screening", "logistic", spec("partial"), NAMED)
    assert (commit.revision, degree_of(commit.state, "read")) == (0, SHADOW)


def test_a_deployment_of_new_code_drops_the_degree(serve: Callable[..., Rollout], store: SQLiteStore) -> None:
    """One revision records both, and says so."""
    rollout = serve()
    certify(rollout)
    rollout.set_degree("read", "partial")
    open_state(store, "screening", "logistic", spec(), {**NAMED, "logistic": "9" * 12})
    assert degree(rollout) == "shadow"
    newest = rollout.history()[0]
    assert newest.reason == (
        "champion logistic: digest 111111111111 -> 999999999999; read at degree shadow (was partial): "
        "nothing is certified for the champion logistic (999999999999)"
    )
    assert newest.reason in rollout.explain()["words"]


# -- set ----------------------------------------------------------------------------------------------------


def test_a_person_sets_a_degree(serve: Callable[..., Rollout]) -> None:
    """The only automated endpoint needs no name; the history says who, and what changed."""
    rollout = serve()
    change = rollout.set_degree(None, 3, reason="readers asked for it")
    assert change.detail == ("read at degree assist (was shadow)",)
    row = rollout.history_rows(1)[0]
    assert (row["action"], row["author"], row["detail"]) == ("degree", "ann", list(change.detail))
    assert rollout.automation()["read"]["degree"] == "assist"
    again = rollout.set_degree("read", "assist")
    assert (again.changed, again.notes) == (False, ("that is the degree already",))
    told = rollout.explain()["words"]
    assert told == (
        "ann decided this, not evidence: degree (read at degree assist (was shadow)): readers asked for it"
    )


def test_what_cannot_be_set_is_refused_in_words(serve: Callable[..., Rollout]) -> None:
    """By the spec of the live worker, as its card tells it."""
    rollout = serve(max_degree="partial")
    with pytest.raises(Refused, match=r"max_degree: partial is the highest"):
        rollout.set_degree("read", "full")
    with pytest.raises(Refused, match="needs a threshold that was certified"):
        rollout.set_degree("read", "partial")
    with pytest.raises(InvalidValue, match="'write' is not automated"):
        rollout.set_degree("write", "shadow")
    with pytest.raises(InvalidValue, match="no degree of automation"):
        rollout.set_degree("read", "sometimes")
    with pytest.raises(Conflict):
        rollout.set_degree("read", "human", if_revision=1)
    assert rollout.state.revision == 2


def test_with_several_endpoints_one_must_be_named(store: SQLiteStore, join: Join) -> None:
    """And with none there is nothing to set."""
    rollout = open_rollout("screening", author="ann")
    with pytest.raises(InvalidValue, match="no endpoint is automated"):
        rollout.set_degree(None, "human")
    both = automation("shadow")
    both["automation"]["write"] = both["automation"]["read"]
    made = RolloutSpec.parse(both)
    open_state(store, "screening", "logistic", made, NAMED)
    join(spec=card(made))
    with pytest.raises(InvalidValue, match=r"several endpoints are automated \(read, write\)"):
        rollout.set_degree(None, "human")
    assert rollout.set_degree("write", "human").changed


def test_the_spec_that_was_seen_last_holds_while_nobody_lives(
    store: SQLiteStore, join: Join, serve: Callable[..., Rollout]
) -> None:
    """A service that is stopped can be lowered before it starts again; one that never ran cannot."""
    open_state(store, "screening", "logistic", spec("assist"), NAMED)
    rollout = open_rollout("screening", author="ann")
    with pytest.raises(Refused, match=r"automation\.read: no worker ever ran here"):
        rollout.set_degree("read", "human")
    join(spec=card(spec("assist", max_degree="assist"))).leave()
    with pytest.raises(Refused, match="max_degree: assist"):
        rollout.set_degree("read", "partial")
    assert rollout.set_degree("read", "human").changed


def test_workers_of_two_deployments_refuse(join: Join, serve: Callable[..., Rollout]) -> None:
    """Until all live ones say the same nobody knows what is allowed."""
    rollout = serve("assist")
    join(spec=card(spec("assist", max_degree="assist")))
    with pytest.raises(NotReady, match="not the same in every live worker"):
        rollout.set_degree("read", "human")
    assert rollout.status()["automation"]["read"]["degree"] == "assist"


# -- two persons --------------------------------------------------------------------------------------------

TWO = {"approvals": 2, "roles": {"ann": ["operator"], "bob": ["operator"]}}


def test_two_approvals_are_two_persons(serve: Callable[..., Rollout]) -> None:
    """The first asks, the second sets; both stand in the history."""
    rollout = serve(**TWO)
    asked = rollout.set_degree("read", "assist")
    assert asked.detail == ("read: ann asks for degree assist; a second person must, too",)
    assert degree(rollout) == "shadow"
    proposed = rollout.automation()["read"]["proposed"]
    assert (proposed["author"], proposed["degree"]) == ("ann", "assist")
    with pytest.raises(Refused, match="ann asked for assist already"):
        rollout.set_degree("read", "assist")
    assert rollout.acting_as("bob").set_degree("read", "assist").detail == (
        "read at degree assist (was shadow)",
    )
    assert [row["author"] for row in rollout.history_rows(2)] == ["bob", "ann"]


def _sets(url: str, author: str, begin: Any, results: Any) -> None:
    begin.wait()
    try:
        open_rollout("screening", author=author, store=url).set_degree("read", "assist")
    except Refused as error:
        results.put((author, str(error)))
    else:
        results.put((author, ""))


@pytest.mark.parametrize("authors", [("ann", "bob"), ("ann", "ann")], ids="-".join)
def test_two_processes_race_for_a_degree(
    store: SQLiteStore, serve: Callable[..., Rollout], authors: tuple[str, str]
) -> None:
    """Two persons at once are two; one person twice at once is one."""
    rollout = serve(**TWO)
    begin, results = fork.Barrier(2), fork.Queue()
    url = f"sqlite:///{store.path}"
    crowd = [fork.Process(target=_sets, args=(url, one, begin, results)) for one in authors]
    for process in crowd:
        process.start()
    refused = [words for _, words in (results.get(timeout=60) for _ in crowd) if words]
    for process in crowd:
        finish(process)
    if authors[0] == authors[1]:
        assert degree(rollout) == "shadow"
        assert ["ann asked for assist already" in words for words in refused] == [True]
    else:
        assert (degree(rollout), refused) == ("assist", [])
        assert [row["action"] for row in rollout.history_rows(2)] == ["degree", "degree"]


# -- what lowers by itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["flip", "rollback", "undo", "retire", "promote"])
def test_every_verb_that_changes_the_champion_drops_the_degree(
    serve: Callable[..., Rollout], verb: str
) -> None:
    """And its answer, the history and ``explain`` say so; coming back raises nothing."""
    rollout = serve()
    if verb in ("rollback", "undo"):
        rollout.flip("boosted")
    certify(rollout, variant=rollout.state.champion)
    rollout.set_degree("read", "partial")
    if verb == "flip":
        change = rollout.flip("boosted")
    elif verb == "rollback":
        change = rollout.rollback()
    elif verb == "undo":
        change = rollout.undo()
    elif verb == "retire":
        change = rollout.retire("logistic", in_favour_of="boosted")
    else:
        desk = rollout._desk
        change = desk.change("promote", lambda state, view: state.flip("boosted", view.known), "", None)
    champion = rollout.state.champion
    told = f"read at degree shadow (was partial): nothing is certified for the champion {champion}"
    assert any(phrase.startswith(told) for phrase in change.detail)
    assert degree(rollout) == "shadow"
    row = rollout.history_rows(1)[0]
    assert any(phrase.startswith(told) for phrase in row["detail"])
    assert told in rollout.explain()["words"]


def test_a_change_that_leaves_the_champion_leaves_the_degree(serve: Callable[..., Rollout]) -> None:
    """Weights, shadows and targets have nothing to do with it."""
    rollout = serve()
    certify(rollout)
    rollout.set_degree("read", "partial")
    rollout.set_weights({"boosted": 5})
    rollout.set_shadow({"boosted": 50})
    rollout.rollback()
    assert degree(rollout) == "partial"


def test_the_service_demotes_once(serve: Callable[..., Rollout], reviews: Reviews) -> None:
    """Each worker does it, one revision is made, for the author ``automation``; the trail says so, too."""
    rollout = serve()
    certify(rollout)
    rollout.set_degree("read", "partial")
    first = rollout.demote("read", SHADOW, "12 errors in 100 audits, at most 2% were promised")
    second = rollout.demote("read", SHADOW, "12 errors in 100 audits, at most 2% were promised")
    assert (first.changed, second.changed, degree(rollout)) == (True, False, "shadow")
    newest = rollout.history()[0]
    assert (newest.author, newest.action) == ("automation", "demote")
    told = rollout.explain()
    assert told["by_evidence"] is True
    assert told["words"].startswith(
        "automation: demote (read at degree shadow (was partial): 12 errors in 100"
    )
    assert reviews.trail.verify().entries == 2
    with pytest.raises(Refused, match="audits refuted it"):
        rollout.set_degree("read", "partial")


def test_what_models_said_with_another_score_certifies_nothing(
    serve: Callable[..., Rollout], reviews: Reviews
) -> None:
    """Once the spec takes the score from elsewhere only what models say from then on counts."""
    rollout = serve(target_error="10%")
    for number in range(40):
        answer(reviews, number)
    others = ladders_of(spec(target_error="10%", score="field:score"))
    rollout._desk.change("deploy", lambda state, _: state.taken_up(others, time.time()), "", None)
    found = rollout.calibrate()
    assert (found.certificate, sum(found.used.values())) == (None, 0)
    for number in range(40, 80):
        answer(reviews, number)
    assert sum(rollout.calibrate().used.values()) == 40


def test_a_trail_that_cannot_be_written_stops_nobody(serve: Callable[..., Rollout], reviews: Reviews) -> None:
    """A degree must go down whatever the reviews are like; the answer says what is missing."""
    rollout = serve("assist")
    reviews.path.write_bytes(b"not a database" * 100)
    change = rollout.set_degree("read", "human")
    assert (change.changed, degree(rollout)) == (True, "human")
    assert "not in the trail of the reviews" in change.notes[0]
    with pytest.raises(StoreUnreachable):
        rollout.calibrate("read")


# -- calibrate ----------------------------------------------------------------------------------------------


def test_people_earn_a_degree_with_their_answers(serve: Callable[..., Rollout], reviews: Reviews) -> None:
    """Too few are refused with their number, enough are certified; the degree is a person's to set."""
    rollout = serve(target_error="10%")
    for number in range(20):
        answer(reviews, number)
    few = rollout.calibrate()
    assert (few.certificate, few.labels_missing, few.revision) == (None, 9, 0)
    assert rollout.explain_automation()["evidence"] == {"cases": 20, "least": 29}
    for number in range(20, 60):
        answer(reviews, number, score=0.5, right=number % 2 == 0)
        answer(reviews, 1000 + number)
        answer(reviews, 2000 + number, digest="9" * 12, right=False)
    found = rollout.calibrate(reason="sixty of the sure ones")
    assert found.certificate is not None
    assert (found.certificate.threshold, found.certificate.accepted, found.used) == (0.99, 60, {"all": 100})
    assert (degree(rollout), rollout.state.revision) == ("shadow", found.revision)
    newest = rollout.history_rows(1)[0]
    told = "read: threshold 0.99 certified for logistic (111111111111): 0 errors in 60 of 100 cases, "
    assert newest["detail"] == [f"{told}60.0% of the traffic"]
    assert rollout.set_degree(None, "partial").changed
    assert degree(rollout) == "partial"


def test_after_a_demotion_only_new_answers_count(serve: Callable[..., Rollout], reviews: Reviews) -> None:
    """What was good once says nothing about a model that audits have shown to be worse."""
    rollout = serve(target_error="10%")
    for number in range(40):
        answer(reviews, number)
    assert rollout.calibrate().certificate is not None
    rollout.set_degree(None, "partial")
    rollout.demote("read", SHADOW, "wrong")
    found = rollout.calibrate()
    assert (found.certificate, found.used) == (None, {})
    assert found.left_out == {"before the audits refuted what was certified": 40}


def test_nobody_calibrates_by_itself(serve: Callable[..., Rollout]) -> None:
    """To look until it fits is not for a loop."""
    with pytest.raises(Refused, match="automation is no person, and only a person calibrates"):
        serve().acting_as("automation").calibrate()


def test_a_worse_calibration_lowers_full(serve: Callable[..., Rollout], reviews: Reviews) -> None:
    """What was certified for all of the traffic may turn out to hold for a part of it."""
    rollout = serve(target_error="10%")
    certify(rollout, full=True, target_error=0.1)
    rollout.set_degree(None, "full")
    for number in range(60):
        answer(reviews, number, selection=Selection.ALL)
        answer(reviews, 100 + number, score=0.4, right=False)
    assert rollout.calibrate().certificate is not None
    assert degree(rollout) == "partial"


# -- apply --------------------------------------------------------------------------------------------------


def test_a_file_lowers_and_raises_as_a_person_may(serve: Callable[..., Rollout]) -> None:
    """Down at once; up only with a certificate, by the running service's rules."""
    rollout = serve("assist", max_degree="partial")
    assert rollout.apply(spec("human")).detail == ("read at degree human (was assist)",)
    with pytest.raises(Refused, match="needs a threshold that was certified"):
        rollout.apply(spec("partial"))
    certify(rollout)
    assert rollout.apply(spec("partial")).changed
    with pytest.raises(Refused, match="max_degree: partial is the highest"):
        rollout.apply(spec("full"))
    assert degree(rollout) == "partial"


def test_a_file_is_never_two_persons(serve: Callable[..., Rollout]) -> None:
    """Not even one that says that one is enough."""
    rollout = serve(**TWO)
    with pytest.raises(Refused, match=r"automation\.read\.approvals: two persons must ask for assist"):
        rollout.apply(spec("assist"))
    assert rollout.apply(spec("human")).changed


def test_a_file_without_automation_leaves_degrees(serve: Callable[..., Rollout]) -> None:
    """Absent fields are untouched."""
    rollout = serve("assist")
    assert not rollout.apply(RolloutSpec.parse({})).changed
    assert degree(rollout) == "assist"


# -- the command line, and HTTP -----------------------------------------------------------------------------


def test_the_command_line_walks_the_ladder(
    serve: Callable[..., Rollout], reviews: Reviews, ask: Callable[..., Any], say: Say, tmp_path: Path
) -> None:
    """Status, set, calibrate with a picture, and explain; for people and for programs."""
    rollout = serve(target_error="10%")
    assert ask("automation", "screening", "status")["read"]["degree"] == "shadow"
    for number in range(40):
        answer(reviews, number)
    code, out, _ = say("automation", "screening", "explain")
    assert code == 0
    assert "partial" in out
    assert "needs a threshold" in out
    picture = tmp_path / "risk.svg"
    code, out, err = say("automation", "screening", "calibrate", "--picture", str(picture), "--author", "ann")
    assert code == 0, err
    assert "certified for all of the traffic: 0 errors in 40 accepted of 40 cases" in out
    assert picture.read_text(encoding="utf-8").startswith("<svg")
    done = ask("automation", "screening", "set", "partial", "--reason", "enough", "--author", "ann")
    assert done["detail"] == ["read at degree partial (was shadow)"]
    code, out, _ = say("automation", "screening", "status")
    assert "partial" in out
    assert "100.0% of the traffic" in out
    assert "read partial" in say("status", "screening")[1]
    explained = ask("automation", "screening", "explain", "--endpoint", "read")
    assert [row["state"] for row in explained["steps"]] == ["open", "open", "open", "now", "open"]
    assert explained["audits"] == []
    reviews.watch("read", rollout.state.champions_digest, 0.1, alpha=0.05)
    (audits,) = ask("automation", "screening", "explain")["audits"]
    assert audits == {"class": "", "audits": 0, "errors": 0, "target_error": 0.1, "alarm": False}
    assert "0 of 0 wrong, at most 10.00% is certified" in say("automation", "screening", "explain")[1]
    assert degree(rollout) == "partial"


def test_the_command_line_refuses_honestly(serve: Callable[..., Rollout], say: Say) -> None:
    """Nothing certified: exit code 1, the number in words and as JSON."""
    serve()
    code, out, _ = say("automation", "screening", "calibrate")
    assert code == 1
    assert "at least 149 more cases are missing" in out
    code, out, _ = say("automation", "screening", "calibrate", "--json")
    assert (code, json.loads(out)["labels_missing"]) == (1, 149)
    code, _, err = say("automation", "screening", "set", "partial")
    assert code == 1
    assert "needs a threshold that was certified for this very model" in err
    code, _, err = say("automation", "screening", "set", "perhaps")
    assert code == 2


def test_the_trail_is_verified(
    serve: Callable[..., Rollout], reviews: Reviews, ask: Callable[..., Any], say: Say
) -> None:
    """A trail that was changed is told, with exit code 12."""
    serve("assist").set_degree(None, "human")
    answer(reviews, 1)
    told = ask("audit", "screening", "verify")
    assert told["whole"] is True
    assert told["entries"] > 2
    assert told["head"] in say("audit", "screening", "verify")[1]
    import sqlite3

    db = sqlite3.connect(reviews.path)
    db.executescript("DROP TRIGGER trail_stays; UPDATE trail SET who = 'mallory' WHERE seq = 2")
    db.close()
    code, out, _ = say("audit", "screening", "verify")
    assert code == 12
    assert "entry 2 is not as it was written" in out


def test_over_http(serve: Callable[..., Rollout], door: Door) -> None:
    """The same rows, the same verb, and refusals as problem details; one admin token is one person."""
    serve(**TWO)
    rows = door.ask("GET", "/rollout/admin/automation").json()
    assert rows["read"]["degree"] == "shadow"
    done = door.post("degree", {"degree": "human", "reason": "a bad day"}).json()
    assert done["detail"] == ["read at degree human (was shadow)"]
    assert done["automation"]["read"]["degree"] == "human"
    assert door.post("degree", {"degree": 2, "endpoint": "read", "on_behalf_of": "ann"}).status_code == 200
    again = door.post("degree", {"degree": 2, "endpoint": "read", "on_behalf_of": "bob"})
    assert again.status_code == 409
    assert "admin asked for shadow already" in again.json()["detail"]
    assert door.post("degree", {"degree": "perhaps"}).status_code == 400
    assert door.post("degree", {}).status_code == 400
    assert door.post("degree", {"degree": "human", "endpoint": "write"}).status_code == 400


def test_calibrate_over_http(serve: Callable[..., Rollout], reviews: Reviews, door: Door) -> None:
    """It is answered as at the terminal: what is missing, or what is kept now, and by whom."""
    rollout = serve(target_error="10%")
    few = door.post("calibrate", {}).json()
    assert (few["certified"], few["labels_missing"], few["revision"]) == (False, 29, None)
    for number in range(40):
        answer(reviews, number)
    sent = {"endpoint": "read", "reason": "forty of them", "on_behalf_of": "ann"}
    found = door.post("calibrate", sent).json()
    assert (found["certified"], found["revision"]) == (True, rollout.state.revision)
    assert found["certificate"]["author"] == "admin on behalf of ann"
    assert found["classes"][""]["table"][0]["accepted"] == 40
    kept = rollout.state.automation["read"].certificate(rollout.state.champions_digest)
    assert kept is not None
    assert found["certificate"] == kept.model_dump(mode="json")
    again = rollout.calibrate().plain
    assert (again["classes"], set(again)) == (found["classes"], set(found))
    assert rollout.history()[1].reason == "forty of them"
    assert door.post("calibrate", {"endpoint": "write"}).status_code == 400
    assert door.post("calibrate", {"degree": "partial"}).status_code == 400
    assert door.post("calibrate", {"if_revision": 1}).status_code == 409


def test_new_code_that_nobody_recorded_yet_is_no_certified_model(
    serve: Callable[..., Rollout], join: Join
) -> None:
    """A worker asks with the digest that it has: the state may be behind."""
    rollout = serve()
    certify(rollout)
    rollout.set_degree("read", "partial")
    join(spec=card(spec()), variants=with_digest("9" * 12, "logistic"))
    assert degree_of(rollout.state, "read", "9" * 12) is SHADOW
