"""How a scripted CouchDB may answer a request."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.web.server import Request

Answer = tuple[int, bytes]
#: Gets the request and what does it as CouchDB would; gives the answer, or leaves it open.
Reply = Callable[[Request, Callable[[], Answer]], Awaitable[Answer]]


def close(request: Request) -> None:
    """Close the connection that a request came by."""
    transport: Any = request.transport
    transport.loseConnection()


def say(status: int, body: str = "{}") -> Reply:
    """Say something without doing anything."""

    async def reply(request: Request, do: Callable[[], Answer]) -> Answer:
        return status, body.encode()

    return reply


def changed(change: Callable[[int, Any], Answer]) -> Reply:
    """Do it, and say something else about it."""

    async def reply(request: Request, do: Callable[[], Answer]) -> Answer:
        status, body = do()
        return change(status, json.loads(body))

    return reply


async def hang(request: Request, do: Callable[[], Answer]) -> Answer:
    """Do nothing and say nothing for as long as somebody waits."""
    await Deferred()
    raise AssertionError("nobody ends this")


async def hang_up(request: Request, do: Callable[[], Answer]) -> Answer:
    """Close the connection instead of answering."""
    close(request)
    return await hang(request, do)


async def hang_up_after(request: Request, do: Callable[[], Answer]) -> Answer:
    """Do it, but close the connection instead of saying so."""
    do()
    return await hang_up(request, do)


async def cut_short(request: Request, do: Callable[[], Answer]) -> Answer:
    """Do it, but close the connection in the middle of the answer."""
    status, body = do()
    request.setResponseCode(status)
    request.setHeader("content-length", str(len(body)))
    request.write(body[: len(body) // 2])
    return await hang_up(request, do)


async def drip(request: Request, do: Callable[[], Answer]) -> Answer:
    """Answer with one byte after the other, without an end."""
    dripping = LoopingCall(request.write, b" ")
    dripping.start(0.05)
    try:
        return await hang(request, do)
    finally:
        dripping.stop()


def together(count: int) -> Reply:
    """Do each at once, but answer only when so many have come."""
    waiting: list[Deferred[None]] = []

    async def reply(request: Request, do: Callable[[], Answer]) -> Answer:
        answer = do()
        mine: Deferred[None] = Deferred()
        waiting.append(mine)
        if len(waiting) == count:
            for each in waiting:
                each.callback(None)
        await mine
        return answer

    return reply


def answer(status: int, value: object) -> Answer:
    """An answer in JSON."""
    return status, json.dumps(value).encode()
