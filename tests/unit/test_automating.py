"""Automation in a spec: what is valid, and each refusal, by name and with file, line and field."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from bento_rollout.asking import Above, Drift, Missing, ScoreBelow, When
from bento_rollout.automating import Automation, Score, problems_at, refused_as_new
from bento_rollout.degrees import Degree
from bento_rollout.errors import InvalidSpec
from bento_rollout.reviewing import Role, Visibility
from bento_rollout.spec import RolloutSpec
from bento_rollout.specfile import parse_spec

SPEC = """\
automation:
  read:
    degree: shadow
    max_degree: partial
    score: max_probability
    target_error: 2%
    confidence: 95%
    ask_when: [{score_below: threshold}, {drift: true}, {missing: [amount]}, {above: {amount: 10000}}]
    audit: {rate: 2%}
    review:
      choices: [benign, malignant]
      answer: readers:to_finding
      inputs: reference
      display: readers:link
      keep: 30d
      suggestion: after_answer
      blind_rate: 10%
      overlap: {share: 5%, adjudicate: true}
      lease: 10m
      due: 4h
      on_timeout: wait
      overflow: {max_open: 5000, action: reject}
"""
"""As the guide has it."""


def read(text: str = SPEC) -> Automation:
    """The automation of the endpoint `read` in a spec's text."""
    return parse_spec(text.encode(), "rollout.yaml").automation["read"]


def refused(old: str, new: str, *told: str, text: str = SPEC) -> None:
    """Fail unless the text with something else in a place is refused in these words, one thing a line."""
    assert old in text
    with pytest.raises(InvalidSpec) as error:
        read(text.replace(old, new, 1))
    lines = str(error.value).splitlines()
    assert len(lines) == len(told), lines
    for line, words in zip(lines, told, strict=True):
        assert line.startswith(f"rollout.yaml: line {words}"), line


# -- what is valid ----------------------------------------------------------------------------------------


def test_the_shape_of_the_yaml() -> None:
    """Each field is read as it is written."""
    automation = read()
    assert (automation.degree, automation.max_degree) == (Degree.SHADOW, Degree.PARTIAL)
    assert (automation.target_error, automation.confidence, automation.audit.rate) == (0.02, 0.95, 0.02)
    assert automation.ask_when == (
        ScoreBelow(None), Drift(), Missing(("amount",)), Above((("amount", 10000.0),))
    )  # fmt: skip
    review = automation.review
    assert (review.choices, review.answer) == (("benign", "malignant"), "readers:to_finding")
    assert (review.keep, review.lease, review.due) == (30 * 86400.0, 600.0, 4 * 3600.0)
    assert (review.overlap.share, review.overlap.adjudicate) == (0.05, True)
    assert (review.overflow.max_open, review.overflow.action) == (5000, "reject")
    assert automation.references == {"review.answer": "readers:to_finding", "review.display": "readers:link"}


@pytest.mark.filterwarnings("error")
def test_a_spec_is_written_and_read_again() -> None:
    """`apply` knows a spec by its text: functions, conditions and degrees are in it."""
    text = SPEC.replace("score: max_probability", "score: field:result.score").replace(
        "{drift: true}",
        "{drift: true}, {when: readers:odd}, {equals: {ward: icu}}, {one_of: {ward: [1, er]}}",
    )
    spec = parse_spec(text.encode(), "rollout.yaml")
    plain = json.loads(spec.model_dump_json())["automation"]
    assert plain["read"]["degree"] == "shadow"
    assert plain["read"]["ask_when"][2:5] == [
        {"when": "readers:odd"}, {"equals": {"ward": "icu"}}, {"one_of": {"ward": [1, "er"]}}
    ]  # fmt: skip
    assert RolloutSpec.parse({"automation": plain}).automation == spec.automation


def test_what_is_left_out() -> None:
    """The least that can be written, and what then holds."""
    review = {"inputs": "plain", "on_timeout": "wait", "overflow": {"max_open": 10, "action": "wait"}}
    automation = Automation(degree=1, max_degree="assist", review=review)
    assert automation.score == Score()
    assert automation.ask_when == (ScoreBelow(None),)
    assert (automation.audit.rate, automation.confidence, automation.approvals) == (0.02, 0.95, 1)
    assert (automation.unreachable, automation.decisions.require) == ("closed", "same")
    review_ = automation.review
    assert (review_.suggestion, review_.blind_rate, review_.overlap.share) == (
        Visibility.AFTER_ANSWER,
        0.1,
        0,
    )
    assert (review_.lease, review_.due, review_.keep) == (600.0, None, 30 * 86400.0)


def test_functions_instead_of_their_names() -> None:
    """In Python each reference may be the function itself."""
    fields = yaml.safe_load(SPEC)["automation"]["read"]
    fields["score"] = len
    fields["ask_when"] = [{"when": json.dumps}]
    fields["review"] |= {"answer": json.loads, "display": str, "choice_of": repr}
    automation = RolloutSpec(automation={"read": fields}).automation["read"]
    assert automation.references == {
        "score": len,
        "review.answer": json.loads,
        "review.display": str,
        "review.choice_of": repr,
        "ask_when.0.when": json.dumps,
    }
    assert automation.whens == (When(json.dumps),)
    assert str(automation.score) == "builtins:len"


def test_errors_by_class() -> None:
    """Classes are named as the model names them; numbers are text."""
    automation = read(SPEC.replace("target_error: 2%", "target_error: {malignant: 0.5%, 1: 5%}"))
    assert automation.target_error == {"malignant": 0.005, "1": 0.05}


def test_degrees_by_word_and_number() -> None:
    """`silent` is radiology's word for shadow."""
    for word in ("2", "shadow", "silent"):
        assert read(SPEC.replace("degree: shadow", f"degree: {word}")).degree is Degree.SHADOW


def test_degrees_human_and_shadow_hide_the_suggestion() -> None:
    """Whatever is written, nobody sees it before the answer."""
    automation = read(SPEC.replace("suggestion: after_answer", "suggestion: shown"))
    hidden = [automation.visibility(degree) is Visibility.HIDDEN for degree in Degree]
    assert hidden == [True, True, False, False, False]


def test_roles_by_name() -> None:
    """Who is not named reviews; the admin token, and who has its role, may do everything."""
    automation = read(SPEC + "    roles: {chen: [adjudicator, viewer], root: [admin]}\n")
    assert automation.roles_of("anna") == {Role.REVIEWER}
    assert automation.roles_of("chen") == {Role.ADJUDICATOR, Role.VIEWER}
    assert automation.roles_of("root") == automation.roles_of("admin") == frozenset(Role)


# -- each refusal -----------------------------------------------------------------------------------------


def test_a_degree_above_the_maximum_is_refused() -> None:
    """`max_degree` is where a team stops."""
    refused("degree: shadow", "degree: full", "3: automation.read.degree: full is above max_degree (partial)")


def test_an_unknown_degree_is_refused() -> None:
    """The words are told."""
    for wrong in ("most", "6", "0", "true", "1.5"):
        refused("degree: shadow", f"degree: {wrong}", "3: automation.read.degree: ")
    refused("    degree: shadow\n", "", "2: automation.read.degree: this field is needed")


def test_full_with_an_audit_rate_under_one_percent_is_refused() -> None:
    """Nothing else would notice a model that went bad."""
    full = SPEC.replace("max_degree: partial", "max_degree: full").replace("degree: shadow", "degree: full")
    refused(
        "rate: 2%", "rate: 0.99%", "9: automation.read.audit.rate: 0.990% is too little: at degree full",
        text=full,
    )  # fmt: skip
    assert read(full.replace("rate: 2%", "rate: 1%")).audit.rate == 0.01
    assert read(SPEC.replace("rate: 2%", "rate: 0%")).audit.rate == 0


def test_a_missing_on_timeout_is_refused() -> None:
    """It has no default: the user must choose."""
    refused(
        "      on_timeout: wait\n", "",
        "10: automation.read.review.on_timeout: there is no default: write what happens when nobody answers",
    )  # fmt: skip


def test_a_missing_overflow_is_refused() -> None:
    """It has no default, and neither have its fields."""
    place = "automation.read.review.overflow"
    refused(
        "      overflow: {max_open: 5000, action: reject}\n", "",
        f"10: {place}: there is no default: write like {{max_open: 5000, action: reject}}",
    )  # fmt: skip
    refused(", action: reject", "", f"22: {place}.action: there is no default: write what happens when too")
    refused("max_open: 5000, ", "", f"22: {place}.max_open: this field is needed")
    refused("max_open: 5000", "max_open: 0", f"22: {place}.max_open: ")


def test_a_missing_inputs_is_refused() -> None:
    """These are patients."""
    refused(
        "      inputs: reference\n", "",
        "10: automation.read.review.inputs: there is no default, as inputs may be patients: write reference",
    )  # fmt: skip


def test_all_that_has_no_default_is_missed_at_once() -> None:
    """One error tells of each."""
    with pytest.raises(InvalidSpec) as error:
        RolloutSpec(automation={"read": {"degree": 1, "max_degree": 3, "review": {}}})
    lines = str(error.value).splitlines()
    fields = [line.split(": ")[1].rpartition(".")[2] for line in lines]
    assert fields == ["inputs", "on_timeout", "overflow"]


def test_a_missing_review_is_refused() -> None:
    """People are asked at every degree: at full for the audits."""
    with pytest.raises(InvalidSpec, match=r"automation\.read\.review: it says how people are asked"):
        RolloutSpec(automation={"read": {"degree": 1}})


def test_reference_without_display_shows_an_id() -> None:
    """Reviewers look the case up in their own system: only the id of the call is kept."""
    review = read(SPEC.replace("      display: readers:link\n", "")).review
    assert (review.inputs, review.display) == ("reference", None)


def test_display_without_reference_is_refused() -> None:
    """Whoever writes it may take the input for not kept."""
    refused(
        "inputs: reference", "inputs: plain", "14: automation.read.review.display: it is never called with"
    )


def test_model_on_timeout_at_human_and_shadow_is_refused() -> None:
    """It would show what must stay hidden."""
    for degree in ("human", "shadow"):
        refused(
            "on_timeout: wait", "on_timeout: model",
            f"21: automation.read.review.on_timeout: at degree {degree} nobody may see what the model says",
            text=SPEC.replace("degree: shadow", f"degree: {degree}", 1),
        )  # fmt: skip
    assist = SPEC.replace("degree: shadow", "degree: assist").replace("on_timeout: wait", "on_timeout: model")
    assert read(assist).review.on_timeout == "model"


def test_model_on_overflow_at_human_and_shadow_is_refused() -> None:
    """It would show what must stay hidden."""
    refused(
        "action: reject", "action: model",
        "22: automation.read.review.overflow.action: at degree shadow nobody may see what the model says",
    )  # fmt: skip


def test_default_without_a_default_is_refused() -> None:
    """On a timeout, and on overflow; and the default is one of the choices."""
    place = "automation.read.review.default"
    refused("on_timeout: wait", "on_timeout: default", f"10: {place}: on_timeout: default answers with it")
    refused("action: reject", "action: default", f"10: {place}: overflow.action: default answers with it")
    refused("on_timeout: wait", "on_timeout: wait\n      default: odd", f"22: {place}: 'odd' is none of the")
    assert read(SPEC.replace("on_timeout: wait", "on_timeout: default\n      default: benign")).review.default


def test_a_timeout_without_a_due_time_is_refused() -> None:
    """Only `wait` needs none."""
    refused("      due: 4h\n      on_timeout: wait\n", "      on_timeout: reject\n",
            "10: automation.read.review.due: on_timeout: reject needs it")  # fmt: skip
    assert read(SPEC.replace("      due: 4h\n", "")).review.due is None


def test_inputs_that_are_deleted_before_they_are_due_are_refused() -> None:
    """Nobody could answer."""
    refused("keep: 30d", "keep: 1h", "15: automation.read.review.keep: 1h is shorter than due (4h)")


def test_an_unknown_role_is_refused() -> None:
    """The roles are told."""
    roles = "    roles: {chen: [boss]}\n"
    refused(
        "    degree",
        f"{roles}    degree",
        "3: automation.read.roles.chen: unknown role 'boss'; there are: vie",
    )
    refused(
        "    degree",
        "    roles: {chen: admin}\n    degree",
        "3: automation.read.roles.chen: 'admin' is no list",
    )


def test_adjudication_without_an_adjudicator_is_refused() -> None:
    """Without `roles` the admin decides; with them, somebody who is named."""
    roles = "    roles: {chen: [reviewer, operator]}\n"
    refused("    degree", f"{roles}    degree",
            "19: automation.read.review.overlap.adjudicate: no name in roles is an adjudicator")  # fmt: skip
    for role in ("adjudicator", "admin"):
        assert read(SPEC.replace("    degree", f"    roles: {{chen: [{role}]}}\n    degree", 1)).roles
    refused("share: 5%, ", "", "18: automation.read.review.overlap.adjudicate: with share 0 no case")


def test_two_approvals_without_a_second_person_are_refused() -> None:
    """The admin token counts once."""
    refused("    degree", "    approvals: 2\n    degree",
            "3: automation.read.approvals: two persons must approve, and the admin token is one")  # fmt: skip
    assert read(SPEC + "    approvals: 2\n    roles: {chen: [operator, adjudicator]}\n").approvals == 2


def test_partial_and_full_without_a_target_error_are_refused() -> None:
    """From `max_degree: partial` on it must be known what is promised."""
    place = "automation.read.target_error"
    refused("    target_error: 2%\n", "", f"2: {place}: degrees partial and full need it")
    assert read(
        SPEC.replace("    target_error: 2%\n", "").replace("max_degree: partial", "max_degree: assist")
    ).target_error is None  # fmt: skip
    for wrong in ("0%", "100%", "{}", "{benign: 0}", "{true: 5%}"):
        refused("target_error: 2%", f"target_error: {wrong}", f"6: {place}")


def test_a_confidence_that_is_the_error_is_refused() -> None:
    """5 % is the chance of being wrong, and no confidence."""
    for wrong in ("5%", "100%", "49%"):
        refused("confidence: 95%", f"confidence: {wrong}", "7: automation.read.confidence: confidence ")


def test_choices_that_are_none_are_refused() -> None:
    """YAML reads `no` as a truth value; one choice is none; nor does one stand twice."""
    place = "11: automation.read.review.choices: "
    refused("[benign, malignant]", "[yes, no]", f"{place}choice True is not text: YAML reads yes")
    refused("[benign, malignant]", "[benign]", f"{place}1 choices are not valid")
    refused("[benign, malignant]", "[1, '1']", f"{place}'1' stands twice")
    refused("[benign, malignant]", "['', a]", f"{place}an empty choice")
    refused("[benign, malignant]", "benign", f"{place}'benign' is no list")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{score: 1}", "unknown condition 'score'; known here: above, below, drift, equals, missing, one_of"),
        ("{drift: false}", "drift: False is not valid"),
        ("{drift: true, missing: a}", "{'drift': True, 'missing': 'a'} is no condition: write one of them"),
        ("{missing: []}", "missing: name at least one argument"),
        ("{missing: [a b]}", "missing: 'a b' is no argument"),
        ("{above: 3}", "above: 3 names no argument: write like"),
        ("{above: {amount: many}}", "above: 'many' is not a finite number"),
        ("{below: {amount: .nan}}", "below: nan is not a finite number"),
        ("{one_of: {ward: icu}}", "one_of: 'icu' is no list of values"),
        ("{equals: {ward: [icu]}}", "equals: ['icu'] is not a text, a number or a truth value"),
        ("{when: odd}", "when: 'odd' names no function: write module:function"),
        ("{score_below: high}", "score_below: fraction 'high' is not valid"),
    ],
)
def test_a_condition_that_is_none_is_refused(written: str, told: str) -> None:
    """By its place in the list."""
    refused("{drift: true}", written, f"8: automation.read.ask_when.1: {told}")


def test_other_fields_that_are_not_valid_are_refused() -> None:
    """Each by its name; the neighbours of an unknown one are told."""
    place = "automation.read"
    refused("score: max_probability", "score: 'field:'", f"5: {place}.score: score 'field:' is not valid")
    refused(
        "score: max_probability", "score: best", f"5: {place}.score: score 'best' is not valid: write max_"
    )
    refused(
        "answer: readers:to", "answer: readers.to", f"12: {place}.review.answer: 'readers.to_finding' names"
    )
    refused("lease: 10m", "lease: soon", f"19: {place}.review.lease: duration 'soon'")
    refused(
        "lease: 10m", "leash: 10m", f"19: unknown field '{place}.review.leash'; known here: answer, blind_"
    )
    refused("share: 5%", "part: 5%", f"18: unknown field '{place}.review.overlap.part'; known here: adju",
            text=SPEC.replace(", adjudicate: true", ""))  # fmt: skip
    refused("rate: 2%", "share: 2%", f"9: unknown field '{place}.audit.share'; known here: rate")
    refused("max_degree", "highest", f"4: unknown field '{place}.highest'; known here: approvals, ask_when")


def test_one_automation_for_all_endpoints_is_refused() -> None:
    """Thresholds and queues are an endpoint's own."""
    with pytest.raises(InvalidSpec, match=r"automation.*each endpoint has an automation of its own"):
        read(SPEC.replace("  read:", "  '*':"))


# -- what is refused later --------------------------------------------------------------------------------


def test_what_stands_against_a_degree_that_somebody_sets() -> None:
    """The same checks as of the spec's own degree, each with its field."""
    fields: dict[str, Any] = yaml.safe_load(SPEC)["automation"]["read"]
    fields |= {"degree": "partial", "audit": {"rate": 0}}
    fields["review"]["on_timeout"] = "model"
    automation = Automation(**fields)
    found = {degree: [str(one) for one in problems_at(automation, degree)] for degree in Degree}
    assert found[Degree.ASSIST] == found[Degree.PARTIAL] == []
    for degree in (Degree.HUMAN, Degree.SHADOW):
        assert [one.partition(":")[0] for one in found[degree]] == ["review.on_timeout"]
    assert [one.partition(":")[0] for one in found[Degree.FULL]] == ["degree", "audit.rate"]


def test_partial_without_a_threshold_that_was_certified_for_this_very_model_is_refused() -> None:
    """A new rollout starts at shadow or assist."""
    partial = read(SPEC.replace("degree: shadow", "degree: partial", 1))
    (found,) = refused_as_new({"read": partial, "other": read()}, "d1f2")
    assert str(found) == (
        "automation.read.degree: partial needs a threshold that was certified for this very model (d1f2); "
        "start at shadow or assist, then `bento-rollout automation NAME calibrate`"
    )


# -- the webhook ------------------------------------------------------------------------------------------

HOOKED = (
    SPEC
    + """\
      webhook:
        url: https://hooks.example.com/T0/B1
        secret: env:READINGS_SECRET
"""
)
HOOK = "automation.read.review.webhook"


def test_a_webhook_is_read_as_it_is_written() -> None:
    """With what is left out; its address is in no text of it, and a spec is written and read again."""
    webhook = read(HOOKED).review.webhook
    assert webhook is not None
    assert (webhook.url, webhook.secret) == ("https://hooks.example.com/T0/B1", "env:READINGS_SECRET")
    assert (webhook.timeout, webhook.answer, webhook.console) == (15.0, False, None)
    assert "B1" not in repr(read(HOOKED))
    assert read().review.webhook is None
    spec = parse_spec(HOOKED.encode(), "rollout.yaml")
    plain = json.loads(spec.model_dump_json())["automation"]
    assert RolloutSpec.parse({"automation": plain}).automation == spec.automation
    full = HOOKED + "        timeout: 5s\n        answer: true\n        console: https://s.example.com/\n"
    webhook = read(full).review.webhook
    assert webhook is not None
    assert (webhook.timeout, webhook.answer, webhook.console) == (5.0, True, "https://s.example.com")


def test_a_webhook_that_cannot_be_is_refused() -> None:
    """Field by field; neither an address nor a key is repeated."""
    url, secret = "https://hooks.example.com/T0/B1", "env:READINGS_SECRET"
    form = "a webhook's address has the form https://HOST/PATH"
    refused(url, "ftp://hooks.example.com/T0", f"24: {HOOK}.url: {form}", text=HOOKED)
    refused(url, "3", f"24: {HOOK}.url: {form}", text=HOOKED)
    refused(secret, "whsec_c2VjcmV0", f"25: {HOOK}.secret: a webhook's secret= says where", text=HOOKED)
    refused(f"        secret: {secret}\n", "", f"23: {HOOK}.secret: this field is needed", text=HOOKED)
    refused(f"        url: {url}\n", "", f"23: {HOOK}.url: this field is needed", text=HOOKED)
    more = HOOKED + "        answer: 'yes'\n        console: here\n        tries: 3\n"
    refused(
        "      lease: 10m\n", "",
        f"25: {HOOK}.answer: true or false is expected",
        f"26: {HOOK}.console: it is the service's address as people reach it",
        f"27: unknown field '{HOOK}.tries'; known here: answer, console, secret, timeout, url",
        text=more,
    )  # fmt: skip
    refused("timeout: 0s", "timeout: soon", f"26: {HOOK}.timeout: ", text=HOOKED + "        timeout: 0s\n")
    for wrong in ("ftp://hooks/T0/B1", "https://ann:B1@hooks", "https://hooks/B1 B1"):
        with pytest.raises(InvalidSpec) as error:
            read(HOOKED.replace(url, wrong))
        assert "B1" not in str(error.value)
    with pytest.raises(InvalidSpec, match="its fields are expected") as error:
        read(SPEC + "      webhook: https://hooks/B1\n")
    assert "B1" not in str(error.value)
    for wrong in ("[https://hooks/B1]", "!!binary aHR0cHM6Ly9CMQ=="):
        with pytest.raises(InvalidSpec, match="its fields are expected") as error:
            read(SPEC + f"      webhook: {wrong}\n")
        assert "B1" not in str(error.value)
    with pytest.raises(InvalidSpec, match=f"{HOOK}.console: it is the service's address"):
        read(HOOKED + "        console: https://s.example.com/?from=chat\n")  # links are made of it
    with pytest.raises(InvalidSpec) as error:
        read(HOOKED.replace(secret, "whsec_c2VjcmV0"))
    assert "c2VjcmV0" not in str(error.value)
