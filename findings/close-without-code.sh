#!/usr/bin/env bash
# Software: aiohttp 3.14.5 and websockets 17.4 as clients
# Believed: a close frame without a code is reported as 1005 (RFC 6455, 7.1.5), the number kept for "no code was given",
#     and is answered with an empty close frame.
# Seen: websockets does both. aiohttp shows the frame's code as 0, answers 1000 and, having taken the 0 for "no close
#     frame yet", waits for another one until the server hangs up: its close_code is 1006, an abnormal end, after an
#     orderly one.
#         aiohttp code 0, close_code 1006, answer 03e8   websockets code 1005, answer empty
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q aiohttp==3.14.5 websockets==17.4 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import asyncio, base64, hashlib, queue, re, socket, threading
import aiohttp, websockets.exceptions, websockets.sync.client

answers = queue.Queue()

def serve(listener):
    while True:
        sock, _ = listener.accept()
        key = re.search(rb"Key: (\S+)", sock.recv(4096))[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x88\x00")
        first, length, *rest = sock.recv(4096)
        mask, body = rest[:4], rest[4:4 + (length & 127)]
        answers.put(bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)).hex())
        sock.close()

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
url = "ws://127.0.0.1:%d/" % listener.getsockname()[1]

async def by_aiohttp():
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as peer:
        message = await peer.receive(5)
        return message.type.name, message.data, peer.close_code

def by_websockets():
    with websockets.sync.client.connect(url, proxy=None) as peer:
        try:
            peer.recv(5)
        except websockets.exceptions.ConnectionClosed:
            return peer.close_code

seen = {"aiohttp": (asyncio.run(by_aiohttp()), answers.get(timeout=5)),
        "websockets": (by_websockets(), answers.get(timeout=5))}
print(seen)
assert seen == {"aiohttp": (("CLOSE", 0, 1006), "03e8"), "websockets": (1005, "")}
EOF
