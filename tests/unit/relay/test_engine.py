"""Connections to the engine, against real ones."""

from __future__ import annotations

import os
import socket
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from masquerade_ws.relay.engine import Engine, EngineLost, EngineRefusal, EngineUrl
from masquerade_ws.relay.keys import Keys
from tests.support.engines import EngineServer, free_port
from tests.support.raw_server import until

SECRET = "s3cr#t/pass@word"
QUOTED = "s3cr%23t%2Fpass%40word"


@contextmanager
def connected(url: str, namespace: str = "default", reply_timeout: float | None = 30.0) -> Iterator[Engine]:
    engine = Engine(EngineUrl.parse(url), Keys(namespace), reply_timeout=reply_timeout)
    engine.connect(30.0)
    try:
        yield engine
    finally:
        engine.close()


# The URL


def test_a_url_has_its_parts() -> None:
    url = EngineUrl.parse(f"redis://worker:{QUOTED}@[::1]:7000/3")
    assert (url.host, url.port, url.db, url.username, url.password) == ("::1", 7000, 3, "worker", SECRET)
    assert str(url) == "redis://[::1]:7000/3"


def test_port_and_database_have_defaults() -> None:
    url = EngineUrl.parse("rediss://engine?ssl_ca_certs=/etc/ca.pem")
    assert (url.port, url.db, url.ca_certs) == (6379, 0, "/etc/ca.pem")
    assert url.name == "rediss://engine:6379/0"


def test_the_database_may_stand_in_the_query() -> None:
    assert EngineUrl.parse("unix:///run/engine.sock?db=2").db == 2
    assert EngineUrl.parse("redis://engine?db=4").db == 4
    assert EngineUrl.parse("unix://u:p@/run/a%20b.sock").name == "unix:///run/a b.sock"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://engine", "begin with redis://, rediss:// or unix://"),
        ("engine:6379", "begin with"),
        ("redis://", "no host"),
        ("redis://engine:port", "a host or a port that is not one"),
        ("redis://[::1", "a host or a port that is not one"),
        ("redis://engine/zero", "a database that is not a number"),
        ("redis://engine/-1", "a database that is not a number"),
        ("redis://engine/9999999999", "a database that is not a number"),
        ("redis://engine?protocol=3", "no query but db with redis://"),
        ("redis://engine?ssl_ca_certs=a", "no query but db with redis://"),
        ("rediss://engine?ssl_cert_reqs=none", "no query but db and ssl_ca_certs with rediss://"),
        ("redis://:pass#word@engine", "a fragment"),
        ("redis://engine\n", "a control character"),
        ("unix://", "no path of a socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match="url of the engine") as caught:
        EngineUrl.parse(url)
    assert problem in str(caught.value)


def test_a_url_that_is_not_a_text_is_refused() -> None:
    with pytest.raises(TypeError, match="url must be a str, not bytes"):
        EngineUrl.parse(b"redis://engine")


def test_a_system_without_unix_sockets_refuses_their_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match="this system has no such sockets"):
        EngineUrl.parse("unix:///run/engine.sock")


@pytest.mark.parametrize("url", [f"http://:{QUOTED}@engine", f"redis://:{QUOTED}@engine:port", f"redis://e?p={QUOTED}"])
def test_a_refused_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="url of the engine") as caught:
        EngineUrl.parse(url)
    assert "s3cr" not in "".join(traceback.format_exception(caught.value))


# Calls


def test_a_call_returns_the_raw_reply(engine_server: EngineServer, namespace: str) -> None:
    with connected(engine_server.url, namespace) as engine:
        assert engine.call("XADD", Keys(namespace).ev, "5-0", b"b", b"\xff") == b"5-0"
        assert engine.call("XRANGE", Keys(namespace).ev, "-", "+") == [[b"5-0", [b"b", b"\xff"]]]
        assert engine.call("GET", Keys(namespace).leader) is None


def test_an_error_reply_has_its_code_and_names_the_engine(engine_server: EngineServer, namespace: str) -> None:
    with connected(engine_server.url, namespace) as engine:
        engine.call("XADD", Keys(namespace).ev, "5-1", "b", "1")
        with pytest.raises(EngineRefusal, match=r"refused XADD: ERR The ID specified") as caught:
            engine.call("XADD", Keys(namespace).ev, "5-0", "b", "1")
        assert caught.value.code == "ERR"
        assert engine_server.url in str(caught.value)
        assert engine.call("XLEN", Keys(namespace).ev) == 1


def test_commands_in_one_go_fail_one_by_one(engine_server: EngineServer, namespace: str) -> None:
    key = Keys(namespace).leader
    with connected(engine_server.url, namespace) as engine:
        done, refused, value = engine.pipeline([("SET", key, "1"), ("XLEN", key), ("GET", key)])
    assert (done, value) == (b"OK", b"1")
    assert isinstance(refused, EngineRefusal)
    assert refused.code == "WRONGTYPE"


def test_a_transaction_returns_the_replies_and_the_refusals(engine_server: EngineServer, namespace: str) -> None:
    key = Keys(namespace).leader
    with connected(engine_server.url, namespace) as engine:
        result = engine.transaction([("SET", key, "1"), ("XLEN", key)])
    assert result is not None
    assert result[0] == b"OK"
    assert isinstance(result[1], EngineRefusal)
    assert result[1].code == "WRONGTYPE"


def test_a_transaction_whose_command_is_not_queued_is_not_run(engine_server: EngineServer, namespace: str) -> None:
    key = Keys(namespace).leader
    with connected(engine_server.url, namespace) as engine:
        with pytest.raises(EngineRefusal, match="refused XLEN: ERR wrong number of arguments"):
            engine.transaction([("SET", key, "1"), ("XLEN",)])
        assert engine.call("GET", key) is None


def test_a_transaction_after_a_change_of_what_it_watches_is_none(engine_server: EngineServer, namespace: str) -> None:
    key = Keys(namespace).leader
    with connected(engine_server.url, namespace) as engine:
        engine.call("WATCH", key)
        engine_server.run("SET", key, "other")
        assert engine.transaction([("SET", key, "1")]) is None


def test_the_time_is_the_engines(engine_server: EngineServer) -> None:
    with connected(engine_server.url) as engine:
        seconds, _ = engine_server.run("TIME")
        assert 0 <= engine.time_ms() - int(seconds) * 1000 < 60_000


def test_there_is_no_call_before_connect_and_after_close(engine_server: EngineServer) -> None:
    engine = Engine(EngineUrl.parse(engine_server.url), Keys("default"), reply_timeout=None)
    for _ in range(2):
        with pytest.raises(EngineLost, match="there is no connection to the engine unix://"):
            engine.call("TIME")
        engine.close()


# Ways in


def test_tls_is_checked_with_the_authority_given(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    port = free_port()
    options = (
        *("--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(tmp_path / "ca.pem")),
        *("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem")),
    )
    with EngineServer(*options):
        with connected(f"rediss://localhost:{port}?ssl_ca_certs={tmp_path / 'ca.pem'}") as engine:
            assert engine.time_ms() > 0
            cut_from_outside(engine)
        for query in (f"?ssl_ca_certs={tmp_path / 'other.pem'}", "", f"?ssl_ca_certs={tmp_path / 'none.pem'}"):
            with pytest.raises(EngineLost, match=r"certificate verify failed|No such file"):
                Engine(EngineUrl.parse(f"rediss://localhost:{port}{query}"), Keys("a"), reply_timeout=None).connect(30)
        with pytest.raises(EngineLost, match=r"did not answer in time|cannot be reached"):  # TLS spoken to in plain
            Engine(EngineUrl.parse(f"redis://localhost:{port}"), Keys("a"), reply_timeout=None).connect(1)


def test_a_user_gets_in_with_the_password(engine_server: EngineServer, namespace: str) -> None:
    engine_server.run("ACL", "SETUSER", namespace, "on", f">{SECRET}", "~*", "+@all")
    try:
        with connected(f"unix://{namespace}:{QUOTED}@{engine_server.path}?db=1") as engine:
            assert engine.call("ACL", "WHOAMI") == namespace.encode()
            assert SECRET not in repr(engine) + repr(vars(engine)["_url"])
    finally:
        engine_server.run("ACL", "DELUSER", namespace)


def test_a_wrong_password_is_a_refusal_that_does_not_show_it(engine_server: EngineServer) -> None:
    url = EngineUrl.parse(f"unix://nobody:{QUOTED}@{engine_server.path}")
    with pytest.raises(EngineRefusal, match=r"WRONGPASS .*; check the user name and the password") as caught:
        Engine(url, Keys("default"), reply_timeout=None).connect(30)
    assert "s3cr" not in "".join(traceback.format_exception(caught.value)) + repr(url) + str(url)


def test_a_missing_password_is_a_refusal_that_says_so() -> None:
    with (
        EngineServer("--requirepass", SECRET) as server,
        pytest.raises(EngineRefusal, match=r"NOAUTH .*; give a user name and a password in the URL"),
    ):
        Engine(EngineUrl.parse(server.url), Keys("default"), reply_timeout=None).connect(30)


def test_a_user_without_the_rules_is_told_so(engine_server: EngineServer, namespace: str) -> None:
    engine_server.run("ACL", "SETUSER", namespace, "on", "nopass", "~mws:{other}:*", "+@all")
    try:
        with pytest.raises(EngineRefusal, match=r"NOPERM .*; give its user the rules") as caught:
            Engine(
                EngineUrl.parse(f"unix://{namespace}:x@{engine_server.path}"), Keys("a"), reply_timeout=None
            ).connect(30)
        assert caught.value.code == "NOPERM"
    finally:
        engine_server.run("ACL", "DELUSER", namespace)


def test_a_database_that_is_not_there_is_a_refusal(engine_server: EngineServer) -> None:
    with pytest.raises(EngineRefusal, match="refused connecting: ERR DB index is out of range"):
        Engine(EngineUrl.parse(f"{engine_server.url}?db=99"), Keys("a"), reply_timeout=None).connect(30)


def test_an_engine_that_is_not_there_is_named(tmp_path: Path) -> None:
    for url in (f"redis://127.0.0.1:{free_port()}/0", f"unix://{tmp_path}/none.sock"):
        with pytest.raises(
            EngineLost, match=r"cannot be reached \(connecting\): (Connection refused|No such file)"
        ) as caught:
            Engine(EngineUrl.parse(url), Keys("a"), reply_timeout=None).connect(30)
        assert url in str(caught.value)


def test_an_engine_that_hangs_fails_an_attempt_in_time() -> None:
    with EngineServer() as server:
        server.suspend()
        with pytest.raises(EngineLost, match=r"did not answer in time \(connecting\)"):
            Engine(EngineUrl.parse(server.url), Keys("a"), reply_timeout=None).connect(0.2)


def test_an_answer_that_does_not_come_is_a_loss() -> None:
    with EngineServer() as server, connected(server.url, reply_timeout=0.2) as engine:
        server.suspend()
        with pytest.raises(EngineLost, match=r"did not answer in time \(TIME\)"):
            engine.call("TIME")
        server.resume()
        with pytest.raises(EngineLost, match="cannot be reached"):
            engine.call("TIME")


def test_an_engine_that_loads_its_data_is_a_refusal() -> None:
    with EngineServer() as server:
        server.run("MSET", *(word for n in range(500) for word in (f"key{n}", os.urandom(2000))))
        server.run("SAVE")
        server.kill()
        server.start("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
        with pytest.raises(EngineRefusal, match=r"LOADING .*; it is still loading its data") as caught:
            Engine(EngineUrl.parse(server.url), Keys("a"), reply_timeout=None).connect(30)
        assert caught.value.code == "LOADING"


def test_a_node_of_a_cluster_names_another_one_which_is_followed_once() -> None:
    ports = free_port(), free_port()
    cluster = ("--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
    with (
        EngineServer("--port", str(ports[0]), *cluster) as first,
        EngineServer("--port", str(ports[1]), *cluster) as second,
    ):
        first.run("CLUSTER", "ADDSLOTS", *range(16384))
        first.run("CLUSTER", "MEET", "127.0.0.1", ports[1])
        until(lambda: b"cluster_state:ok" in second.run("CLUSTER", "INFO"))
        with connected(f"redis://127.0.0.1:{ports[1]}", "far") as engine:
            assert engine.call("SET", Keys("far").leader, "1") == b"OK"
        assert first.run("GET", Keys("far").leader) == b"1"


# Ends


def cut_from_outside(engine: Engine) -> None:
    """Shut a connection down while a call blocks in it."""
    raised: list[BaseException] = []

    def block() -> None:
        try:
            engine.call("XREAD", "BLOCK", 0, "STREAMS", Keys("never").ev, "$")
        except EngineLost as error:
            raised.append(error)

    thread = threading.Thread(target=block)
    thread.start()
    thread.join(0.05)
    engine.shutdown()
    thread.join(30)
    assert "cannot be reached (XREAD)" in str(raised[0])


def test_another_thread_ends_a_call_that_blocks(engine_server: EngineServer) -> None:
    with connected(engine_server.url, reply_timeout=None) as engine:
        cut_from_outside(engine)
        engine.shutdown()  # again, which changes nothing


def test_another_thread_ends_an_attempt() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(3)]  # so that the next connect waits
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        engine = Engine(EngineUrl.parse(f"redis://127.0.0.1:{silent.getsockname()[1]}"), Keys("a"), reply_timeout=None)
        threading.Timer(0.1, engine.shutdown).start()
        with pytest.raises(EngineLost, match=r"given up|cannot be reached"):
            engine.connect(None)
        for filler in fillers:
            filler.close()


def test_a_connection_that_was_given_up_before_does_not_connect(engine_server: EngineServer) -> None:
    engine = Engine(EngineUrl.parse(engine_server.url), Keys("a"), reply_timeout=None)
    engine.shutdown()
    with pytest.raises(EngineLost, match="was given up"):
        engine.connect(30)


def test_the_end_of_the_engine_is_a_loss() -> None:
    with EngineServer() as server, connected(server.url) as engine:
        server.kill()
        with pytest.raises(EngineLost, match="cannot be reached"):
            engine.call("TIME")


def test_a_forked_child_closes_the_descriptor_alone(engine_server: EngineServer) -> None:
    with connected(engine_server.url) as engine:
        child = os.fork()
        if not child:
            engine.after_fork()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert engine.time_ms() > 0


def test_after_a_fork_there_is_no_connection(engine_server: EngineServer) -> None:
    with connected(engine_server.url) as engine:
        engine.after_fork()
        engine.after_fork()  # again, which changes nothing
        with pytest.raises(EngineLost, match="there is no connection"):
            engine.call("TIME")
