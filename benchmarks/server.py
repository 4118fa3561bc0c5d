"""The server of all measurements: it sends prebuilt bytes, so that its own speed does not count.

The path says what a connection gets: ``/blast/<size>/<count>``, ``/flood/<size>/<count>`` (the same and one event more,
of another type), ``/pace/<count>/<rate>``, ``/sink/<bytes>``, ``/message/<size>`` or ``/idle``. The server begins when
the client sends its first bytes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

__all__ = ["event_of_size", "running"]

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TIMESTAMP = "2026-11-22T12:00:00.000Z"
_BLOCK = 2**20
_JOBS = 64
_THREADS = 16  # started beforehand; no measurement opens more connections at once


def _text(type_: str, payload: dict[str, object]) -> str:
    return json.dumps({"type": type_, "payload": payload, "timestamp": _TIMESTAMP}, separators=(",", ":"))


def event_of_size(size: int, job: int = 0) -> str:
    """Return an event of ``size`` bytes: small ones report progress, larger ones an image with a preview."""
    job_id = f"job-{job:04}"
    if size <= 256:
        return _padded("image.generation.progress", {"job_id": "", "progress": job}, "job_id", size)
    metadata = {
        "prompt": "A watercolour of a lighthouse at dusk, long shadows, gulls above the cliff, film grain",
        "model": {"name": "masquerade-xl", "revision": 7, "weights": "fp16"},
        "width": 1024,
        "height": 1024,
        "seed": 4_022_250_974 + job,
        "guidance": 7.5,
        "steps": [{"step": step, "sampler": "euler", "milliseconds": 40 + step, "cached": False} for step in range(8)],
        "tags": ["sea", "light", "evening"],
    }
    payload = {"job_id": job_id, "image_url": f"https://images.example/{job_id}.png", "metadata": metadata}
    return _padded("image.generation.completed", {**payload, "preview": ""}, "preview", size)


def _padded(type_: str, payload: dict[str, object], field: str, size: int) -> str:
    payload[field] = "x" * (size - len(_text(type_, payload)))
    return _text(type_, payload)


def _frame(text: str) -> bytes:
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, len(data))) + data
    if len(data) < 65536:
        return b"\x81\x7e" + len(data).to_bytes(2, "big") + data
    return b"\x81\x7f" + len(data).to_bytes(8, "big") + data


def _blast(sock: socket.socket, size: int, count: int) -> None:
    frames = [_frame(event_of_size(size, job)) for job in range(_JOBS)]
    per_block = min(count, max(1, _BLOCK // len(frames[0])))
    block = b"".join(frames[number % _JOBS] for number in range(per_block))
    sock.recv(4096)
    whole, rest = divmod(count, per_block)
    for _ in range(whole):
        sock.sendall(block)
    sock.sendall(block[: rest * len(frames[0])])


def _flood(sock: socket.socket, size: int, count: int) -> None:
    _blast(sock, size, count)
    sock.sendall(_frame(_text("last", {})))


def _pace(sock: socket.socket, count: int, rate: int) -> None:
    sock.recv(4096)
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        sock.sendall(_frame(_text("system.notification", {"severity": "info", "sent": time.monotonic_ns()})))


def _sink(sock: socket.socket, expected: int) -> None:
    buffer = bytearray(_BLOCK)
    while expected > 0:
        time.sleep(0.001)  # waking it for each message would cost the client a random amount of time
        expected -= sock.recv_into(buffer) or expected
    sock.sendall(_frame(_text("system.notification", {"severity": "info", "message": "all received"})))


def _message(sock: socket.socket, size: int) -> None:
    frame = _frame(_padded("system.notification", {"severity": "info", "message": ""}, "message", size))
    sock.recv(4096)
    sock.sendall(frame)


def _idle(sock: socket.socket) -> None:
    """Answer each ping until the client leaves; otherwise it would take the server for dead."""
    frames = b""
    while received := sock.recv(4096):
        frames += received
        while len(frames) >= 6 and len(frames) >= (stop := 6 + (frames[1] & 0x7F)):
            if frames[0] == 0x89:
                payload = bytes(byte ^ frames[2 + place % 4] for place, byte in enumerate(frames[6:stop]))
                sock.sendall(bytes((0x8A, len(payload))) + payload)
            frames = frames[stop:]


_ACTS = {"blast": _blast, "flood": _flood, "pace": _pace, "sink": _sink, "message": _message, "idle": _idle}


def _serve(sock: socket.socket) -> None:
    with contextlib.suppress(OSError), sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = b""
        while b"\r\n\r\n" not in head:
            head += (received := sock.recv(65536))
            if not received:
                return
        lines = head.decode().split("\r\n")
        key = next(line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        sock.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nServer: benchmark\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        name, *numbers = lines[0].split()[1].partition("?")[0].strip("/").split("/")
        _ACTS[name](sock, *map(int, numbers))
        while sock.recv(65536):
            pass


def main() -> None:
    """Serve until the standard input ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        for _ in range(_THREADS):
            threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        sock, _ = listener.accept()
        _serve(sock)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Run the server in another process and yield its URL."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"ws://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


if __name__ == "__main__":
    main()
