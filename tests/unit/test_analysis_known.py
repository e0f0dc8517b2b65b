"""Evidence is what the formulas say: against plain products, and against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from bento_rollout.analysis import (
    Block,
    EventTest,
    FloorTest,
    HarmTest,
    HealthTest,
    LatencyBlock,
    LatencyTest,
    SampleRatioTest,
)
from bento_rollout.errors import InvalidValue
from tests.unit.evidence_by_hand import GOOD, HARM, SLOW, Copies, bisected, harm_bets, share_of, two_rates

BLOCKS = [
    Block(5, 0, 95, 1, share=0.05),
    Block(5, 1, 90, 0, share=0.05),
    Block(40, 3.5, 60, 1.25, share=0.4),
    Block(0, 0, 30, 2, share=0.05),
    Block(985, 20, 1000, 11),
    Block(5, 2, 95, 0, share=0.05),
    Block(400, 4, 400, 9, share=0.5),
]


@pytest.mark.parametrize("tolerance", [0.0, 0.003, 0.2])
def test_harm_is_what_plain_products_give(tolerance: float) -> None:
    """The two-rate test, with epochs by count and by hand, equals copies that are kept one by one."""
    test, copies, bad, calls = HarmTest(tolerance=tolerance), Copies(len(HARM)), 0.0, 0.0
    for place, block in enumerate(BLOCKS * 3):
        copies.block(harm_bets(block, HARM, bad, calls, tolerance), block.n_candidate)
        bad, calls = bad + block.x_champion, calls + block.n_champion
        test = test.update(block)
        if place % 4 == 3:
            copies.epoch()
            test = test.epoch()
        assert test.log_evidence == pytest.approx(copies.log_evidence, abs=1e-9)
    assert test.mixture.epochs == len(copies.copies) > 6


def test_events_are_what_plain_products_give() -> None:
    """The events form uses bad outcomes and the share alone."""
    test, copies = EventTest(), Copies(len(HARM))
    for block in BLOCKS * 2:
        share = share_of(block)
        bets = [
            (ratio / (1 - share + ratio * share)) ** block.x_candidate
            * (1 / (1 - share + ratio * share)) ** block.x_champion
            for ratio in HARM
        ]
        copies.block(bets, 0)
        copies.epoch()
        x_c, x_s = block.x_candidate, block.x_champion
        test = test.update(Block(math.ceil(x_c), x_c, math.ceil(x_s), x_s, share=share)).epoch()
        assert test.log_evidence == pytest.approx(copies.log_evidence, abs=1e-9)


def test_health_is_what_plain_products_give() -> None:
    """Half bets on equal rates, half on the candidate's own while that is below the margin."""
    margin = 0.02
    test, equal, plug = HealthTest(margin), 1.0, 1.0
    x_c = n_c = x_s = n_s = 0.0
    for block in BLOCKS * 3:
        s, share = (x_s + 0.5) / (n_s + 50), share_of(block)
        t = bisected(share, s, s, margin)
        equal *= two_rates(block, s, s, t + margin, t)
        c = (x_c + 200 * s) / (n_c + 200)
        if c < s + margin:
            t = bisected(share, c, s, margin)
            plug *= two_rates(block, c, s, t + margin, t)
        x_c, n_c = x_c + block.x_candidate, n_c + block.n_candidate
        x_s, n_s = x_s + block.x_champion, n_s + block.n_champion
        test = test.update(block)
        assert test.log_evidence == pytest.approx(math.log((equal + plug) / 2), abs=1e-8)


def test_a_floor_is_what_plain_products_give() -> None:
    """One stream against a rate: too many, with the start mixture; few enough, without."""
    p0, harm, good = 0.03, Copies(len(HARM)), [1.0] * len(GOOD)
    bad_test, good_test = FloorTest(p0), FloorTest(p0, good=True)
    for n, x in ((100, 2), (900, 20.5), (5, 5), (1200, 9)):
        rates = [ratio * p0 / (1 - p0) / (1 + ratio * p0 / (1 - p0)) for ratio in HARM]
        harm.block([(rate / p0) ** x * ((1 - rate) / (1 - p0)) ** (n - x) for rate in rates], n)
        good = [won * g**x * ((1 - g * p0) / (1 - p0)) ** (n - x) for won, g in zip(good, GOOD, strict=True)]
        bad_test, good_test = bad_test.update(n, x), good_test.update(n, x)
        assert bad_test.log_evidence == pytest.approx(harm.log_evidence, abs=1e-9)
        assert good_test.log_evidence == pytest.approx(math.log(sum(good) / len(GOOD)), abs=1e-9)
    assert good_test.epoch() == good_test


def beta_multinomial(n_c: int, n_s: int, share: float) -> float:
    """The chance ratio of one sequence of arms, one by one: Polya's urn against a coin."""
    won, a, b = 1.0, 20 * share, 20 * (1 - share)
    for arm in range(n_c + n_s):
        won *= (a if arm < n_c else b) / (a + b) / (share if arm < n_c else 1 - share)
        a, b = (a + 1, b) if arm < n_c else (a, b + 1)
    return won


def test_the_sample_ratio_is_an_urn() -> None:
    """Over each stretch of one share it is the urn's chance over the coin's, and stretches multiply."""
    first, second = Block(3, 0, 40, 0, share=0.05), Block(30, 0, 31, 0, share=0.5)
    test = SampleRatioTest().update(first)
    assert test.log_evidence == pytest.approx(math.log(beta_multinomial(3, 40, 0.05)), abs=1e-9)
    test = test.update(first)
    one = math.log(beta_multinomial(6, 80, 0.05))
    assert test.log_evidence == pytest.approx(one, abs=1e-9)
    test = test.update(second)
    assert test.log_evidence == pytest.approx(one + math.log(beta_multinomial(30, 31, 0.5)), abs=1e-9)


def histogram(**calls: int) -> list[int]:
    """A histogram with calls in some bins, like ``b350=5``."""
    counts = [0] * 1049
    for name, value in calls.items():
        counts[int(name[1:])] = value
    return counts


def test_latency_is_what_plain_products_give() -> None:
    """Seven two-rate tests on "slower than", which start from the champion's history."""
    before = histogram(b300=2000, b310=1100, b330=600, b340=180, b350=80, b360=20, b370=16, b400=4)
    own = [300, 310, 330, 340, 350, 360, 370]
    for tolerance, later in ((1.0, 0), (1.02, 1), (1.1, 5)):
        test = LatencyTest(before, tolerance=tolerance)
        assert test.bins == tuple((bin_, bin_ + later) for bin_ in own)
        copies = Copies(len(SLOW) * len(own))
        calls, slower = 2000.0, [sum(before[bin_ + 1 :]) / 2 for bin_ in own]
        for block in (
            LatencyBlock(histogram(b301=4, b375=1), histogram(b300=50, b311=40, b365=5), share=0.05),
            LatencyBlock(histogram(b290=990, b345=3, b900=7), histogram(b300=900, b401=100)),
        ):
            n_c, n_s = sum(block.candidate), sum(block.champion)
            bets = []
            for place, bin_ in enumerate(own):
                x_c, x_s = sum(block.candidate[bin_ + later + 1 :]), sum(block.champion[bin_ + 1 :])
                sums = Block(n_c, x_c, n_s, x_s, block.share)
                bets += harm_bets(sums, SLOW, slower[place], calls)
                slower[place] += x_s
            calls += n_s
            copies.block(bets, n_c)
            test = test.update(block)
            assert test.log_evidence == pytest.approx(copies.log_evidence, abs=1e-9)


def test_values_by_hand() -> None:
    """A few numbers that a pencil gives."""
    assert HarmTest().log_evidence == 0.0
    assert HealthTest().log_evidence == FloorTest(0.1, good=True).log_evidence == 0.0
    # One event of the candidate at a share of one half: half the mean of 2 rho/(1 + rho), and a half to come.
    mean = sum(2 * ratio / (1 + ratio) for ratio in HARM) / len(HARM)
    one = EventTest().update(Block(1, 1, 0, 0, share=0.5))
    assert one.log_evidence == pytest.approx(math.log(mean / 2 + 0.5))
    # No history: th_s = 0.01, and one bad call of the candidate where half the traffic is its own.
    rates = [ratio / (99 + ratio) for ratio in HARM]
    mean = sum(2 * rate / (rate + 0.01) for rate in rates) / len(HARM)
    assert HarmTest().update(Block(1, 1, 0, 0, share=0.5)).log_evidence == pytest.approx(
        math.log(mean / 2 + 0.5)
    )


def test_a_realised_share_stands_in_for_an_assigned_one() -> None:
    """Without a share a block bets with the realised one; with one arm empty it bets nothing."""
    assert HarmTest().update(Block(10, 1, 30, 1)) == HarmTest().update(Block(10, 1, 30, 1, share=0.25))
    only = HarmTest().update(Block(0, 0, 100, 7))
    assert (only.log_evidence, only.champion_bad, only.champion_calls) == (0.0, 7.0, 100.0)
    assert HarmTest().update(Block(100, 100, 0, 0)).log_evidence == 0.0
    for test in (EventTest(), SampleRatioTest()):
        with pytest.raises(InvalidValue, match="share is None"):
            test.update(Block(1, 1, 1, 0))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0, 5, 0), "n_candidate"),
        ((5, -0.5, 5, 0), "x_candidate"),
        ((5, 6, 5, 0), "x_candidate"),
        ((5, 0, 5.5, 0), "n_champion"),
        ((5, 0, math.inf, 0), "n_champion"),
        ((5, 0, 10**400, 0), "n_champion"),
        ((5, 0, "5", 0), "n_champion"),
        ((5, 0, True, 0), "n_champion"),
        ((5, 0, 5, math.nan), "x_champion"),
        ((5, 0, 5, 5.001), "x_champion"),
        ((5, 0, 5, 0, 0.0), "share"),
        ((5, 0, 5, 0, 1.0), "share"),
        ((5, 0, 5, 0, math.nan), "share"),
        ((5, 0, 5, 0, -0.1), "share"),
    ],
)
def test_a_block_that_cannot_be_is_refused(arguments: tuple[float, ...], name: str) -> None:
    """Each is refused by name."""
    with pytest.raises(InvalidValue, match=f"^{name} is "):
        Block(*arguments)  # type: ignore[arg-type]


def test_settings_that_cannot_be_are_refused() -> None:
    """Each is refused by name; so is a histogram of too few calls, or of another length."""
    quiet = histogram(b300=1000)
    for alpha in (0.0, 1.0, -1.0, math.nan, "1%"):
        for make in (HarmTest, EventTest, SampleRatioTest):
            with pytest.raises(InvalidValue, match=r"^alpha is \S"):
                make(alpha=alpha)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue, match=r"^alpha is \S"):
            LatencyTest(quiet, alpha=alpha)  # type: ignore[arg-type]
    for wrong in (-0.1, 1.0, math.inf):
        with pytest.raises(InvalidValue, match=r"^tolerance is \S"):
            HarmTest(tolerance=wrong)
        with pytest.raises(InvalidValue, match=r"^margin is \S"):
            HealthTest(margin=wrong)
        with pytest.raises(InvalidValue, match=r"^p0 is \S"):
            FloorTest(wrong)
    with pytest.raises(InvalidValue, match=r"^tolerance is \S"):
        LatencyTest(quiet, tolerance=0.9)
    with pytest.raises(InvalidValue, match="has 999 calls"):
        LatencyTest(histogram(b300=999))
    with pytest.raises(InvalidValue, match="has 3 counts"):
        LatencyTest([1, 2, 3])
    with pytest.raises(InvalidValue, match=r"^champion\[7\] is -1"):
        LatencyBlock(quiet, histogram(b7=-1))
    with pytest.raises(InvalidValue, match=r"^x is 6"):
        FloorTest(0.1).update(5, 6)


def test_blocks_add_up() -> None:
    """Sums add; blocks of different shares are of different revisions, and are refused."""
    assert Block(1, 1, 2, 0, share=0.5) + Block(3, 0.5, 4, 1, share=0.5) == Block(4, 1.5, 6, 1, share=0.5)
    with pytest.raises(InvalidValue, match=r"0\.5 and 0\.25"):
        _ = Block(1, 1, 2, 0, share=0.5) + Block(1, 1, 2, 0, share=0.25)
    with pytest.raises(TypeError):
        _ = Block(1, 1, 2, 0) + 1  # type: ignore[operator]
    quick = histogram(b300=9)
    both = LatencyBlock(quick, quick, share=0.5) + LatencyBlock(histogram(b301=1), quick, share=0.5)
    assert (both.candidate[300], both.candidate[301], both.champion[300]) == (9, 1, 18)
    with pytest.raises(InvalidValue, match="None"):
        _ = LatencyBlock(quick, quick, share=0.5) + LatencyBlock(quick, quick)
