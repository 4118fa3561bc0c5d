// What real_servers.py says, for Node's `ws`: node tests/support/real_servers.js PORT

const { WebSocketServer } = require("ws");

const fragmented = "0123456789abcdé€".repeat(2 ** 16);
const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: { threshold: 0 },
  maxPayload: 0,
});

function sendFragments(peer) {
  let place = 0;
  for (const size of [0, 1, 100, 1000, 0, ...Array(20).fill(70001)]) {
    peer.send(fragmented.slice(place, place + size), { fin: false });
    place += size;
  }
  peer.send("", { fin: true });
}

server.on("listening", () => console.log(server.address().port));
server.on("connection", (peer, request) => {
  peer.on("message", (data, binary) => {
    const text = binary ? null : data.toString();
    if (text === "query") peer.send(request.url.split("?")[1] ?? "");
    else if (text === "ping") peer.ping("hello");
    else if (text === "fragments") sendFragments(peer);
    else if (text === "close") peer.close(4001, "auf Wiederhören");
    else peer.send(data, { binary });
  });
  peer.on("pong", () => peer.send("pong"));
  peer.on("error", () => {}); // told by "close" as well
  peer.on("close", (code, reason) => console.log(`${code} ${reason}`));
});
