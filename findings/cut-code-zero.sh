#!/usr/bin/env bash
# Software: Deno 2.9.6 and Bun 1.4.4 (the npm packages), their built-in WebSocket
# Believed: when the server goes without a close frame, the close event of a standard WebSocket has code 1006, so "code
#     === 1006" is how to know a lost connection.
# Seen: Bun says 1006. Deno says 0, which is not a close code at all, and it calls the socket's error handler before.
#         bun close 1006   deno error "Unexpected EOF", close 0
set -eu
command -v npm >/dev/null || { echo "npm is absent"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
npm install --silent --no-audit --no-fund --prefix "$tmp" deno@2.9.6 bun@1.4.4 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
cat >"$tmp/look.mjs" <<'EOF'
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import process from "node:process";

const server = createServer((sock) => {
  sock.on("error", () => {});
  sock.once("data", (head) => {
    const key = /Sec-WebSocket-Key: (\S+)/i.exec(head.toString())[1] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const accept = createHash("sha1").update(key).digest("base64");
    sock.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x02hi`, "latin1");
    setTimeout(() => sock.end(), 300);
  });
});
server.listen(0, "127.0.0.1", () => {
  const peer = new WebSocket(`ws://127.0.0.1:${server.address().port}/`);
  const seen = [];
  peer.onmessage = (event) => seen.push(event.data);
  peer.onerror = (event) => seen.push("error " + event.message);
  peer.onclose = (event) => {
    seen.push("close " + event.code);
    console.log(process.argv[2], seen);
    process.exit(seen.at(-1) === "close " + process.argv[3] && seen[0] === "hi" ? 0 : 1);
  };
});
setTimeout(() => process.exit(2), 10000);
EOF
cd "$tmp"
timeout 30 node_modules/.bin/bun look.mjs bun 1006
DENO_DIR=$tmp/cache timeout 30 node_modules/.bin/deno run --allow-net look.mjs deno 0
