#!/usr/bin/env bash
# Software: uvicorn 0.54.0, granian 2.8.7 and hypercorn 0.18.0
# Believed: a server process that stops in order at SIGTERM ends as a Python program does, so what the application
#     registered with atexit runs in it.
# Seen: in hypercorn it does. uvicorn lets the application's lifespan end and then kills itself with the signal, so its
#     exit status is that of a killed process and no atexit handler runs; granian's worker is gone without them too.
#     What has to be closed belongs in the lifespan's shutdown.
#         lifespan ended / atexit ran: uvicorn yes no, granian yes no, hypercorn yes yes
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.7 \
    >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
import atexit

def mark(word):
    with open("marks", "a") as marks:
        print(word, file=marks)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        atexit.register(mark, "atexit")
        await receive()
        mark("lifespan")
        await send({"type": "lifespan.shutdown.complete"})
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import pathlib, socket, subprocess, time

def look(command):
    marks = pathlib.Path("marks")
    marks.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen(command.format(port).split(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(0.5)
        server.terminate()
        return server.wait(20), marks.read_text().split()

seen = {command.split()[0]: look(command) for command in (
    "uvicorn app:app --port {}", "granian --interface asgi --port {} app:app", "hypercorn app:app -b 127.0.0.1:{}")}
print(seen)
assert seen == {"uvicorn": (-15, ["lifespan"]), "granian": (0, ["lifespan"]), "hypercorn": (0, ["lifespan", "atexit"])}
EOF
