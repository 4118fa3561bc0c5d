#!/usr/bin/env bash
# Software: uWSGI 2.0.30 (pyuwsgi 2.0.30.post1)
# Believed: a worker that the master forks has run the application's os.register_at_fork(after_in_child=...) hooks, as
#     under gunicorn --preload, so locks and connections made before the fork are put right.
# Seen: uWSGI forks in C and, even with threads enabled, runs none of the hooks, neither before the fork nor after it.
#     With py-call-osafterfork the child's hooks run, and the parent's still do not. What must notice the fork in any
#     setting has to compare os.getpid().
#         default: no mark   py-call-osafterfork: "child"
set -eu
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m venv "$tmp/v"
"$tmp/v/bin/pip" install -q pyuwsgi==2.0.30.post1 >"$tmp/log" 2>&1 ||
    { cat "$tmp/log"; exit 1; }
cd "$tmp"
cat >app.py <<'EOF'
import os

def mark(word):
    with open("marks", "a") as marks:
        print(word, file=marks)

os.register_at_fork(before=lambda: mark("before"), after_in_parent=lambda: mark("parent"),
                    after_in_child=lambda: mark("child"))

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"up"]
EOF
PATH=$tmp/v/bin:$PATH timeout 120 python - <<'EOF'
import pathlib, signal, socket, subprocess, time, urllib.request

def look(*options):
    marks = pathlib.Path("marks")
    marks.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = ["uwsgi", "--http-socket", f"127.0.0.1:{port}", "--master", "--enable-threads", "--module", "app", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
        for _ in range(600):
            try:
                assert urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5).read() == b"up"
                break
            except OSError:
                time.sleep(0.1)
        server.send_signal(signal.SIGINT)
        server.wait(20)
        return marks.read_text().split()

seen = look(), look("--py-call-osafterfork")
print(seen)
assert seen == ([], ["child"])
EOF
