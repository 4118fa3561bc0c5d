#!/usr/bin/env bash
# Software: uvicorn 0.54.0 (websockets 17.4) on the event loop of CPython 3.11 or later, over TLS
# Believed: after the closing handshake the server closes TCP at once (RFC 6455, 7.1.1), with TLS as without.
# Seen: without TLS it does. With TLS the server sends its close_notify and waits for the client's before it closes: the
#     connection and its descriptor stay for the 30 s of asyncio's ssl_shutdown_timeout if the client waits for the
#     server to close. A client that waits for TCP's end with a short time-out counts each close as failed.
#         FIN within 3 s after the close frame: plain yes, TLS no (close_notify alone)
set -eu
command -v openssl >/dev/null || { echo "openssl is absent"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "needs Python 3.11 or later"; exit 77; }
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 websockets==17.4 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
cd "$tmp"
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost 2>"$tmp/log"
cat >app.py <<'EOF'
async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import os, socket, ssl, subprocess, time

def look(*options):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["uvicorn", "app:app", "--loop", "asyncio", "--lifespan", "off", "--port", str(port), *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                sock = socket.create_connection(("127.0.0.1", port), timeout=10)
                break
            except OSError:
                time.sleep(0.1)
        with socket.socket(fileno=os.dup(sock.fileno())) as below:
            if options:
                sock = ssl.create_default_context(cafile="cert.pem").wrap_socket(sock, server_hostname="localhost")
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            assert b" 101 " in sock.recv(4096)
            sock.sendall(b"\x88\x82\0\0\0\0\x03\xe8")
            assert sock.recv(4096) == b"\x88\x02\x03\xe8" and sock.recv(4096) == b""
            below.settimeout(3)
            try:
                return below.recv(1) == b""
            except TimeoutError:
                return False
            finally:
                server.kill()

seen = {"plain": look(), "TLS": look("--ssl-keyfile", "key.pem", "--ssl-certfile", "cert.pem")}
print("FIN within 3 s:", seen)
assert seen == {"plain": True, "TLS": False}
EOF
