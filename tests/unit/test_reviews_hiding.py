"""Cases that were asked at a higher degree: after a fall to shadow nobody is shown what the model says."""

from __future__ import annotations

import pytest

from bento_rollout.errors import StoreUnreachable
from bento_rollout.reviewing import Given, Status, Visibility
from bento_rollout.store.place import Place
from bento_rollout.store.reviews_hiding import AGAIN, Hiding
from tests.reviewed import REVIEWER, START, Clock, Queue, case, made, said, settled

SEEN = {"visibility": Visibility.AFTER_ANSWER, "suggestion": said()}


@pytest.fixture
def hiding(queue: Queue) -> Hiding:
    """What hides, on a clock of its own."""
    return Hiding(queue.place, clock=Clock())


@pytest.fixture
def queue(place: Place) -> Queue:
    """A queue."""
    return Queue(place)


def test_a_waiting_case_hides_what_the_model_says(queue: Queue, hiding: Hiding) -> None:
    """Whoever claims it later answers it in one step, as at degree shadow."""
    queue.reviews.submit(case(**SEEN))
    queue.reviews.submit(case(**SEEN, endpoint="other"))
    assert hiding.look("read", blind=False) == 0
    assert hiding.look("read", blind=True) == 1
    assert hiding.look("read", blind=True) == 0
    claim = queue.reviews.claim("ann", roles=REVIEWER, endpoints=["read"], lease=60)
    assert claim is not None
    assert claim.case.visibility is Visibility.HIDDEN
    found = queue.reviews.answer(claim.case.id, "ann", claim.token, Given("yes"), make=made)
    assert (found.status, found.suggestion) == ("done", None)
    other = queue.reviews.claim("ann", roles=REVIEWER, endpoints=["other"], lease=60)
    assert other is not None
    assert queue.reviews.answer(other.case.id, "ann", other.token, Given("yes"), make=made).suggestion


def test_a_case_in_hand_hides_it_too(queue: Queue, hiding: Hiding) -> None:
    """Who has not answered yet is shown nothing; who was shown it already may still revise."""
    for _ in range(2):
        queue.reviews.submit(case(**SEEN))
    claims = [queue.reviews.claim(one, roles=REVIEWER, endpoints=None, lease=60) for one in ("ann", "bob")]
    ann, bob = (claim for claim in claims if claim is not None)
    shown = queue.reviews.answer(ann.case.id, "ann", ann.token, Given("yes"), make=made)
    assert shown.suggestion is not None
    assert hiding.look("read", blind=True) == 2
    assert queue.reviews.answer(bob.case.id, "bob", bob.token, Given("yes"), make=made).suggestion is None
    assert queue.reviews.answer(ann.case.id, "ann", ann.token, Given("no"), make=made).status == "done"


def test_the_model_answers_for_nobody_any_more(queue: Queue, hiding: Hiding) -> None:
    """``on_timeout: model`` becomes ``wait``; what else happens in time is as it was."""
    fields = {"due": START + 5, "visibility": Visibility.HIDDEN, "suggestion": said()}
    model, rejected = case(**fields, on_timeout="model"), case(**fields, on_timeout="reject")
    queue.reviews.submit(model)
    queue.reviews.submit(rejected)
    assert hiding.look("read", blind=True) == 1
    queue.reviews.settle(START + 10, settled)
    decisions = queue.reviews.decided([model.id, rejected.id])
    assert [one for one in decisions if decisions[one].status is not Status.OPEN] == [rejected.id]


def test_it_looks_again_for_a_while_and_after_each_fall(queue: Queue) -> None:
    """Another worker may ask by the degree of before for a moment; later there is nothing to look for."""
    clock = Clock()
    hiding = Hiding(queue.place, clock=clock)
    assert hiding.look("read", blind=True) == 0
    queue.reviews.submit(case(**SEEN))
    clock.now += AGAIN / 2
    assert hiding.look("read", blind=True) == 1
    clock.now += AGAIN
    queue.reviews.submit(case(**SEEN))
    assert hiding.look("read", blind=True) == 0
    assert hiding.look("read", blind=False) == 0
    assert hiding.look("read", blind=True) == 1
    hiding.close()


def test_a_queue_that_cannot_be_used_is_tried_again(place: Place) -> None:
    """Without a queue nothing is hidden; one that is locked is told, and done at the next look."""
    assert Hiding(place).look("read", blind=True) == 0
    queue = Queue(place)
    queue.reviews.submit(case(**SEEN))
    hiding = Hiding(queue.place, clock=Clock())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hiding._file, "writing", unusable)
        with pytest.raises(StoreUnreachable):
            hiding.look("read", blind=True)
    assert hiding.look("read", blind=True) == 1


def unusable() -> None:
    """As a queue that is locked."""
    raise StoreUnreachable("locked")
