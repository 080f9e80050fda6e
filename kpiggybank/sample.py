"""Sign-in events that never happened, but could have.

Each event tells how one person went through a browser's sign-in dialog. There are three ways
through it, called journeys here:

* returning user: the session has expired, so they type the password (sometimes a wrong one
  first), pick an email address and are in.
* user already signed in: the session is found, so they only pick an email address.
* new user: no session; they type an email address, choose a password and follow the link in the
  mail that confirms it.

People leave at any step but the first two, so a stream of steps may break off; what the site
learns from a step (how many email addresses an account has, say) is missing then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

from attrs import define, field, frozen, validators

# Timestamps are rounded down to this, so that they identify nobody.
GRANULARITY_MS = 10 * 60 * 1000
_DAY_MS = 24 * 60 * 60 * 1000


@frozen
class Step:
    """One step of a journey: its name and how long it usually takes."""

    name: str
    # Median time until the next step.
    typical_ms: float
    # Sigma of that log-normal time: machines vary little, people vary much.
    spread: float = 0.5
    # Share of visits in which the step's own duration is recorded too.
    measured: float = 0.0


@frozen
class Journey:
    """A way through the dialog; its second step tells it from the others."""

    name: str
    weight: int
    # Share of people who don't go through to the end.
    leaving: float
    steps: tuple[Step, ...]


_OPENED = Step("dialog.opened", 180, 0.4)
_PICK_EMAIL = Step("screen.pick_email", 2300, 0.7)
_PICKED = Step("email.picked", 40, 0.3)
_CERTIFIED = Step("key.certified", 420, 0.5, measured=0.5)
_ASSERTION = Step("assertion.generated", 95, 0.4, measured=0.3)
_CLOSED = Step("dialog.closed", 0)
_PASSWORD = Step("screen.enter_password", 5200, 0.6)
_SUBMITTED = Step("password.submitted", 310, 0.4, measured=0.5)
_REJECTED = Step("password.rejected", 900, 0.5)
JOURNEYS = (
    Journey(
        "returning user",
        weight=45,
        leaving=0.25,
        steps=(
            _OPENED,
            Step("session.expired", 60, 0.4),
            _PASSWORD,
            _SUBMITTED,
            Step("password.accepted", 120, 0.4),
            _PICK_EMAIL,
            _PICKED,
            _CERTIFIED,
            _ASSERTION,
            _CLOSED,
        ),
    ),
    Journey(
        "user already signed in",
        weight=35,
        leaving=0.1,
        steps=(
            _OPENED,
            Step("session.found", 140, 0.4, measured=0.3),
            _PICK_EMAIL,
            _PICKED,
            _CERTIFIED,
            _ASSERTION,
            _CLOSED,
        ),
    ),
    Journey(
        "new user",
        weight=20,
        leaving=0.45,
        steps=(
            _OPENED,
            Step("session.none", 90, 0.4),
            Step("screen.enter_email", 8200, 0.6),
            Step("email.checked", 260, 0.5, measured=0.5),
            Step("screen.choose_password", 11500, 0.6),
            Step("account.staged", 380, 0.4, measured=0.4),
            Step("screen.check_mail", 34000, 0.8),
            Step("mail.confirmed", 210, 0.4),
            _ASSERTION,
            _CLOSED,
        ),
    ),
)


@frozen
class Device:
    """A system, a browser that exists on it, and the screens it is seen on."""

    weight: int
    os: str
    browser: str
    versions: tuple[str, ...]
    screens: tuple[tuple[int, int], ...]


_DESKTOP = ((1920, 1080), (1366, 768), (1536, 864), (2560, 1440))
_MAC = ((1440, 900), (1512, 982), (1728, 1117), (2560, 1440))
_PHONE = ((360, 800), (412, 915), (384, 832))
_IPHONE = ((390, 844), (393, 852), (430, 932))
_IPAD = ((768, 1024), (820, 1180), (1024, 1366))
_FIREFOX = ("115.0", "127.0", "128.0", "129.0")
_CHROME = ("124.0.0.0", "126.0.0.0", "127.0.0.0")
_SAFARI = ("16.6", "17.4.1", "17.5")

DEVICES = (
    Device(26, "Windows", "Chrome", _CHROME, _DESKTOP),
    Device(14, "Windows", "Firefox", _FIREFOX, _DESKTOP),
    Device(9, "Windows", "Edge", ("125.0.0.0", "126.0.0.0"), _DESKTOP),
    Device(7, "macOS", "Safari", _SAFARI, _MAC),
    Device(5, "macOS", "Chrome", _CHROME, _MAC),
    Device(4, "macOS", "Firefox", _FIREFOX, _MAC),
    Device(4, "Linux", "Firefox", _FIREFOX, _DESKTOP),
    Device(2, "Linux", "Chrome", _CHROME, _DESKTOP),
    Device(14, "Android", "Chrome", _CHROME, _PHONE),
    Device(4, "Android", "Firefox", _FIREFOX, _PHONE),
    Device(8, "iOS", "Safari", _SAFARI, _IPHONE),
    Device(3, "iPadOS", "Safari", _SAFARI, _IPAD),
)

LANGUAGES = ("en-US", "en-GB", "de", "fr", "es", "pt-BR", "it", "pl", "ru", "ja", "zh-CN", "ar")
_LANGUAGE_WEIGHTS = (38, 8, 11, 8, 8, 7, 4, 4, 4, 4, 3, 1)
_SAMPLE_RATES = (1, 0.5, 0.25, 0.1)  # as JavaScript writes them
# The steps from which the site learns something that the event then tells.
_ACCOUNT_KNOWN = frozenset({"session.found", "password.accepted"})
_EMAIL_KNOWN = frozenset({"email.picked", "email.checked"})


@define(eq=False)
class SignIns:
    """An endless iterator of sign-in events; the same seed and now give the same events.

    Args:
        seed: Where the chances start; None takes a different place each time.
        now: The end of the time window, in unix seconds.
        days: How long before `now` the window begins.
    """

    seed: int | None = None
    now: float = field(factory=time.time)
    days: int = field(default=90, kw_only=True, validator=validators.ge(1))
    _random: Random = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._random = Random(self.seed)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self

    def __next__(self) -> dict[str, Any]:
        journey = self._random.choices(JOURNEYS, [each.weight for each in JOURNEYS])[0]
        device = self._random.choices(DEVICES, [each.weight for each in DEVICES])[0]
        width, height = self._random.choice(device.screens)
        stream = self._stream(journey)
        return {
            "timestamp": self._timestamp(),
            "event_stream": stream,
            "lang": self._random.choices(LANGUAGES, _LANGUAGE_WEIGHTS)[0],
            "screen_size": {"width": width, "height": height},
            "user_agent": {
                "os": device.os,
                "browser": device.browser,
                "version": self._random.choice(device.versions),
            },
            **self._account({str(step[0]) for step in stream}),
            "sample_rate": self._random.choice(_SAMPLE_RATES),
        }

    def take(self, n: int) -> list[dict[str, Any]]:
        """Give the next n events."""
        return list(islice(self, n))

    def _timestamp(self) -> int:
        """Pick a time in the window, in milliseconds; rounding down must not leave the window."""
        end_ms = self.now * 1000
        first = math.ceil((end_ms - self.days * _DAY_MS) / GRANULARITY_MS)
        last = math.floor(end_ms / GRANULARITY_MS)
        return self._random.randint(first, last) * GRANULARITY_MS

    def _stream(self, journey: Journey) -> list[list[str | int]]:
        """Walk the journey: [name, offset in ms], with a duration in ms as third item at times."""
        steps = list(journey.steps)
        if _SUBMITTED in steps and self._random.random() < 0.15:
            retry = steps.index(_SUBMITTED) + 1
            steps[retry:retry] = [_REJECTED, _PASSWORD, _SUBMITTED]
        if self._random.random() < journey.leaving:
            del steps[self._random.randrange(2, len(steps)) :]
        stream: list[list[str | int]] = []
        offset_ms = self._random.randint(0, 30)
        for step in steps:
            taken_ms = round(step.typical_ms * self._random.lognormvariate(0, step.spread))
            entry: list[str | int] = [step.name, offset_ms]
            if self._random.random() < step.measured:
                entry.append(taken_ms)
            stream.append(entry)
            offset_ms += taken_ms
        return stream

    def _account(self, seen: set[str]) -> dict[str, Any]:
        """Tell of the account what the site knows after the steps that were seen."""
        told: dict[str, Any] = {}
        if seen & _ACCOUNT_KNOWN:
            told["number_emails"] = self._random.choices((1, 2, 3, 4), (60, 25, 10, 5))[0]
            told["number_sites_logged_in"] = min(40, int(self._random.expovariate(1 / 5)))
        elif "account.staged" in seen:
            # The address counts only once its mail is confirmed.
            told["number_emails"] = int("mail.confirmed" in seen)
            told["number_sites_logged_in"] = 0
        if "session.none" not in seen or "account.staged" in seen:
            told["new_account"] = "session.none" in seen
        if seen & _EMAIL_KNOWN:
            told["email_type"] = self._random.choices(("secondary", "primary"), (70, 30))[0]
        return told


def journey_of(event: dict[str, Any]) -> str:
    """Name the journey of an event that SignIns made: "new user", for example."""
    second = event["event_stream"][1][0]
    return next(journey.name for journey in JOURNEYS if journey.steps[1].name == second)
