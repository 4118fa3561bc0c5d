#!/usr/bin/env bash
# Software: hypercorn 0.18.0, gunicorn 27.0.1 (worker asgi), granian 2.8.7 and uvicorn 0.54.0 (websockets 17.4)
# Believed: a server stopped in order (SIGTERM) says so to its WebSocket clients: 1001 "going away" or 1012 "service
#     restart".
# Seen: uvicorn closes with 1012. hypercorn waits for its graceful time-out and then closes with 1011, "internal error",
#     as if the application had failed. gunicorn waits as long and cuts the connection without a close frame; granian
#     cuts it at once. A client that takes 1011 for a fault and 1006 for a broken network misreads each deployment.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 hypercorn==0.18.0 granian==2.8.7 \
    gunicorn==27.0.1 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            pass
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
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert b" 101 " in sock.recv(4096)
        time.sleep(0.5)
        begin = time.monotonic()
        server.terminate()
        try:
            frame = sock.recv(4096)
        except ConnectionResetError:
            frame = b""
        late = time.monotonic() - begin > 1.5
        sock.close()
        return ("late " if late else "") + ("close %d" % int.from_bytes(frame[2:4], "big") if frame else "cut")

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "hypercorn app:app -b 127.0.0.1:{} --graceful-timeout 2",
    "granian --interface asgi --port {} app:app",
    "gunicorn -k asgi -b 127.0.0.1:{} --graceful-timeout 2 --no-control-socket app:app")}
print(seen)
assert seen == {"uvicorn": "close 1012", "hypercorn": "late close 1011", "granian": "cut", "gunicorn": "late cut"}
EOF
