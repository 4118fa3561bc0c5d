#!/usr/bin/env bash
# Software: faye-websocket 0.11.4 as client, against ws 8.23.0 as server, on the Node.js at hand (seen with 20)
# Believed: a client reports the code with which the server closed, also one registered after RFC 6455 such as 1012,
#     "service restart", which servers send at each deployment.
# Seen: faye-websocket takes 1012 for a protocol error: the application sees 1002, with the server's reason, and 1002 is
#     answered. Codes from 3000 on come through; ws as client reports 1012.
#         sent 1012 "restart": faye-websocket 1002 "restart", ws 1012 "restart"   sent 4012: both 4012
set -eu
command -v npm >/dev/null || { echo "npm is absent"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
npm install --silent --no-audit --no-fund --prefix "$tmp" ws@8.23.0 faye-websocket@0.11.4 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
cat >"$tmp/look.mjs" <<'EOF'
import faye from "faye-websocket";
import { WebSocket, WebSocketServer } from "ws";

const server = new WebSocketServer({ host: "127.0.0.1", port: 0 });
const answers = [];
server.on("connection", (sock, request) => {
  sock.on("close", (code) => answers.push(code));
  sock.close(Number(request.url.slice(1)), "restart");
});
await new Promise((resolve) => server.on("listening", resolve));
const look = (Client, code) => new Promise((resolve) => {
  const peer = new Client(`ws://127.0.0.1:${server.address().port}/${code}`);
  peer.onclose = (event) => resolve(`${event.code} ${event.reason}`);
});
const seen = [];
for (const code of [1012, 4012]) {
  seen.push(await look(faye.Client, code), await look(WebSocket, code));
}
setTimeout(() => {
  console.log(seen, "the server was answered", answers);
  const expected = "1002 restart,1012 restart,4012 restart,4012 restart,1002,1012,4012,4012";
  process.exit([...seen, ...answers].join() === expected ? 0 : 1);
}, 300);
EOF
cd "$tmp"
timeout 30 node look.mjs
