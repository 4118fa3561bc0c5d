"""A page where a person types a prompt, watches the picture being painted, and sees the result.

::

    masquerade-ws serve                     # the gateway, in a terminal of its own
    python examples/flask_gallery/app.py    # started in the same folder; the page is http://localhost:5000

Each visible page occupies a thread of the web server, so give a production server enough threads, and name its host::

    export FLASK_TRUSTED_HOSTS='["gallery.example"]'
    gunicorn --pythonpath examples/flask_gallery --threads 100 --graceful-timeout 5 'app:create_app()'

The server keeps no record of jobs. The id of a job begins with that of its page, so any process knows which events
belong to which page, and a page that may have missed events asks for the latest one.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname, urlopen

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    render_template,
    request,
    send_from_directory,
    stream_with_context,
)
from flask.typing import ResponseReturnValue

from masquerade_ws import DisconnectedError, ErrorEvent, Event, EventsDroppedError, EventStream, WaitTimeoutError
from masquerade_ws.contrib.flask import MasqueradeWS

MAX_PROMPT = 300  # characters
MAX_ANSWER = 2**20  # bytes of the answer of the gateway about a job
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"  # for a picture opened by itself
JOB_EVENTS = tuple(f"image.generation.{kind}" for kind in ("started", "progress", "completed", "failed"))

masquerade = MasqueradeWS()
gallery = Blueprint("gallery", __name__)


def get_token() -> str:
    return os.environ.get("MASQUERADE_TOKEN", "my-token")


@masquerade.on("error")
def log_error(event: ErrorEvent) -> None:
    current_app.logger.warning("%s: %s", event.context, event.error)


def create_app(**settings: object) -> Flask:
    """Make the application; ``FLASK_IMAGES`` and the like in the environment change its settings."""
    app = Flask(__name__)
    app.config.from_mapping(
        MASQUERADE_WS_URL=os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws"),
        MASQUERADE_WS_GET_TOKEN=get_token,
        IMAGES="masquerade-images",  # the folder that the gateway saves pictures in
        KEEP_ALIVE=10,  # seconds; a closed page frees its thread after at most two of these
        MAX_CONTENT_LENGTH=16 * 1024,
        TRUSTED_HOSTS=["localhost", "127.0.0.1"],
    )
    app.config.from_prefixed_env()
    app.config.from_mapping(settings)
    masquerade.init_app(app)
    app.register_blueprint(gallery)
    return app


@gallery.after_app_request
def protect(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"  # no other site can embed the pictures
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@gallery.get("/")
def page() -> str:
    return render_template("gallery.html", page=uuid.uuid4(), max_prompt=MAX_PROMPT)


@gallery.get("/pictures/<name>")
def picture(name: str) -> Response:
    if not name.endswith(".png"):
        abort(404)
    response = send_from_directory(images(), name)
    response.headers["Content-Security-Policy"] = PICTURE_POLICY
    return response


@gallery.put("/jobs/<uuid:page>/<int:number>")
def start(page: uuid.UUID, number: int) -> ResponseReturnValue:
    """Start a job; one that is already running just continues."""
    body = request.get_json()
    prompt = body.get("prompt") if isinstance(body, dict) else None
    if not isinstance(prompt, str) or not 1 <= len(prompt.strip()) <= MAX_PROMPT:
        return {"error": f"a prompt has 1 to {MAX_PROMPT} characters"}, 400
    try:
        masquerade.client.emit("image.generate", {"job_id": f"{page}.{number}", "prompt": prompt.strip()})
    except ConnectionError:
        return {"error": "the gateway cannot be reached"}, 503
    return {}, 202


@gallery.get("/jobs/<uuid:page>/<int:number>")
def latest(page: uuid.UUID, number: int) -> ResponseReturnValue:
    """Ask the gateway for the latest event of a job, for a page that may have missed it."""
    gateway = current_app.config["MASQUERADE_WS_URL"].replace("ws", "http", 1).removesuffix("/ws")
    try:
        with urlopen(f"{gateway}/jobs/{page}.{number}", timeout=5) as response:
            return news(Event(**json.loads(response.read(MAX_ANSWER))))
    except HTTPError as error:
        error.close()
        abort(404 if error.code == 404 else 503)
    except (OSError, HTTPException, RecursionError, TypeError, ValueError):
        abort(503)


@gallery.get("/events/<uuid:page>")
def events(page: uuid.UUID) -> Response:
    """Stream the events of the jobs of a page and the state of the connection until the page is closed."""
    prefix = f"{page}."

    def concerns(event: Any) -> bool:
        return event.type == "state:change" or str(event.payload.get("job_id")).startswith(prefix)

    client = masquerade.client
    stream = client.events(*JOB_EVENTS, "state:change", where=concerns)
    messages = stream_with_context(follow(stream, client.state))
    return Response(messages, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})


def follow(stream: EventStream[Any], state: str) -> Iterator[str]:
    """Iterate over the events of the client, on the thread of the web server that serves the page."""
    with stream:
        yield message("state", {"state": state})
        while True:
            try:
                event = stream.get(timeout=current_app.config["KEEP_ALIVE"])
            except WaitTimeoutError:
                yield ":\n\n"  # fails if the page was closed, which frees this thread
            except (DisconnectedError, EventsDroppedError):
                return  # the browser connects again and asks for what it has missed
            else:
                if event.type == "state:change":
                    yield message("state", {"state": event.new_state})
                else:
                    number = event.payload["job_id"].partition(".")[2]
                    yield message("job", {"number": number, **news(event)})


def message(name: str, data: dict[str, Any]) -> str:
    """Return a server-sent event; JSON contains no line breaks that could begin another."""
    return f"retry: 1000\nevent: {name}\ndata: {json.dumps(data)}\n\n"


def news(event: Event) -> dict[str, Any]:
    """Return what the page shows of an event, whose payload may contain anything."""
    payload = event.payload
    match event.type.rpartition(".")[2]:
        case "progress":
            return {"phase": "painting", "progress": percent(payload.get("progress")), "note": text(payload, "stage")}
        case "completed":
            return completed(text(payload, "image_url"))
        case "failed":
            return failed(text(payload, "error") or "no reason given", payload.get("retry_allowed") is True)
        case _:
            return {"phase": "painting", "progress": 0, "note": ""}


def completed(url: str) -> dict[str, Any]:
    source = picture_source(url)
    if source is None:
        current_app.logger.warning("%r is neither https:// nor a picture in %s (FLASK_IMAGES)", url, images())
        return failed(f"this page does not show pictures from {url}", False)
    return {"phase": "done", "image": source, "note": ""}


def failed(reason: str, retry: bool) -> dict[str, Any]:
    return {"phase": "failed", "note": reason, "retry": retry}


def picture_source(url: str) -> str | None:
    """Return where the page loads a picture from: its URL, or this server for one in the folder of the gateway."""
    if url.startswith("https://"):
        return url
    try:
        parts = urlsplit(url)
        path = Path(url2pathname(parts.path))
        is_ours = (parts.scheme, parts.netloc, path.parent, path.suffix) == ("file", "", images(), ".png")
        return f"pictures/{quote(path.name)}" if is_ours else None
    except ValueError:
        return None


def images() -> Path:
    return Path(current_app.config["IMAGES"]).absolute()


def percent(value: object) -> float:
    return max(0, min(value, 100)) if isinstance(value, (int, float)) else 0  # 0 for NaN, too


def text(payload: Mapping[str, Any], name: str) -> str:
    value = payload.get(name)
    return value[:2_000] if isinstance(value, str) else ""


if __name__ == "__main__":
    create_app().run()
