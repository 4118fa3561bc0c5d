#!/usr/bin/env bash
# Software: aiohttp 3.14.5, tornado 6.6.1, picows 2.3.1 and websockets 17.4 as clients
# Believed: "Connection: keep-alive, Upgrade" in a 101 is as good as "Connection: Upgrade" (RFC 6455, 4.1: the header
#     must contain the token), so any client of today accepts what a proxy makes of the header.
# Seen: websockets does. aiohttp, tornado and picows compare the whole value and refuse the connection; tornado's error
#     does not name the header, since it comes from a failed assertion that the caller does not get to see.
#         aiohttp WSServerHandshakeError   tornado StreamClosedError   picows WSInvalidUpgradeError
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q aiohttp==3.14.5 tornado==6.6.1 picows==2.3.1 websockets==17.4 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - 2>"$tmp/err" <<'EOF'
import asyncio, base64, hashlib, re, socket, threading
import aiohttp, picows, tornado.websocket, websockets.sync.client

def serve(listener):
    while True:
        sock, _ = listener.accept()
        key = re.search(rb"Key: (\S+)", sock.recv(4096))[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\x02hi")

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
url = "ws://127.0.0.1:%d/" % listener.getsockname()[1]

async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.ws_connect(url, timeout=0.1) as peer:
        return await peer.receive_str()

async def by_tornado():
    peer = await tornado.websocket.websocket_connect(url)
    return await peer.read_message()

clients = {
    "aiohttp": lambda: asyncio.run(by_aiohttp()),
    "tornado": lambda: asyncio.run(by_tornado()),
    "picows": lambda: asyncio.run(picows.ws_connect(picows.WSListener, url)),
    "websockets": lambda: websockets.sync.client.connect(url, proxy=None).recv(5),
}
seen = {}
for name, connect in clients.items():
    try:
        seen[name] = connect()
    except Exception as error:
        seen[name] = type(error).__name__
print(seen)
assert seen == {"aiohttp": "WSServerHandshakeError", "tornado": "StreamClosedError",
                "picows": "WSInvalidUpgradeError", "websockets": "hi"}
EOF
