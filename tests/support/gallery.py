"""The gallery of the examples on Flask's own web server, for its tests."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType, TracebackType

from werkzeug.serving import make_server

from tests.support.raw_server import until

__all__ = ["FOLDER", "Gallery"]

FOLDER = Path(__file__).parents[2] / "examples" / "flask_gallery"


class Gallery:
    """The application, served on a free port inside the ``with`` block.

    Args:
        gateway: The URL of the gateway.
        images: The folder of the gateway's pictures.
    """

    def __init__(self, gateway: str, images: Path) -> None:
        self.app = _module().create_app(
            MASQUERADE_WS_URL=gateway,
            MASQUERADE_WS_INITIAL_RECONNECT_DELAY=0.1,
            MASQUERADE_WS_MAX_RECONNECT_DELAY=0.1,
            IMAGES=str(images),
            KEEP_ALIVE=0.1,
        )
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.port: int = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Gallery:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.disconnect()
        until(lambda: not self.streams())

    def disconnect(self) -> None:
        """End its client, which ends the streams of its pages."""
        if (client := self.app.extensions.get("masquerade_ws.client")) is not None:
            client.disconnect()

    def streams(self) -> list[threading.Thread]:
        """Return the threads that answer requests; those that last are the pages' streams."""
        return [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]


def _module() -> ModuleType:
    name = "flask_gallery_app"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / "app.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]
