#!/usr/bin/env bash
# Software: websockets 17.4, picows 2.3.1, websocket-client 1.9.2 and aiohttp 3.14.5 as clients
# Believed: a client passes over an interim answer such as "103 Early Hints" that comes before the one it waits for (RFC
#     9110, 15.2: a client must, even if it does not expect one), so a front that sends one does no harm.
# Seen: aiohttp connects. websockets, picows and websocket-client take the 103 for the verdict and refuse, though the
#     101 stands right after it:
#         websockets InvalidStatus   picows WSInvalidStatusError   websocket-client WebSocketBadStatusException
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q websockets==17.4 picows==2.3.1 websocket-client==1.9.2 \
    aiohttp==3.14.5 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import asyncio, base64, hashlib, re, socket, threading
import aiohttp, picows, websocket, websockets.sync.client

def serve(listener):
    while True:
        sock, _ = listener.accept()
        key = re.search(rb"Key: (\S+)", sock.recv(4096))[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        sock.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
                     b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\x02hi")

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
url = "ws://127.0.0.1:%d/" % listener.getsockname()[1]

async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.ws_connect(url, timeout=0.1) as peer:
        return await peer.receive_str()

clients = {
    "websockets": lambda: websockets.sync.client.connect(url, proxy=None).recv(5),
    "picows": lambda: asyncio.run(picows.ws_connect(picows.WSListener, url)),
    "websocket-client": lambda: websocket.create_connection(url, timeout=5).recv(),
    "aiohttp": lambda: asyncio.run(by_aiohttp()),
}
seen = {}
for name, connect in clients.items():
    try:
        seen[name] = connect()
    except Exception as error:
        seen[name] = type(error).__name__
print(seen)
assert seen == {"websockets": "InvalidStatus", "picows": "WSInvalidStatusError",
                "websocket-client": "WebSocketBadStatusException", "aiohttp": "hi"}
EOF
