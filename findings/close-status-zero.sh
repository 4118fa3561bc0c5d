#!/usr/bin/env bash
# Software: niquests 3.21.2 (extra ws, wsproto 1.3.2) as client, websockets 17.4 as server
# Believed: a client's close() without arguments is a clean end for the server: code 1000, or a close frame without a
#     code.
# Seen: niquests sends status 0, which is not a valid one (RFC 6455, 7.4.2). The server counts the end as a protocol
#     error of the client, so each orderly close shows up in its logs as a fault.
#         the server's handler gets: sent 1002 (protocol error) invalid status code; no close frame received
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q "niquests[ws]==3.21.2" wsproto==1.3.2 websockets==17.4 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import logging, queue, threading
import niquests, websockets.exceptions, websockets.sync.server

ends = queue.Queue()

def handler(peer):
    peer.send("hi")
    try:
        peer.recv(10)
    except websockets.exceptions.ConnectionClosed as error:
        ends.put(str(error))

logging.disable()
with websockets.sync.server.serve(handler, "127.0.0.1", 0) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with niquests.Session() as session:
        session.trust_env = False
        peer = session.get("ws://127.0.0.1:%d/" % server.socket.getsockname()[1]).extension
        assert peer.next_payload() == "hi"
        peer.close()
        seen = ends.get(timeout=10)
print(seen)
assert seen == "sent 1002 (protocol error) invalid status code; no close frame received"
EOF
