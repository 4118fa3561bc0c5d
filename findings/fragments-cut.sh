#!/usr/bin/env bash
# Software: aiosonic 1.3.3 as client
# Believed: a client puts the fragments of a message together (RFC 6455, 5.4), so how the server splits what it sends
#     makes no difference to the reader.
# Seen: receive_text() gives the first fragment as if it were the message, and the others vanish without an error. A
#     server that streams a long message in fragments gets through with its beginning only.
#         sent "begin" + "-end" as fragments, then "next": received "begin", "next"
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q aiosonic==1.3.3 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import asyncio, base64, hashlib, re, socket, threading
import aiosonic

def serve(listener):
    sock, _ = listener.accept()
    key = re.search(rb"key: (\S+)", sock.recv(4096), re.I)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x01\x05begin\x80\x04-end\x81\x04next")
    sock.recv(4096)

async def main():
    async with aiosonic.WebSocketClient() as client:
        peer = await client.connect("ws://127.0.0.1:%d/" % listener.getsockname()[1])
        return [await asyncio.wait_for(peer.receive_text(), 5) for _ in range(2)]

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
seen = asyncio.run(main())
print(seen)
assert seen == ["begin", "next"]
EOF
