#!/usr/bin/env bash
# Software: websockets 17.4, tornado 6.6.1 and aiohttp 3.14.5 as clients
# Believed: a compressed message may end in a DEFLATE block with the final bit set (RFC 7692, 7.2.3.4), so each client
#     that negotiates permessage-deflate reads such a message and the next one.
# Seen: aiohttp reads both. websockets and tornado read the first, and hand out the next compressed message as an empty
#     string, without an error: their inflater stands at its end. An event vanishes and nobody is told.
#         websockets ['one', '', 'plain']   tornado ['one', '', 'plain']   aiohttp ['one', 'two', 'plain']
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q websockets==17.4 tornado==6.6.1 aiohttp==3.14.5 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import asyncio, base64, hashlib, re, socket, threading, zlib
import aiohttp, tornado.websocket, websockets.sync.client

def packed(text, last):
    squeeze = zlib.compressobj(wbits=-15)
    body = squeeze.compress(text)
    return body + squeeze.flush() + b"\0" if last else (body + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]

def frame(first, body):
    return bytes([first, len(body)]) + body

def serve(listener):
    while True:
        sock, _ = listener.accept()
        key = re.search(rb"Key: (\S+)", sock.recv(4096))[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        sock.sendall(frame(0xC1, packed(b"one", True)) + frame(0xC1, packed(b"two", False)) + frame(0x81, b"plain"))

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
url = "ws://127.0.0.1:%d/" % listener.getsockname()[1]

def by_websockets():
    with websockets.sync.client.connect(url, proxy=None, close_timeout=0) as peer:
        return [peer.recv(5) for _ in range(3)]

async def by_tornado():
    peer = await tornado.websocket.websocket_connect(url, compression_options={})
    return [await peer.read_message() for _ in range(3)]

async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.ws_connect(url, compress=15, timeout=0.1) as peer:
        return [await peer.receive_str() for _ in range(3)]

seen = {"websockets": by_websockets(), "tornado": asyncio.run(by_tornado()), "aiohttp": asyncio.run(by_aiohttp())}
print(seen)
lost = ["one", "", "plain"]
assert seen == {"websockets": lost, "tornado": lost, "aiohttp": ["one", "two", "plain"]}
EOF
