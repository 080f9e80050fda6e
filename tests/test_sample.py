"""The made-up sign-in events look like the real ones, and come again for the same seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from kpiggybank.sample import JOURNEYS, SignIns, journey_of

NOW = 1_700_000_123.5
NOW_MS = NOW * 1000
TEN_MINUTES_MS = 600_000
DAY_MS = 86_400_000

Events = Sequence[dict[str, Any]]


@pytest.fixture(scope="module")
def events() -> Events:
    """Enough events for every rare thing to have happened."""
    return SignIns(7, NOW).take(2000)


def step_names(event: dict[str, Any]) -> list[str]:
    """Give the names of the steps of an event, in order."""
    return [step[0] for step in event["event_stream"]]


def test_the_same_seed_and_now_give_the_same_events() -> None:
    """A failed test can be run again on the same input."""
    assert SignIns(3, NOW).take(50) == SignIns(3, NOW).take(50)


def test_other_seeds_give_other_events() -> None:
    """The seed is used at all."""
    assert SignIns(3, NOW).take(50) != SignIns(4, NOW).take(50)


def test_generators_do_not_disturb_each_other() -> None:
    """Each has its own chances, so that a second one in the process changes nothing."""
    alone = SignIns(3, NOW).take(10)
    first, second = SignIns(3, NOW), SignIns(4, NOW)
    together = []
    for _ in range(10):
        together += first.take(1)
        next(second)
    assert together == alone


def test_take_goes_on_where_iteration_stopped() -> None:
    """`take` and `next` draw from one endless stream."""
    events = SignIns(3, NOW)
    assert [next(events), *events.take(2), next(iter(events))] == SignIns(3, NOW).take(4)


def test_timestamps_are_floored_to_ten_minutes(events: Events) -> None:
    """Timestamps are whole milliseconds that say no more than the ten minutes."""
    assert all(type(event["timestamp"]) is int for event in events)
    assert {event["timestamp"] % TEN_MINUTES_MS for event in events} == {0}


def test_timestamps_are_of_the_last_ninety_days(events: Events) -> None:
    """No event is older than the window or in the future, rounding included."""
    assert all(NOW_MS - 90 * DAY_MS <= event["timestamp"] <= NOW_MS for event in events)


def test_timestamps_fill_the_window(events: Events) -> None:
    """The events are spread over all ninety days, not over a corner of them."""
    days = {int((NOW_MS - event["timestamp"]) // DAY_MS) for event in events}
    assert days == set(range(90))


def test_a_smaller_window_keeps_every_timestamp_in_it() -> None:
    """Who asks for recent events gets no others."""
    events = SignIns(7, NOW, days=1).take(500)
    assert all(NOW_MS - DAY_MS <= event["timestamp"] <= NOW_MS for event in events)


def test_a_window_without_a_day_is_refused() -> None:
    """There is no timestamp to choose in an empty window."""
    with pytest.raises(ValueError, match="days"):
        SignIns(7, NOW, days=0)


def test_all_three_journeys_occur(events: Events) -> None:
    """Returning, already signed in and new: none of them is rare."""
    for name in ("returning user", "user already signed in", "new user"):
        assert sum(journey_of(event) == name for event in events) > len(events) / 10


def test_offsets_do_not_decrease(events: Events) -> None:
    """Steps are told in the order in which they happened."""
    for event in events:
        offsets = [step[1] for step in event["event_stream"]]
        assert offsets == sorted(offsets)
        assert offsets[0] >= 0


def test_a_duration_is_over_before_the_next_step(events: Events) -> None:
    """Some steps carry a duration as third item, and it fits between the offsets."""
    measured = 0
    for event in events:
        steps = event["event_stream"]
        for step, following in pairwise(steps):
            if len(step) == 3:
                measured += 1
                assert 0 <= step[2] <= following[1] - step[1]
    assert measured


def test_steps_are_those_of_the_journey(events: Events) -> None:
    """A stream starts at the start of its journey and takes no step from another."""
    journeys = {journey.name: [step.name for step in journey.steps] for journey in JOURNEYS}
    for event in events:
        names, steps = step_names(event), journeys[journey_of(event)]
        assert names[:2] == steps[:2]
        assert set(names) <= {*steps, "password.rejected"}


def test_some_streams_break_off_and_most_do_not(events: Events) -> None:
    """People leave in the middle, but they are the smaller part."""
    complete = sum(step_names(event)[-1] == "dialog.closed" for event in events)
    assert len(events) / 2 < complete < len(events)


def test_a_new_user_who_leaves_at_once_has_no_account_yet(events: Events) -> None:
    """Which fields are there depends on what the site has learnt by the last step."""
    left = [e for e in events if step_names(e) == ["dialog.opened", "session.none"]]
    assert left
    account = {"number_emails", "number_sites_logged_in", "new_account", "email_type"}
    assert all(account.isdisjoint(event) for event in left)


def test_only_new_users_have_new_accounts(events: Events) -> None:
    """A complete stream says whether the account is new, and says it rightly."""
    complete = [event for event in events if step_names(event)[-1] == "dialog.closed"]
    for event in complete:
        assert event["new_account"] is (journey_of(event) == "new user")


def test_an_event_is_about_five_hundred_bytes(events: Events) -> None:
    """Load tests with these events weigh what the real ones weigh."""
    sizes = [len(json.dumps(event, separators=(",", ":"))) for event in events]
    assert 400 <= sum(sizes) / len(sizes) <= 650


def test_events_are_equal_after_a_round_trip_through_json(events: Events) -> None:
    """What a bank gives back can be compared with what was sent."""
    assert json.loads(json.dumps(events, allow_nan=False)) == events


def test_sample_rates_are_shares(events: Events) -> None:
    """A sample rate lies between none and all."""
    assert all(0 <= event["sample_rate"] <= 1 for event in events)
    assert len({event["sample_rate"] for event in events}) > 1


@pytest.mark.parametrize("name", ["os", "browser", "version"])
def test_user_agents_vary(events: Events, name: str) -> None:
    """A report by system or browser has several rows."""
    assert len({event["user_agent"][name] for event in events}) >= 4


def test_user_agents_exist(events: Events) -> None:
    """Safari runs on Apple's systems only, and Edge is on Windows here."""
    agents = [event["user_agent"] for event in events]
    assert {a["os"] for a in agents if a["browser"] == "Safari"} <= {"macOS", "iOS", "iPadOS"}
    assert {a["os"] for a in agents if a["browser"] == "Edge"} == {"Windows"}


def test_languages_and_screens_vary(events: Events) -> None:
    """The world is larger than one language and one screen."""
    assert len({event["lang"] for event in events}) >= 8
    assert len({tuple(event["screen_size"].values()) for event in events}) >= 8
