#!/usr/bin/env bash
# Software: uvicorn 0.54.0 (websockets 17.4), hypercorn 0.18.0, daphne 4.2.3, granian 2.8.7, gunicorn 27.0.1 (worker
#     asgi)
# Believed: when an ASGI application returns without closing the WebSocket that it accepted, the server closes with
#     1000.
# Seen: no server does, and only hypercorn and gunicorn agree:
#         uvicorn cuts TCP without a close frame (the client sees 1006)   hypercorn and gunicorn close with 1011
#         granian sends a close frame without a code   daphne keeps the connection open, with nobody at its end
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 hypercorn==0.18.0 daphne==4.2.3 \
    granian==2.8.7 gunicorn==27.0.1 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import socket, subprocess, time

def look(command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                sock = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        stream = sock.makefile("rb")
        while stream.readline().strip():
            pass
        sock.settimeout(3)
        try:
            frame = stream.read(2)
            code = int.from_bytes(stream.read(2), "big") if frame and frame[1] else "without a code"
            result = f"close {code}" if frame else "cut"
        except TimeoutError:
            result = "open"
        server.terminate()
        return result

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "hypercorn app:app -b 127.0.0.1:{} --graceful-timeout 0",
    "daphne -p {} app:app", "granian --interface asgi --port {} app:app",
    "gunicorn -k asgi -b 127.0.0.1:{} --graceful-timeout 1 --no-control-socket app:app")}
print(seen)
assert seen == {"uvicorn": "cut", "hypercorn": "close 1011", "daphne": "open", "granian": "close without a code",
                "gunicorn": "close 1011"}
EOF
