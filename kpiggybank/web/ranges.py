"""How a range is told: as a page, or as a whole that is read in pieces."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs
from msgspec.structs import replace
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from kpiggybank.bank import Bank
from kpiggybank.events import PAGE_BYTES, EventText, Page, Range
from kpiggybank.web.answers import answer
from kpiggybank.web.formats import Format
from kpiggybank.web.outlet import SLICE_BYTES, Outlet
from kpiggybank.web.query import Query

#: What a range reads at once; twice as much is the memory that a slow reader costs.
EVENTS_AT_ONCE, BYTES_AT_ONCE = 1500, 2**20
#: Where more ranges than this are read at a time, their pieces are smaller in proportion, so that
#: they need no more memory all together; but not smaller than this part.
RANGES, SMALLEST = 8, 32

#: Pages that are read at a time, and as many with conditions, which may take long; others wait, so
#: that each is of the right size.
PAGES = 16
#: What clients may leave unread of pages, in bytes, and what further ones have until they have
#: read that. A page must be read as a whole before its head can be written.
UNREAD_BYTES, SMALL_PAGE_BYTES = 64 * 2**20, 64 * 2**10

T = TypeVar("T")


@attrs.define(eq=False)
class Ranges:
    """Answers for ranges.

    Args:
        bank: has the events; its store is open.
        clock: for the patience with slow readers.
        stall_seconds: that patience.
    """

    _bank: Bank
    _clock: IReactorTime
    _stall_seconds: float
    _told_now: int = attrs.field(default=0, init=False)
    _unread: int = attrs.field(default=0, init=False)
    _turns: DeferredSemaphore = attrs.field(factory=lambda: DeferredSemaphore(PAGES), init=False)
    _long_turns: DeferredSemaphore = attrs.field(
        factory=lambda: DeferredSemaphore(PAGES), init=False
    )

    def tell(
        self, request: Request, path: str, query: Query, form: Format
    ) -> Deferred[bytes | None]:
        """Answer for the range, or the page of it, that a query asks for.

        Args:
            request: is written to where the answer is long; then it fires with None.
            path: of the route, for the link to the next page.
            query: may be wrong: then it raises BadQuery, or fails with it.
            form: how events are written.
        """
        limit = query.limit
        if limit is not None:
            return Deferred.fromCoroutine(self._page(request, path, query, form, limit))
        span, page = query.span, query.page(EVENTS_AT_ONCE)
        self._told_now += 1
        return self._whole(request, form, span, page).addBoth(self._end)

    def _end(self, result: T) -> T:
        self._told_now -= 1
        return result

    async def _page(
        self, request: Request, path: str, query: Query, form: Format, limit: int
    ) -> bytes | None:
        body = await self._body(request, path, query, form, limit)
        if len(body) <= SLICE_BYTES or request.method == b"HEAD":
            return body
        self._unread += len(body)
        try:
            with self._outlet(request) as outlet:
                await outlet.write(body)
        finally:
            self._unread -= len(body)
        return None

    async def _body(
        self, request: Request, path: str, query: Query, form: Format, limit: int
    ) -> bytes:
        span, page = query.span, query.page(limit)
        turns = self._long_turns if page.where else self._turns
        await turns.acquire()
        try:
            size = PAGE_BYTES if self._unread < UNREAD_BYTES else SMALL_PAGE_BYTES
            found = await self._bank.page(span, replace(page, size=size))
        finally:
            turns.release()
        piece = form.piece(found)
        if piece.after is not None:
            link = f'<{path}?{query.continued(piece.after)}>; rel="next"'
            request.setHeader(b"Link", link.encode())
        return answer(request, form.whole(piece.text), content_type=form.content_type)

    def _outlet(self, request: Request) -> Outlet:
        return Outlet(request, self._clock, self._stall_seconds)

    def _whole(
        self, request: Request, form: Format, span: Range, page: Page
    ) -> Deferred[bytes | None]:
        def told(piece: EventText) -> Any:
            if piece.after is None:  # a coroutine would take longer than all else here
                return answer(request, form.whole(piece.text), content_type=form.content_type)
            return Deferred.fromCoroutine(self._stream(request, form, span, page, piece))

        return form.read(self._bank, span, self._piece(page, page.after)).addCallback(told)

    def _piece(self, page: Page, after: str | None) -> Page:
        part = min(max(self._told_now // RANGES, 1), SMALLEST)
        limit, size = max(EVENTS_AT_ONCE // part, 1), BYTES_AT_ONCE // part
        return Page(limit, after, page.descending, page.where, size)

    async def _stream(
        self, request: Request, form: Format, span: Range, page: Page, piece: EventText
    ) -> None:
        request.setHeader(b"Content-Type", form.content_type)
        if request.method == b"HEAD":
            return
        with self._outlet(request) as outlet:
            before = form.head
            while piece.after is not None:
                # The store is busy with the next piece while this one is written.
                following = form.read(self._bank, span, self._piece(page, piece.after))
                try:
                    if piece.text:
                        await outlet.write(piece.text, before)
                        before = form.comma
                    else:
                        await deferLater(self._clock, 0)  # a store in memory answers at once
                except BaseException:
                    following.addErrback(lambda failure: None)
                    following.cancel()
                    raise
                piece = await following
            if piece.text:
                last = before + piece.text + form.end
            else:
                last = form.end if before is form.comma else form.head
            await outlet.write(last + form.tail)
