"""WebSocket servers of other authors: ``python tests/support/real_servers.py NAME PORT`` runs one; port 0 means any.

It tells its port first, and then how each connection ended. It echoes every message but five:

- ``query`` is answered with the query of the request's URL,
- ``ping`` with a ping, and that one's pong with ``pong``,
- ``fragments`` with a mebibyte in many frames,
- ``close`` with code 4001 and a reason,
- ``sleep`` with ``sleep``, after some seconds in which its handler reads nothing.

Three know the last one, and two of these that alone: servers that read the next frame, and answer a ping, when their
handler is done with the one before.

``real_servers.js`` is the same for Node.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["FRAGMENTED"]

REASON = "auf Wiederhören"
ASLEEP = 2.0  # seconds
FRAGMENTED = "0123456789abcdé€" * 2**16


def fragments() -> Iterator[str]:
    """Cut the long message into frames of all three forms of length, some of them empty."""
    place = 0
    for size in [0, 1, 100, 1000, 0, *[70_001] * 20]:
        yield FRAGMENTED[place : place + size]
        place += size


def ready(sock: socket.socket) -> None:
    print(sock.getsockname()[1], flush=True)


def tell(code: int | None, reason: str | None) -> None:
    print(code, reason or "", flush=True)


async def websockets(sock: socket.socket) -> None:
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed

    async def handle(peer: ServerConnection) -> None:
        try:
            while True:
                message = await peer.recv()
                if message == "query":
                    assert peer.request is not None
                    await peer.send(peer.request.path.partition("?")[2])
                elif message == "ping":
                    await (await peer.ping(b"hello"))
                    await peer.send("pong")
                elif message == "fragments":
                    await peer.send(fragments())
                elif message == "close":
                    await peer.close(4001, REASON)
                else:
                    await peer.send(message)
        except ConnectionClosed:
            tell(peer.close_code, peer.close_reason)

    async with serve(handle, sock=sock, max_size=None) as server:
        ready(sock)
        await server.serve_forever()


async def aiohttp(sock: socket.socket) -> None:
    from aiohttp import WSMsgType, web

    async def handle(request: web.Request) -> web.WebSocketResponse:
        peer = web.WebSocketResponse(max_msg_size=0, autoping=False)
        await peer.prepare(request)
        while not peer.closed:
            message = await peer.receive()
            if message.type is WSMsgType.TEXT:
                if message.data == "query":
                    await peer.send_str(request.rel_url.raw_query_string)
                elif message.data == "ping":
                    await peer.ping(b"hello")
                elif message.data == "close":
                    await peer.close(code=4001, message=REASON.encode())
                elif message.data == "sleep":
                    await asyncio.sleep(ASLEEP)
                    await peer.send_str("sleep")
                else:
                    await peer.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await peer.send_bytes(message.data)
            elif message.type is WSMsgType.PING:
                await peer.pong(message.data)
            elif message.type is WSMsgType.PONG:
                await peer.send_str("pong")
            elif message.type is WSMsgType.CLOSE:
                tell(message.data, message.extra)
        return peer

    app = web.Application()
    app.router.add_get("/ws", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    ready(sock)
    await asyncio.Event().wait()


async def tornado(sock: socket.socket) -> None:
    from tornado.httpserver import HTTPServer
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    class Handler(WebSocketHandler):
        async def on_message(self, message: str | bytes) -> None:
            await asyncio.sleep(ASLEEP)
            self.write_message(message)

    sock.setblocking(False)
    HTTPServer(Application([("/ws", Handler)])).add_socket(sock)
    ready(sock)
    await asyncio.Event().wait()


async def drowsy(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Echo after a while, for granian, which reads when it is asked to receive."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await asyncio.sleep(ASLEEP)
        await send({"type": "websocket.send", "text": event["text"]})


async def granian(sock: socket.socket) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    ready(sock)
    port = sock.getsockname()[1]
    sock.close()  # it listens by itself, a moment later
    await Server(drowsy, port=port, interface=Interfaces.ASGINL, log_enabled=False).serve()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Echo, for uvicorn, whose interface knows neither pings nor fragments."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        text, data = event.get("text"), event.get("bytes")
        if text == "query":
            await send({"type": "websocket.send", "text": scope["query_string"].decode()})
        elif text == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": REASON})
        else:
            await send({"type": "websocket.send", **({"bytes": data} if text is None else {"text": text})})
    tell(event["code"], event.get("reason"))


async def uvicorn(sock: socket.socket, protocol: Any) -> None:
    from uvicorn import Config, Server

    config = Config(asgi, ws=protocol, ws_ping_interval=0.1, lifespan="off", log_level="warning")
    config.load()
    ready(sock)
    await Server(config).serve([sock])


SERVERS = {
    "websockets": websockets,
    "aiohttp": aiohttp,
    "tornado": tornado,
    "granian": granian,
    "uvicorn-websockets": lambda sock: uvicorn(sock, "websockets"),
    "uvicorn-wsproto": lambda sock: uvicorn(sock, "wsproto"),
}


def main(name: str, port: str) -> None:
    warnings.simplefilter("ignore")  # those of other authors are theirs
    with socket.create_server(("127.0.0.1", int(port))) as sock:
        asyncio.run(SERVERS[name](sock))


if __name__ == "__main__":
    main(*sys.argv[1:])
