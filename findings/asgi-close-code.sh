#!/usr/bin/env bash
# Software: hypercorn 0.18.0, uvicorn 0.54.0 (websockets 17.4), granian 2.8.7, daphne 4.2.3 and gunicorn 27.0.1 (worker
#     asgi)
# Believed: an ASGI application reads in websocket.disconnect the code with which the client closed, and 1006 when the
#     connection was cut without a close frame.
# Seen: so it is in daphne and gunicorn only. hypercorn says 1006 also for a clean close with 4000. uvicorn and granian
#     say 1005, "closed without a code", for a cut.
#         closed with 4000 / cut: hypercorn 1006 1006, uvicorn and granian 4000 1005, daphne and gunicorn 4000 1006
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
        with open("codes", "a") as codes:
            print(int((await receive())["code"]), file=codes)
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import pathlib, socket, subprocess, time

codes = pathlib.Path("codes")

def look(command):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    codes.write_text("")
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for number, farewell in enumerate((b"\x88\x82\0\0\0\0\x0f\xa0", b"")):  # close with 4000; just a cut
            for _ in range(600):
                try:
                    sock = socket.create_connection(("127.0.0.1", port))
                    break
                except OSError:
                    time.sleep(0.1)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            sock.recv(4096)
            sock.sendall(farewell)
            sock.close() if not farewell else sock.recv(4096)
            for _ in range(50):
                if codes.read_text().count("\n") > number:
                    break
                time.sleep(0.1)
        server.terminate()
        return codes.read_text().split()

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {} --lifespan off", "hypercorn app:app -b 127.0.0.1:{} --graceful-timeout 0",
    "daphne -p {} app:app", "granian --interface asgi --port {} app:app",
    "gunicorn -k asgi -b 127.0.0.1:{} --graceful-timeout 1 --no-control-socket app:app")}
print(seen)
assert seen == {"uvicorn": ["4000", "1005"], "hypercorn": ["1006", "1006"], "daphne": ["4000", "1006"],
                "granian": ["4000", "1005"], "gunicorn": ["4000", "1006"]}
EOF
