"""A bad network before a real S3 store: latency, 503s, lost connections, an outage, a store that ignores conditions.

It understands as much of HTTP/1.1 as S3 needs, so that faults strike single requests, on kept-alive connections too.
The invariant: what it does not spoil it hands on unchanged, signatures and all.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from raytrain.services.objectstore import Identity

PIECE = 64 << 10
BUSY = b"<Error><Code>SlowDown</Code><Message>injected: reduce your request rate</Message></Error>"
Strike = Literal["none", "busy", "lost_request", "lost_answer", "cut_answer"]


@dataclass
class Faults:
    """What goes wrong; may be changed at any time."""

    latency: float = 0.0  # seconds before a request is handed on
    busy: float = 0.0  # share of requests that are answered 503
    lost_request: float = 0.0  # share whose connection is reset before the store sees them
    lost_answer: float = 0.0  # share that the store carries out and whose answer nobody sees
    cut_answer: float = 0.0  # share whose answer breaks off in the middle of its body
    next: list[Strike] = field(default_factory=list)  # what strikes the coming requests, one each, before any share
    outage: bool = False  # every connection is reset
    silence: bool = False  # requests are taken and never answered
    overwrite_as: Identity | None = None  # If-None-Match is taken out and the request signed anew


@dataclass
class Request:
    line: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def method(self) -> str:
        return self.line.split(" ", 1)[0]

    def raw(self) -> bytes:
        head = "\r\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers.items())])
        return head.encode("latin-1") + b"\r\n\r\n" + self.body


class FaultProxy:
    """`faults` is what goes wrong, `struck` counts what went wrong, `requests` are those that came."""

    def __init__(self, upstream: str, seed: int = 0) -> None:
        url = urlsplit(upstream)
        assert url.hostname and url.port
        self._upstream = (url.hostname, url.port)
        self._random = random.Random(seed)
        self.faults = Faults()
        self.struck: Counter[str] = Counter()
        self.requests: list[Request] = []
        self.endpoint = ""

    async def run(self, started: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 20)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self._down(writer) and (request := await _read_request(reader, writer)) is not None:
                self.requests.append(request)
                if self._down(writer) or not await self._answer(request, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            _reset(writer)
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Deals with one request; False when the connection is over."""
        while self.faults.silence:
            await asyncio.sleep(0.1)
        await asyncio.sleep(self.faults.latency)
        strike = self._draw()
        if strike != "none":
            self.struck[strike] += 1
        if strike == "busy":
            head = f"HTTP/1.1 503 Busy\r\nContent-Type: application/xml\r\nContent-Length: {len(BUSY)}\r\n\r\n"
            writer.write(head.encode() + (b"" if request.method == "HEAD" else BUSY))
            await writer.drain()
            return True
        if strike == "lost_request":
            _reset(writer)
            return False
        if self.faults.overwrite_as and request.headers.pop("if-none-match", None):
            _sign(request, self.faults.overwrite_as)
        source, sink = await asyncio.open_connection(*self._upstream, limit=1 << 20)
        try:
            sink.write(request.raw())
            await sink.drain()
            return await self._hand_back(request.method, strike, source, writer)
        finally:
            sink.close()

    async def _hand_back(
        self, method: str, strike: Strike, source: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = await source.readuntil(b"\r\n\r\n")
        line, headers = _parse(head)
        bodiless = method == "HEAD" or line.split(" ")[1] in ("204", "304")
        body = b"" if bodiless else await _read_body(source, headers, until_end=True)
        if strike == "lost_answer" or self._down(writer):
            _reset(writer)
            return False
        if strike == "cut_answer":
            writer.write(head + body[: len(body) // 2])
            await writer.drain()
            await asyncio.sleep(0.05)  # a reset would overtake what was just written
            _reset(writer)
            return False
        writer.write(head + body)
        await writer.drain()
        return True

    def _draw(self) -> Strike:
        if self.faults.next:
            return self.faults.next.pop(0)
        drawn = self._random.random()
        kinds: tuple[Strike, ...] = ("busy", "lost_request", "lost_answer", "cut_answer")
        for kind in kinds:
            drawn -= getattr(self.faults, kind)
            if drawn < 0:
                return kind
        return "none"

    def _down(self, writer: asyncio.StreamWriter) -> bool:
        if self.faults.outage:
            self.struck["outage"] += 1
            _reset(writer)
        return self.faults.outage


@contextmanager
def faulty(upstream: str) -> Iterator[FaultProxy]:
    """A proxy before an endpoint, on a thread of its own; no faults until some are set."""
    proxy = FaultProxy(upstream)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def serve() -> None:
        loop.run_until_complete(proxy.run(started, stop))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(60)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, headers = _parse(head)
    if headers.pop("expect", None):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return Request(line, headers, await _read_body(reader, headers, until_end=False))


def _parse(head: bytes) -> tuple[str, dict[str, str]]:
    line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    pairs = (one.partition(":") for one in fields)
    return line, {name.lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str], until_end: bool) -> bytes:
    """The body as it is on the wire."""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return await reader.read() if until_end else b""
    pieces = []
    size = -1
    while size:
        pieces.append(await reader.readuntil(b"\r\n"))
        size = int(pieces[-1].split(b";")[0], 16)
        pieces.append(await reader.readexactly(size + 2))
    return b"".join(pieces)


def _sign(request: Request, identity: Identity) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    method, target, _ = request.line.split(" ")
    kept = {k: v for k, v in request.headers.items() if k not in ("authorization", "x-amz-content-sha256")}
    fresh = AWSRequest(method, f"http://{kept['host']}{target}", headers=kept, data=request.body)
    S3SigV4Auth(Credentials(identity.key, identity.secret), "s3", "us-east-1").add_auth(fresh)
    request.headers = dict(fresh.headers.items())


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a dying host would, without a polite end."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
