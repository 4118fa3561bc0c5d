#!/usr/bin/env bash
# Software: simple-websocket 1.1.0 and httpx-ws 0.9.0 as clients (both on wsproto 1.3.2)
# Believed: a server's first message reaches the reader at once, whether its bytes come with the 101 or after it.
# Seen: httpx-ws delivers it. simple-websocket puts the bytes that came with the 101 aside, and looks at them when
#     further bytes come: a greeting is late by as long as the server is silent, and receive(1) gives None for it.
#         simple-websocket None after 1 s, "hello" with the next message   httpx-ws "hello" at once
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q simple-websocket==1.1.0 httpx-ws==0.9.0 wsproto==1.3.2 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import base64, hashlib, re, socket, threading
import httpx, httpx_ws, simple_websocket

listener = socket.create_server(("127.0.0.1", 0))
go_on = threading.Event()

def serve():
    while True:
        sock, _ = listener.accept()
        key = re.search(rb"key: (\S+)", sock.recv(4096), re.I)[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key).digest())
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x81\x05hello")
        go_on.wait(10)
        sock.sendall(b"\x81\x04next")

threading.Thread(target=serve, daemon=True).start()
url = "ws://127.0.0.1:%d/" % listener.getsockname()[1]

peer = simple_websocket.Client.connect(url)
seen = [peer.receive(1)]
go_on.set()
seen += [peer.receive(5), peer.receive(5)]
go_on.clear()
with httpx.Client(trust_env=False) as http, httpx_ws.connect_ws(url, http) as other:
    greeting = other.receive_text(timeout=5)
    go_on.set()
print("simple-websocket", seen, "httpx-ws", greeting)
assert seen == [None, "hello", "next"] and greeting == "hello"
EOF
