"""A real server with faults on demand, for testing programs that use the client.

It needs the extra ``testing``. Three recipes:

**pytest.** The fixtures ``masquerade_server`` and ``masquerade_client`` provide a running server and a client connected
to it, new ones for each test::

    def test_a_job_survives_a_lost_connection(masquerade_server, masquerade_client):
        masquerade_server.script([
            ("image.generation.started", {"job_id": "1", "user_id": "7"}),
            masquerade_server.drop,
            lambda: masquerade_server.wait_for_connections(1),
            ("image.generation.completed", {"job_id": "1", "image_url": "https://images.example/1"}),
        ], on="image.generate")

        assert your_function(masquerade_client) == "https://images.example/1"

        masquerade_server.assert_sent("image.generate", {"prompt": "a harbour"})

**unittest.** The server is a context manager::

    class ImageTest(unittest.TestCase):
        def setUp(self):
            self.server = EventServer()
            self.server.start()
            self.addCleanup(self.server.stop)  # from Python 3.11 on: self.server = self.enterContext(EventServer())

**Faults.** One call each::

    server.drop()                     # the network breaks: TCP reset
    server.close(1012)                # the gateway restarts politely
    server.stop(); server.start()     # it is away, and back on the same port
    server.refuse(401, times=2)       # the next two attempts to connect fail
    server.freeze(); server.thaw()    # it hangs; it continues
    server.broadcast_raw("garbage")   # it sends something that is not an event
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from masquerade_ws.testing.server import EventServer, ExpectationError, Peer, Step

__all__ = ["EventServer", "ExpectationError", "Peer", "Step"]


def __getattr__(name: str) -> Any:
    # Imported on demand: pytest imports this package in every run, with the extra or without it.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        server = import_module("masquerade_ws.testing.server")
    except ImportError as error:
        raise ImportError(
            "masquerade_ws.testing needs the websockets package: pip install 'masquerade-ws[testing]'", name=error.name
        ) from error
    return getattr(server, name)
