"""A stream or a client that nothing refers to is collected; its threads end, its descriptors are closed."""

from __future__ import annotations

import pytest

from tests.support.processes import run
from tests.support.raw_server import RawServer, until
from tests.support.scripts import echo

TOOLS = """
def make(**options):
    client = WebSocketClient(url, lambda: "t", **options)
    client.connect()
    return client

def done(client):
    "A future that is done, and kept for ever."
    client.emit("echo")
    kept.append(client.future("echo", where=lambda event: True))
    client.emit("echo")
    kept[-1].result(timeout=10)
    return kept[-1]

kept = []

def gone(reference):
    "It is collected, its threads end and its sockets are closed."
    until(lambda: gc.collect() is not None and reference() is None)
    until(lambda: threads() == [])
    assert sockets() == [], sockets()
"""


def is_forgotten_well(text: str, ends: list[int | None] | None = None) -> None:
    seen: list[int | None] = []
    with RawServer(lambda peer: echo(peer, seen)) as server:
        finished = run(TOOLS + text, server.url)
        assert finished.errors == ""
        assert (finished.status, finished.output) == (0, "")
        if ends is not None:
            until(lambda: len(seen) >= len(ends))
            assert seen == ends


def test_a_forgotten_client_closes_at_once_without_the_garbage_collector() -> None:
    is_forgotten_well(
        """
gc.disable()
client = make()
reference = weakref.ref(client)
del client
assert reference() is None
until(lambda: threads() == [])
assert sockets() == []
""",
        [1000],
    )


CYCLES = {
    "a listener": "client.on('echo', lambda event: client.stats)",
    "a bound method": "client.on('echo', client.send)",
    "a listener of once": "client.once('*', lambda event: client)",
    "an open stream": "client.stream = client.events('echo')",
    "a predicate": "client.stream = client.events('echo', where=lambda event: client)",
    "a future": "client.futures = [client.future('never'), client.submit_image_job(lambda: 'job')]",
    "a future that is done": "done(client).add_done_callback(lambda future: client)",
}


@pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)
def test_a_forgotten_client_that_its_own_listeners_refer_to_closes(cycle: str) -> None:
    is_forgotten_well(
        f"""
def use():
    client = make()
    client.on("echo", lambda event: None)
    {cycle}
    with client.events("echo") as stream:
        client.emit("echo")
        stream.get(timeout=10)
    return weakref.ref(client)

gone(use())
""",
        [1000],
    )


def test_a_forgotten_client_whose_get_token_refers_to_it_closes() -> None:
    is_forgotten_well(
        """
class Service:
    def __init__(self):
        self.client = WebSocketClient(url, self.token, around_event=self.around)
        self.client.connect()

    def token(self):
        return "t"

    def around(self, event):
        raise AssertionError("no event came")

gone(weakref.ref(Service()))
""",
        [1000],
    )


def test_a_client_is_kept_while_somebody_reads_its_stream() -> None:
    is_forgotten_well(
        """
client = make()
stream = client.events("echo")
reference = weakref.ref(client)
client.emit("echo")
del client
gc.collect()
assert stream.get(timeout=10).type == "echo"
assert len(threads()) == 4
del stream
gone(reference)
""",
        [1000],
    )


def test_a_client_is_kept_while_a_future_has_a_callback() -> None:
    is_forgotten_well(
        """
client = make()
called = []
client.future("echo").add_done_callback(called.append)
client.submit_image_job(lambda: "job", on_progress=called.append)
reference = weakref.ref(client)
client.emit("echo")
del client
gc.collect()
until(lambda: called)
assert reference() is not None
reference().emit("image.generation.completed", {"job_id": "job", "image_url": "u"})
gone(reference)
""",
        [1000],
    )


@pytest.mark.parametrize("moment", ["in a delay", "after it gave up", "after disconnect", "before connect"])
def test_a_forgotten_client_without_a_connection_is_collected(moment: str) -> None:
    is_forgotten_well(
        f"""
moment = {moment!r}

def use():
    errors = []
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        nobody = "ws://127.0.0.1:%d/ws" % sock.getsockname()[1]
        failing = moment in ("in a delay", "after it gave up")
        client = WebSocketClient(nobody if failing else url, lambda: "t", initial_reconnect_delay=60,
                                 auto_reconnect=moment == "in a delay")
        client.on("error", errors.append)
        client.on("connected", lambda event: client)
        if moment == "before connect":
            client.events("x")
            return weakref.ref(client)
        try:
            client.connect()
        except ConnectError:
            pass
    until(lambda: errors or not failing)
    if moment == "after disconnect":
        client.disconnect()
    return weakref.ref(client)

gone(use())
"""
    )


@pytest.mark.parametrize("fails", ["refused", "reset", "timed out"])
def test_a_client_forgotten_during_its_attempts_ends_with_the_next_without_the_garbage_collector(fails: str) -> None:
    is_forgotten_well(
        f"""
gc.disable()
errors = []
with socket.create_server(("127.0.0.1", 0)) as server:
    silent = "ws://127.0.0.1:%d/ws" % server.getsockname()[1]
    if {fails!r} == "refused":
        server.close()
    client = WebSocketClient(silent, lambda: "t", connect_timeout=0.3, initial_reconnect_delay=60)
    client.on("error", lambda event: errors.append(str(event.error)))
    client.connect(block=False)
    if {fails!r} == "reset":
        server.accept()[0].close()
    reference = weakref.ref(client)
    del client
    assert reference() is None
    until(lambda: threads() == [])
assert sockets() == []
"""
    )


def test_a_client_forgotten_in_its_own_listener_ends_after_that() -> None:
    is_forgotten_well(
        """
class Holder:
    pass

holder = Holder()
holder.client = WebSocketClient(url, lambda: "t")
reference = weakref.ref(holder.client)
done = threading.Event()

def forget(event):
    del holder.client
    done.set()

holder.client.on("echo", forget)
holder.client.connect()
holder.client.emit("echo")
assert done.wait(10)
gone(reference)
""",
        [1000],
    )


def test_threads_whose_wait_ended_with_the_client_keep_nothing_alive() -> None:
    is_forgotten_well(
        """
class Large:
    pass

client = make()
references = []

def wait():
    large = Large()
    references.append(weakref.ref(large))
    try:
        client.wait_for("never")
    except DisconnectedError:
        pass

waiting = [threading.Thread(target=wait) for _ in range(10)]
for thread in waiting:
    thread.start()
until(lambda: len(client._streams._entries) == 10)
client.disconnect()
for thread in waiting:
    thread.join()
until(lambda: gc.collect() is not None and not any(reference() for reference in references))
"""
    )


def test_a_thousand_streams_that_were_dropped_leave_the_index_empty() -> None:
    is_forgotten_well(
        """
client = make()
for number in range(1000):
    client.events("echo", "image.*", f"type {number % 10}", where={"number": number})
iterators = [iter(client) for _ in range(1000)]
del iterators
gc.collect()
with client.events("echo") as stream:  # what is dropped is buried with the next event
    client.emit("echo")
    stream.get(timeout=10)
index = client._streams
assert (len(index._entries), index._by_name, index._patterns, len(index._due)) == (0, {}, (), 0)
assert len(list(index._all)) <= 1
client.disconnect()
""",
        [1000],
    )


def test_a_dropped_stream_is_fed_no_more() -> None:
    is_forgotten_well(
        """
client = make()
seen = []
stream = client.events("echo", where=lambda event: seen.append("dropped") is None)
del stream
gc.collect()
with client.events("echo") as stream:
    client.emit("echo")
    stream.get(timeout=10)
assert seen == []
client.disconnect()
"""
    )


def test_a_hundred_clients_made_and_forgotten_leave_nothing() -> None:
    is_forgotten_well(
        """
def forgotten():
    "Forget a client that its listener refers to, which is no function of the module: free-threaded 3.13 keeps those."
    client = make()
    client.on("echo", lambda event: client)
    return weakref.ref(client)

references = [forgotten() for _ in range(100)]
until(lambda: gc.collect() is not None and not any(reference() for reference in references))
until(lambda: threads() == [])
assert sockets() == []
""",
        [1000] * 100,
    )


COLLECTING = "gc.set_threshold(1)  # the collector runs wherever it can, and finalizers with it\n"


def test_a_generator_that_reads_a_stream_may_be_collected_on_any_thread() -> None:
    """Its end closes the stream, perhaps while that very thread looks for who takes an event."""
    is_forgotten_well(
        COLLECTING
        + """
client = make()

def feed():
    with client.events("echo", where={"a": 1}) as stream:
        yield "open"
        yield from stream

class Response:
    pass

def respond():
    response = Response()
    response.itself = response
    response.feed = feed()
    next(response.feed)
    client.emit("echo", {"a": 1})
    assert next(response.feed).payload == {"a": 1}

for _ in range(200):
    respond()
until(lambda: gc.collect() is not None and len(client._streams._all) == 0)
with client.events("echo") as stream:
    client.emit("echo")
    stream.get(timeout=10)
assert len(client._streams._entries) == 0
client.disconnect()
""",
        [1000],
    )


def test_a_finalizer_may_unsubscribe_on_any_thread() -> None:
    is_forgotten_well(
        COLLECTING
        + """
client = WebSocketClient(url, lambda: "t")

class Owner:
    pass

def subscribe():
    owner, listener = Owner(), lambda event: None
    owner.itself = owner
    client.on("echo", listener)
    weakref.finalize(owner, client.off, "echo", listener)

for _ in range(1000):
    subscribe()
gc.collect()
assert client._listeners.for_type("echo") == ()
"""
    )


def test_a_finalizer_may_disconnect_the_client_that_it_owned() -> None:
    is_forgotten_well(
        COLLECTING
        + """
class Service:
    def __init__(self):
        self.client = make()
        self.client.on("echo", self.heard)

    def heard(self, event):
        pass

    def __del__(self):
        self.client.disconnect(timeout=0.2)

def serve():
    client = Service().client
    for _ in range(20):
        client.emit("echo")

for _ in range(30):
    serve()
until(lambda: gc.collect() is not None and threads() == [])
assert sockets() == []
"""
    )
