#!/usr/bin/env bash
# Software: sanic 25.12.1, aiohttp 3.14.5 and websockets 17.4 as servers
# Believed: when a handler fails with an exception, the server tells the client so with close code 1011.
# Seen: websockets does. sanic closes with 1000, "normal closure", so a client that reconnects only after faults stays
#     away for good; aiohttp cuts the connection without a close frame.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q sanic==25.12.1 aiohttp==3.14.5 websockets==17.4 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >with_sanic.py <<'EOF'
import sys, sanic
app = sanic.Sanic("demo")
@app.websocket("/")
async def handle(request, peer):
    raise RuntimeError("a fault of the handler")
if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, motd=False)
EOF
cat >with_aiohttp.py <<'EOF'
import sys, aiohttp.web
async def handle(request):
    await aiohttp.web.WebSocketResponse().prepare(request)
    raise RuntimeError("a fault of the handler")
app = aiohttp.web.Application()
app.router.add_get("/", handle)
aiohttp.web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
EOF
cat >with_websockets.py <<'EOF'
import sys, websockets.sync.server
websockets.sync.server.serve(lambda peer: 1 / 0, "127.0.0.1", int(sys.argv[1])).serve_forever()
EOF
timeout 120 "$tmp/v/bin/python" - <<'EOF'
import socket, subprocess, sys, time

def look(name):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, f"with_{name}.py", str(port)], stderr=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                break
            except OSError:
                time.sleep(0.1)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        stream = sock.makefile("rb")
        while stream.readline().strip():
            pass
        frame = stream.read(4)
        server.kill()
        return int.from_bytes(frame[2:], "big") if frame else "cut"

seen = {name: look(name) for name in ("websockets", "sanic", "aiohttp")}
print(seen)
assert seen == {"websockets": 1011, "sanic": 1000, "aiohttp": "cut"}
EOF
