"""Ranges in pieces: the pages that a client asks for, and those that the server streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from kpiggybank.events import EventPage, Page, Range
from kpiggybank.interfaces import StoreUnavailable
from kpiggybank.stores.memory import MemoryStore
from kpiggybank.web import ranges
from kpiggybank.web.outlet import Outlet
from kpiggybank.web.query import MAX_LIMIT
from kpiggybank.web.ranges import BYTES_AT_ONCE, EVENTS_AT_ONCE, PAGES
from tests.client_stage import failure_of
from tests.web_client import ROOT, Answer, Door, StagedStore, event, has_fired, result_of

FORMATS = ["json", "rows", "ndjson"]


@pytest.fixture
def door() -> Door:
    """A bank with ten events, some of them at the same time."""
    door = Door()
    door.save([{"timestamp": t, "n": n} for n, t in enumerate([5, 1, 5, 5, 2, 2, 9, 1, 5, 3])])
    return door


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server read four events at once."""
    monkeypatch.setattr(ranges, "EVENTS_AT_ONCE", 4)


def walk(door: Door, query: str) -> list[Answer]:
    """All pages from the first one to the one without a `Link`."""
    pages = [door.get(query)]
    while (following := pages[-1].next) is not None:
        assert following.startswith("/")
        pages.append(door.request("GET", following))
    assert all(page.status == 200 for page in pages)
    return pages


def items(answer: Answer) -> list[Any]:
    """The events or rows of an answer in any format."""
    if answer.headers["content-type"] == "application/x-ndjson":
        return [json.loads(line) for line in answer.body.splitlines()]
    value: list[Any] = answer.value
    return value


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("descending", ["false", "true"])
@pytest.mark.parametrize("limit", [1, 3, 5, 9])
def test_walk(door: Door, form: str, descending: str, limit: int) -> None:
    """Following the links gives the whole in order, page by page, in both directions."""
    query = f"?format={form}&descending={descending}"
    pages = walk(door, f"{query}&limit={limit}")
    assert [item for page in pages for item in items(page)] == items(door.get(query))
    assert [len(items(page)) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    assert len(pages) == -(-10 // limit)


@pytest.mark.parametrize("query", ["?start=2&end=5", "?start=2&end=5&descending=true"])
def test_walk_of_a_range(door: Door, query: str) -> None:
    """The pages stay within the range."""
    pages = walk(door, f"{query}&limit=2")
    assert [item for page in pages for item in items(page)] == door.get(query).value
    assert len(pages) == 4


@pytest.mark.parametrize("path", ["/rows", "/rows/", "/"])
def test_walk_on_its_own_path(door: Door, path: str) -> None:
    """The link leads to the path that was asked."""
    pages = walk(door, f"{path}?limit=4")
    assert [item for page in pages for item in items(page)] == door.get(path).value


@pytest.mark.parametrize("limit", [10, 11, MAX_LIMIT])
def test_no_next_page(door: Door, limit: int) -> None:
    """There is no link where nothing follows, also when the page is full."""
    answer = door.get(f"?limit={limit}")
    assert len(answer.value) == 10
    assert "link" not in answer.headers


def test_no_link_without_limit(door: Door) -> None:
    """Without a limit everything comes, and there is no next page."""
    assert "link" not in door.get().headers


def test_unknown_parameters_stay(door: Door) -> None:
    """The link keeps what it does not know, whatever characters that has."""
    following = door.get("?limit=4&x=%26a%3Db%20%FF%2B").next
    assert following is not None
    assert "&x=%26a%3Db%20%FF%2B&" in following


def test_deposits_while_walking(door: Door) -> None:
    """What is stored behind a reader neither shifts nor repeats what is before it."""
    first = door.get("?limit=5")
    whole = door.get().value
    door.save([{"timestamp": 0}, {"timestamp": 1}])
    assert first.next is not None
    rest = door.request("GET", first.next.replace("limit=5", "limit=100"))
    assert first.value + rest.value == whole


def test_after_without_limit(door: Door) -> None:
    """All that follows a page can be had at once."""
    first = door.get("?limit=3")
    assert first.next is not None
    after = first.next.partition("after=")[2]
    assert first.value + door.get(f"?after={after}").value == door.get().value


@pytest.mark.parametrize(
    "limit", ["0", "-1", str(MAX_LIMIT + 1), "1.5", "1e2", "abc", "", "%D9%A1"]
)
def test_no_limit(door: Door, limit: str) -> None:
    """A limit is a whole number from 1 to a bound that the answer names."""
    answer = door.get(f"?limit={limit}")
    assert answer.status == 400
    assert "'limit'" in answer.reason
    assert str(MAX_LIMIT) in answer.reason


@pytest.mark.parametrize("after", ["nonsense", "", "1", "-", "0-00000000", "%FF", "%00", "9" * 400])
@pytest.mark.parametrize("more", ["", "&limit=3", "&descending=true"])
def test_garbled_after(door: Door, after: str, more: str) -> None:
    """A place that the server never named is refused."""
    answer = door.get(f"?after={after}{more}")
    assert answer.status == 400
    assert answer.reason


def test_after_of_another_bank(door: Door) -> None:
    """A place in another bank, or in one deleted since, is refused rather than misread."""
    other = Door()
    other.save([{"timestamp": 1}, {"timestamp": 2}])
    following = other.get("?limit=1").next
    assert following is not None
    assert door.request("GET", following).status == 400


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("descending", ["false", "true"])
@pytest.mark.usefixtures("small_pieces")
def test_several_pieces(door: Door, form: str, descending: str) -> None:
    """A range that the server reads in several pieces is one correct answer."""
    query = f"?format={form}&descending={descending}"
    whole = door.get(f"{query}&limit=100")
    answer = door.get(query)
    assert answer.body == whole.body
    assert answer.headers["content-type"] == whole.headers["content-type"]
    assert len(items(answer)) == 10


@pytest.mark.parametrize("more", [-1, 0, 1, EVENTS_AT_ONCE, 2 * EVENTS_AT_ONCE + 7])
def test_many_events(more: int) -> None:
    """The piece that the server reads at once shows nowhere, also when the events just fill it."""
    door = Door()
    given = [event(f"e{n}", n) for n in range(EVENTS_AT_ONCE + more)]
    result_of(door.store.append(given))
    assert [row["id"] for row in door.get("/rows").value] == [one.id for one in given]


@pytest.mark.parametrize("path", ["", "?format=ndjson", "/rows"])
@pytest.mark.usefixtures("small_pieces")
def test_cut_answer(logged_errors: list[LogEvent], path: str) -> None:
    """When the store fails in the middle, the answer does not look complete."""
    store = StagedStore()
    door = Door(store)
    door.save([{"timestamp": n} for n in range(10)])
    store.error, store.good_calls = StoreUnavailable("gone"), 1
    response = result_of(door.begin("GET", ROOT + path))
    assert response.code == 200
    content = response.content()
    door.flush()
    with pytest.raises(ResponseFailed):
        result_of(content)
    (error,) = logged_errors
    assert isinstance(error["log_failure"].value, StoreUnavailable)
    logged_errors.clear()


def test_first_piece_fails() -> None:
    """When the store fails at once, the answer can still say so."""
    door = Door(StagedStore(error=StoreUnavailable("gone")))
    assert door.get().status == 503


@pytest.mark.usefixtures("small_pieces")
def test_reader_goes_away() -> None:
    """A reader that leaves in the middle is no error; the next one is served as ever."""
    door = Door()
    door.save([{"timestamp": n} for n in range(10)])
    door.leave(door.open(""))
    assert len(door.get().value) == 10


class SlowStore(MemoryStore):
    """A store that answers for ranges when it is told to.

    Attributes:
        pages: what was asked for.
        waiting: who waits for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pages: list[Page] = []
        self.waiting: list[Deferred[EventPage]] = []

    def read(self, span: Range, page: Page) -> Deferred[EventPage]:
        """Read, later."""
        self.pages.append(page)
        self.waiting.append(Deferred())
        return self.waiting[-1]


@pytest.mark.parametrize(("ranges", "part"), [(1, 1), (15, 1), (16, 2), (80, 10), (400, 32)])
def test_many_ranges_at_a_time(ranges: int, part: int) -> None:
    """Where many ranges are read, their pieces are smaller; and not when they have been."""
    store = SlowStore()
    door = Door(store)
    answers = [door.begin("GET", ROOT) for _ in range(ranges)]
    assert store.pages[0] == Page(EVENTS_AT_ONCE, size=BYTES_AT_ONCE)
    assert store.pages[-1] == Page(EVENTS_AT_ONCE // part, size=BYTES_AT_ONCE // part)
    for waiting in store.waiting:
        waiting.callback(EventPage([], None))
    door.flush()
    assert [result_of(answer).code for answer in answers] == [200] * ranges
    door.begin("GET", ROOT)
    assert store.pages[-1] == store.pages[0]


def test_pages_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """While clients leave much of their pages unread, others have short ones, with a link."""
    read: Deferred[None] = Deferred()

    class UnreadOutlet(Outlet):
        async def write(self, piece: bytes, before: bytes = b"") -> None:
            await read
            await super().write(piece, before)

    monkeypatch.setattr(ranges, "Outlet", UnreadOutlet)
    for name, size in (("UNREAD_BYTES", 1000), ("SLICE_BYTES", 400), ("SMALL_PAGE_BYTES", 200)):
        monkeypatch.setattr(ranges, name, size)
    door = Door()
    given = [{"timestamp": number} for number in range(100)]
    door.save(given)
    unread = door.begin("GET", f"{ROOT}?limit=100")
    short = door.get("?limit=100")
    assert 200 < len(short.body) < 250
    link = short.headers["link"]
    assert link.endswith('>; rel="next"')
    rest = door.get(link[len(f"<{ROOT}") : link.index(">")])
    assert [*short.value, *rest.value] == given[: len(short.value) + len(rest.value)]
    assert len(rest.value) == pytest.approx(len(short.value), abs=1)
    read.callback(None)
    door.flush()
    assert door.finish(unread).value == given
    assert door.get("?limit=100").value == given


def test_pages_take_turns() -> None:
    """So many pages are read at a time; that a client goes is no reason to read less of others."""
    store = SlowStore()
    door = Door(store)
    asked = [door.begin("GET", f"{ROOT}?limit=1") for _ in range(2 * PAGES + 1)]
    assert len(store.waiting) == PAGES
    for gone in (asked[0], asked[-1]):
        gone.cancel()
        failure_of(gone, ResponseNeverReceived)
    for waiting in store.waiting:  # which grows meanwhile
        waiting.callback(EventPage([], None))
        door.flush()
    assert [result_of(answer).code for answer in asked[1:-1]] == [200] * (2 * PAGES - 1)


def test_pages_do_not_wait_for_conditions() -> None:
    """Pages for which each event is looked at are not in the way of those for which a few are."""
    store = SlowStore()
    door = Door(store)
    long = [door.begin("GET", f"{ROOT}?limit=1&where=n:1") for _ in range(2 * PAGES)]
    assert len(store.waiting) == PAGES
    quick = door.begin("GET", f"{ROOT}?limit=1")
    store.waiting[PAGES].callback(EventPage([], None))
    door.flush()
    assert door.finish(quick).value == []
    assert not any(map(has_fired, long))
    for waiting in store.waiting:
        if not waiting.called:
            waiting.callback(EventPage([], None))
            door.flush()
    assert [door.finish(each).value for each in long] == [[]] * (2 * PAGES)
