#!/usr/bin/env bash
# Software: uvicorn 0.54.0 (websockets 17.4), granian 2.8.7 and gunicorn 27.0.1 (worker asgi)
# Believed: a server's limit of concurrent connections or requests holds for WebSockets too: one above it is refused or
#     waits.
# Seen: none of three does so; with a limit of 3, ten WebSockets are accepted. In uvicorn they do count, for others: a
#     plain request, a health check say, is answered 503 while they are open. granian (backpressure) and gunicorn
#     (worker-connections) go on answering requests.
#         WebSockets accepted: 10 of 10 everywhere   plain request meanwhile: uvicorn 503, granian 200, gunicorn 200
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 granian==2.8.7 gunicorn==27.0.1 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"up"})
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import socket, subprocess, time

def look(command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:

        def status(*lines):
            head = "\r\n".join(("GET / HTTP/1.1", "Host: localhost", *lines, "", ""))
            socks.append(socket.create_connection(("127.0.0.1", port), timeout=3))
            socks[-1].sendall(head.encode())
            return int(socks[-1].recv(4096).split()[1])

        socks = []
        for _ in range(600):
            try:
                assert status("Connection: close") == 200
                break
            except OSError:
                time.sleep(0.1)
        accepted = [status("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==") for _ in range(10)].count(101)
        plain = status("Connection: close")
        for sock in socks:
            sock.close()
        server.terminate()
        return accepted, plain

seen = [look(command) for command in (
    "uvicorn app:app --port {} --limit-concurrency 3", "granian --interface asgi --port {} --backpressure 3 app:app",
    "gunicorn -k asgi -b 127.0.0.1:{} --worker-connections 3 --no-control-socket app:app")]
print(seen)
assert seen == [(10, 503), (10, 200), (10, 200)]
EOF
