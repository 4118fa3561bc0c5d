#!/usr/bin/env bash
# Software: Deno 2.9.6 (the npm package deno), Deno.serve with Deno.upgradeWebSocket
# Believed: stopping a server by its abort signal closes open WebSockets as shutdown() does, with 1001, or just drops
#     them.
# Seen: shutdown() closes with 1001 and a reason. The abort signal puts 1005 on the wire, the number that stands for "no
#     code was given" and must not be sent (RFC 6455, 7.4.1), so a strict client reports a protocol error of the server.
#         shutdown: 03e9 "Server shutting down"   abort: 03ed
set -eu
command -v npm >/dev/null || { echo "npm is absent"; exit 77; }
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
npm install --silent --no-audit --no-fund --prefix "$tmp" deno@2.9.6 >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cat >"$tmp/look.ts" <<'EOF'
async function look(stop: (server: Deno.HttpServer, abort: AbortController) => void) {
  const abort = new AbortController();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, signal: abort.signal, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = () => stop(server, abort);
    return response;
  });
  const peer = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
  const read = async () => {
    const buffer = new Uint8Array(4096);
    return buffer.slice(0, await peer.read(buffer) ?? 0);
  };
  await peer.write(new TextEncoder().encode(
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"));
  await read();
  await peer.write(Uint8Array.of(0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69));
  const frame = await read();
  peer.close();
  return [frame[0].toString(16), frame[2] * 256 + frame[3], new TextDecoder().decode(frame.slice(4))].join(" ");
}
const seen = [await look((server) => server.shutdown()), await look((_, abort) => abort.abort())];
console.log(seen);
Deno.exit(seen[0] === "88 1001 Server shutting down" && seen[1] === "88 1005 " ? 0 : 1);
EOF
DENO_DIR=$tmp/cache timeout 50 "$tmp/node_modules/.bin/deno" run --no-check --allow-net "$tmp/look.ts"
