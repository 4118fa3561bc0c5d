#!/usr/bin/env bash
# Software: hypercorn 0.18.0, daphne 4.2.3, granian 2.8.7, uvicorn 0.54.0 (websockets 17.4), gunicorn 27.0.1 (worker
#     asgi)
# Believed: a send to a WebSocket client that is gone raises an OSError in the ASGI application (so the specification
#     since 2.4), which is how a producer that only sends gets to know that it can stop.
# Seen: uvicorn raises ClientDisconnected, gunicorn WebSocketDisconnected. In hypercorn, daphne and granian send()
#     returns as if all were well, also after websocket.disconnect was received: such a producer goes on for ever.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 hypercorn==0.18.0 daphne==4.2.3 \
    granian==2.8.7 gunicorn==27.0.1 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
import pathlib

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        try:
            for _ in range(3):
                await send({"type": "websocket.send", "text": "anyone?"})
            result = "nothing"
        except OSError as error:
            result = type(error).__name__
        pathlib.Path("result").write_text(result)
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import pathlib, socket, subprocess, time

def look(command):
    (result := pathlib.Path("result")).write_text("")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                sock = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.1)
        with sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            sock.recv(4096)
        for _ in range(50):
            time.sleep(0 if result.read_text() else 0.1)
        server.terminate()
        return result.read_text()

seen = [look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "gunicorn -k asgi -b 127.0.0.1:{} --no-control-socket app:app",
    "hypercorn app:app -b 127.0.0.1:{} --graceful-timeout 0", "daphne -p {} app:app",
    "granian --interface asgi --port {} app:app")]
print(seen)
assert seen == ["ClientDisconnected", "WebSocketDisconnected", "nothing", "nothing", "nothing"]
EOF
