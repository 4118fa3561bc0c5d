#!/usr/bin/env bash
# Software: uvicorn 0.54.0 with its default WebSocket implementation (websockets 17.4), and granian 2.8.7
# Believed: an ASGI server answers pings by itself, whatever the application is doing, so a client's keepalive shows
#     whether the server is there.
# Seen: granian answers a ping only when the application next calls receive(). uvicorn answers at once while nothing is
#     unread; a single message that the application has not yet fetched stops its reading, and the ping behind it waits
#     too. A handler busy for longer than the client's ping time-out loses its client.
#         answered at once: uvicorn yes, after one unread message no; granian no, no
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 granian==2.8.7 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(3)  # the busy handler; the event loop itself is free
        while (await receive())["type"] == "websocket.receive":
            pass
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import socket, subprocess, time

def look(command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        answers = []
        for unread in (b"", b"\x81\x82\0\0\0\0hi"):
            for _ in range(600):
                try:
                    sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                    break
                except OSError:
                    time.sleep(0.1)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert b" 101 " in sock.recv(4096)
            sock.sendall(unread)
            time.sleep(0.2)
            begin = time.monotonic()
            sock.sendall(b"\x89\x84\0\0\0\0ping")
            assert sock.recv(6) == b"\x8a\x04ping"
            answers.append(time.monotonic() - begin < 1.5)
            sock.close()
        server.terminate()
        return answers

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "granian --interface asgi --port {} app:app")}
print("answered at once, without and with an unread message:", seen)
assert seen == {"uvicorn": [True, False], "granian": [False, False]}
EOF
