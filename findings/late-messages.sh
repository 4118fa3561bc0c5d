#!/usr/bin/env bash
# Software: Bun 1.4.4 and Deno 2.9.6 (the npm packages), their built-in WebSocket
# Believed: after close() a WebSocket still hands out the messages that the server had sent before it saw the close: the
#     connection ends with the server's close frame, not before.
# Seen: Deno does. Bun drops all three without a trace, as the browsers' standard has it: what crosses the close is
#     lost, though the closing handshake is clean in both.
#         bun no message, close 4000   deno l1 l2 l3, close 4000
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
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n\x81\x02go`, "latin1");
    sock.once("data", () => sock.end("\x81\x02l1\x81\x02l2\x81\x02l3\x88\x02\x0f\xa0", "latin1"));
  });
});
server.listen(0, "127.0.0.1", () => {
  const peer = new WebSocket(`ws://127.0.0.1:${server.address().port}/`);
  const seen = [];
  peer.onmessage = (event) => {
    seen.push(event.data);
    if (event.data === "go") peer.close(4000);
  };
  peer.onclose = (event) => {
    seen.push(event.code, event.wasClean);
    console.log(process.argv[2], seen);
    process.exit(seen.join() === process.argv[3] ? 0 : 1);
  };
});
setTimeout(() => process.exit(2), 10000);
EOF
cd "$tmp"
timeout 30 node_modules/.bin/bun look.mjs bun go,4000,true
DENO_DIR=$tmp/cache timeout 30 node_modules/.bin/deno run --allow-net look.mjs deno go,l1,l2,l3,4000,true
