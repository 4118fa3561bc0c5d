"""A soak: fifty clients wait for jobs through a faulty network; `python -m tests.soak --minutes N --seed S`.

The gateway completes and fails jobs as the seed says, and is stopped and started now and then. Half of the clients use
TLS, of both versions, with new handshakes and keys in the midst of traffic; interim responses come before the answer to
their handshakes; the proxy in front does to each connection what the seed says. The users' code raises what no code
should, and hangs for longer than its client. Each job's outcome must come exactly once, from an event or, after a gap,
from the poll, or its waiter must be told why it does not; each exception is reported once. Exits with status 1 if
anything else happened.
"""

from __future__ import annotations

import argparse
import random
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from masquerade_ws import WebSocketClient
from tests.soak.gateway import Gateway
from tests.soak.tally import Tally
from tests.soak.user import PATIENCE, User
from tests.support.fault_proxy import FaultProxy, chaos
from tests.support.leaks import descriptors, memory
from tests.support.openssl import can_call_openssl
from tests.support.raw_server import tls_contexts
from tests.support.tls_front import Front

CLIENTS = 51  # a third without TLS, a third with each of its versions
GROWTH = 32 * 2**20  # bytes that the memory may grow after the first half


@contextmanager
def jolts(gateway: Gateway, seed: int, until: float) -> Iterator[None]:
    """Restart the server, refuse and freeze, until the time is over."""
    over = threading.Event()

    def jolt() -> None:
        chance = random.Random(f"{seed}/jolts")
        while not over.wait(min(chance.uniform(5, 20), max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                return
            server = gateway.server
            if chance.random() < 0.4:
                gateway.restart(chance.uniform(0, 2))
            elif chance.random() < 0.5:
                server.refuse(chance.choice([401, 403, 429, 500, 503]), times=20)
                server.drop()
            else:
                server.freeze()
                over.wait(chance.uniform(0, 5))
                server.thaw()

    thread = threading.Thread(target=jolt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def clients_threads() -> int:
    """Return how many threads the clients have."""
    names = [thread.name for thread in threading.enumerate()]
    return sum(name.startswith("masquerade-ws-") and name != "masquerade-ws-testing" for name in names)


def fronts(port: int, seed: int, stack: ExitStack) -> Iterator[tuple[Front, ssl.SSLContext | None]]:
    """Start what stands before the server: one front without TLS, one with each version; yield the client's context."""
    yield stack.enter_context(Front(port, seed=f"{seed}/clear")), None
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        server, client = tls_contexts(version=version)
        period = 1.0 if can_call_openssl() else 10.0**9
        yield stack.enter_context(Front(port, tls=server, seed=f"{seed}/{version}", period=period)), client


def soak(seconds: float, seed: int) -> Tally:
    """Run all that for so many seconds, print what was seen, and return it."""
    tally, before = Tally(), descriptors()
    until = time.monotonic() + seconds
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(seed))
        ways = list(fronts(gateway.server.port, seed, stack))
        proxies = [
            stack.enter_context(FaultProxy(front.port, chaos(seed + at, longest=200_000), seed=seed + at))
            for at, (front, _) in enumerate(ways)
        ]
        users: list[User] = []
        for number in range(CLIENTS):
            proxy, context = proxies[number % 3], ways[number % 3][1]
            url = proxy.url if context is None else proxy.url.replace("ws:", "wss:")
            users.append(User(f"{seed}/{number}", url, gateway, tally, until=until, ssl_context=context))
        for user in users:
            user.start()
        with jolts(gateway, seed, until):
            half = samples(seconds / 2, tally)
            samples(until - time.monotonic(), tally)
        for user in users:
            user.join(3 * PATIENCE)
            if user.is_alive():
                tally.violation("a user's thread hangs")
        for user in users:
            user.client.disconnect(timeout=1.0)
        check_rest(tally, [user.client for user in users], half)
        answered = sum(tally.counts[what] for what in ("delivered", "polled", "told why not"))
        if answered != gateway.submitted:
            tally.violation(f"{answered} waits were answered, of {gateway.submitted}")
        print(f"jobs {gateway.submitted}, connections through the proxies {[proxy.accepted for proxy in proxies]}")
        for front, context in ways:
            print(f"{'wss' if context else 'ws'}: new handshakes {front.handshakes}, interim {front.interim}")
    del users, user
    if descriptors() > before + 2:
        tally.violation(f"{descriptors() - before} descriptors were left open")
    return tally


def samples(seconds: float, tally: Tally) -> int:
    """Wait; print a line now and then; return the memory in use at the end."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, max(5.0, seconds / 20)))
        print(
            f"{max(0.0, end - time.monotonic()):6.0f} s left: events {tally.counts['events']},"
            f" gaps {tally.counts['gaps']}, memory {memory() // 2**20} MiB, threads {threading.active_count()},"
            f" descriptors {descriptors()}",
            flush=True,
        )
    return memory()


def check_rest(tally: Tally, clients: Sequence[WebSocketClient], half: int) -> None:
    """Check that nothing of the clients is left, and that memory has not grown."""
    end = time.monotonic() + 10
    while clients_threads() and time.monotonic() < end:
        time.sleep(0.05)
    if clients_threads():
        tally.violation(f"{clients_threads()} threads were left")
    if {client.state for client in clients} != {"disconnected"}:
        tally.violation("a client is not disconnected at the end")
    if memory() > half + GROWTH:
        tally.violation(f"the memory grew by {(memory() - half) // 2**20} MiB in the second half")
    reconnects = sum(client.stats.reconnects for client in clients)
    print(f"reconnects {reconnects}, longest gap {tally.longest_gap:.1f} s, memory {memory() // 2**20} MiB")


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally = soak(arguments.minutes * 60, arguments.seed)
    print(", ".join(f"{what} {number}" for what, number in sorted(tally.counts.items())))
    for violation in tally.violations:
        print(f"VIOLATION: {violation}")
    print("failed" if tally.violations else "nothing was lost, doubled or left behind")
    return int(bool(tally.violations))


if __name__ == "__main__":
    sys.exit(main())
