#!/usr/bin/env bash
# Software: hypercorn 0.18.0 (wsproto 1.3.2), gunicorn 27.0.1 (worker asgi), granian 2.8.7, uvicorn 0.54.0 (websockets
#     17.4)
# Believed: subprotocols offered in two Sec-WebSocket-Protocol lines, which RFC 6455 allows (11.3.4), reach the ASGI
#     application as one list, however the client or a proxy laid them out.
# Seen: granian and uvicorn join the lines. hypercorn keeps the last one only, gunicorn the first one only, so the
#     application cannot choose a protocol that the client did offer.
#         "a, b" and "c": granian and uvicorn a b c, hypercorn c, gunicorn a b
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 hypercorn==0.18.0 wsproto==1.3.2 \
    granian==2.8.7 gunicorn==27.0.1 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": " ".join(scope["subprotocols"])})
        await receive()
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import socket, subprocess, time

def look(command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                break
            except OSError:
                time.sleep(0.1)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        stream = sock.makefile("rb")
        while stream.readline().strip():
            pass
        text = stream.read(stream.read(2)[1]).decode()
        server.terminate()
        sock.close()
        return text

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "hypercorn app:app -b 127.0.0.1:{} --graceful-timeout 0",
    "granian --interface asgi --port {} app:app",
    "gunicorn -k asgi -b 127.0.0.1:{} --graceful-timeout 1 --no-control-socket app:app")}
print(seen)
assert seen == {"uvicorn": "a b c", "hypercorn": "c", "granian": "a b c", "gunicorn": "a b"}
EOF
