"""The pytest plugin, in test runs of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("websockets", reason="the test server needs the extra testing")

import masquerade_ws

pytest_plugins = ["pytester"]

# Without the plugins of others, which take half of the time of such a run.
OTHERS = ("cacheprovider", "hypothesispytest", "randomly", "valkey", "xdist")
PLAIN = ("-W", "error", *(word for name in OTHERS for word in ("-p", f"no:{name}")))

RECIPE = """
def test_a_job_survives_a_lost_connection(masquerade_server, masquerade_client):
    masquerade_server.script([
        ("image.generation.started", {"job_id": "1", "user_id": "7"}),
        masquerade_server.drop,
        lambda: masquerade_server.wait_for_connections(1),
        ("image.generation.completed", {"job_id": "1", "image_url": "https://images.example/1"}),
    ], on="image.generate")

    def start():
        masquerade_client.emit("image.generate", {"prompt": "a harbour", "seed": 7})
        return "1"

    image = masquerade_client.run_image_job(start, timeout=20)

    assert image.payload["image_url"] == "https://images.example/1"
    masquerade_server.assert_sent("image.generate", {"prompt": "a harbour"})
"""

LIBRARY = f"{Path(masquerade_ws.__file__).parent}*.py:*"

COUNT_THREADS = """
import threading

def pytest_unconfigure():
    print("left:", [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()])
"""


def test_the_fixtures_play_a_job_through_a_lost_connection(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(COUNT_THREADS)
    pytester.makepyfile(RECIPE)

    result = pytester.runpytest_subprocess(*PLAIN)

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*1 passed in*", "left: []"])
    assert result.stderr.str() == ""


def test_a_failed_assertion_compares_field_by_field_and_shows_the_test_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_it(masquerade_server, masquerade_client):
            masquerade_client.emit("image.generate", {"prompt": "a harbour", "size": {"width": 256}, "seed": 7})
            masquerade_client.emit("image.generate", {})
            wanted = {"prompt": "a harbour at dawn", "size": {"width": 256, "height": 512}, "style": "oil"}
            masquerade_server.expect("image.generate")
            masquerade_server.expect("image.generate")
            masquerade_server.assert_sent("image.generate", wanted, timeout=0)
    """)

    result = pytester.runpytest_subprocess(*PLAIN)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">       masquerade_server.assert_sent(*",
            "E       masquerade_ws.testing.ExpectationError: no 'image.generate' event with this *closest of 2:",
            "E         prompt: expected 'a harbour at dawn', sent 'a harbour'",
            "E         size.height: expected 512, not sent",
            "E         style: expected 'oil', not sent",
            "E         size.width: 256, as expected",
            "E         also sent: seed",
        ],
        consecutive=False,
    )
    result.stdout.no_fnmatch_line("*record.py*")
    result.stdout.no_fnmatch_line("*server.py*")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("expect('job', timeout=0)", "no 'job' event within 0 s; *"),
        ("assert_sent('job', timeout=0)", "no 'job' event within 0 s; *"),
        ("wait_for_connections(2, timeout=0)", "1 clients are connected after 0 s, not 2"),
    ],
)
def test_what_fails_is_the_line_of_the_test(pytester: pytest.Pytester, call: str, message: str) -> None:
    pytester.makepyfile(f"""
        def test_it(masquerade_server, masquerade_client):
            masquerade_server.{call}
    """)

    result = pytester.runpytest_inprocess(*PLAIN)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f">       masquerade_server.{call}", f"E       *ExpectationError: {message}"])
    result.stdout.no_fnmatch_line("*server.py*")


@pytest.mark.parametrize(
    "call", ["wait_for('job', timeout=0)", "run_image_job(lambda: 'job-1', timeout=0)", "events('job').get(timeout=0)"]
)
def test_what_fails_in_the_library_is_shown_at_the_line_of_the_test(pytester: pytest.Pytester, call: str) -> None:
    pytester.makepyfile(f"""
        def test_it(masquerade_server, masquerade_client):
            masquerade_client.{call}
    """)

    short = pytester.runpytest_inprocess(*PLAIN)
    full = pytester.runpytest_inprocess(*PLAIN, "--full-trace")

    short.assert_outcomes(failed=1)
    short.stdout.fnmatch_lines(
        [f">       masquerade_client.{call}", "E       masquerade_ws.errors.WaitTimeoutError: *"]
    )
    short.stdout.no_fnmatch_line(LIBRARY)
    full.stdout.fnmatch_lines([LIBRARY])


def test_an_error_of_the_library_alone_is_shown_as_it_is(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest
        from masquerade_ws import ParseError

        def test_it():
            raise ParseError("one", "two")

        def test_another():
            raise LookupError
    """)

    result = pytester.runpytest_inprocess(*PLAIN)

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(['>       raise ParseError("one", "two")', ">       raise LookupError"])


LISTENER = """
    kept = []

    def fail(event):
        raise LookupError(f"no {event.payload['what']}")

    def test_it(masquerade_server, masquerade_client):
        masquerade_client.on("job", fail)
        %s
        masquerade_server.emit("job", {"what": "plot"})
        masquerade_client.emit("answer")
        masquerade_server.expect("answer")
"""


def test_a_listener_that_raises_unheard_fails_the_test_at_its_end(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(LISTENER % 'masquerade_client.on("disconnected", lambda event: event.nonsense)')

    result = pytester.runpytest_inprocess(*PLAIN, "--show-capture=no")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "a listener raised, and nothing listened to errors:",
            "Traceback (most recent call last):",
            "  File *test_a_listener_that_raises_unheard*line 4, in fail",
            "LookupError: no plot",
            "Traceback (most recent call last):",
            "AttributeError: *nonsense*",
        ]
    )
    result.stdout.no_fnmatch_line("*dispatcher.py*")


@pytest.mark.parametrize(
    "listen",
    ['masquerade_client.on("error", lambda event: None)', 'kept.append(masquerade_client.events("error"))'],
)
def test_a_listener_that_raises_fails_no_test_that_listens_to_errors(pytester: pytest.Pytester, listen: str) -> None:
    pytester.makepyfile(LISTENER % listen)

    pytester.runpytest_inprocess(*PLAIN).assert_outcomes(passed=1)


def test_errors_that_are_no_listeners_fail_no_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_it(masquerade_server, masquerade_client):
            masquerade_server.broadcast_raw("garbage")
            with masquerade_client.events("connected") as connections:
                masquerade_server.drop()
                connections.get(timeout=20)
    """)

    pytester.runpytest_inprocess(*PLAIN).assert_outcomes(passed=1)


def test_what_a_listener_raises_is_shown_with_its_causes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        class Odd(BaseException):
            pass

        def fail(event):
            try:
                raise KeyError("first")
            except KeyError as error:
                raise Odd("second") from error

        def test_it(masquerade_server, masquerade_client):
            masquerade_client.on("job", fail)
            masquerade_server.emit("job")
    """)

    result = pytester.runpytest_inprocess(*PLAIN)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*KeyError: 'first'", "*Odd: second"])


def test_nothing_is_left_of_one_test_in_the_next(pytester: pytest.Pytester) -> None:
    test = """
        def test_{name}(masquerade_server, masquerade_client):
            assert masquerade_server.tokens == ["token"]
            assert masquerade_server.received == []
            masquerade_client.emit("job")
            masquerade_server.assert_sent("job")
            masquerade_server.refuse(503, times=5)
            masquerade_server.script([("never", {{}})], on="never")
            masquerade_server.script([60])
            masquerade_server.freeze()
    """
    pytester.makeconftest(COUNT_THREADS)
    pytester.makepyfile("\n".join(textwrap.dedent(test.format(name=name)) for name in ("one", "two")))

    result = pytester.runpytest_subprocess(*PLAIN)

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["left: []"])


def test_it_costs_nothing_where_it_is_not_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys, threading

        def test_it():
            assert not [name for name in sys.modules if name.startswith("websockets")]
            assert "masquerade_ws.testing.server" not in sys.modules
            assert threading.enumerate() == [threading.main_thread()]
    """)

    pytester.runpytest_subprocess(*PLAIN).assert_outcomes(passed=1)


def test_it_can_be_turned_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(RECIPE)

    result = pytester.runpytest_subprocess(*PLAIN, "-p", "no:masquerade_ws")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'masquerade_server' not found"])


def test_without_the_extra_only_its_own_tests_fail_and_name_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.mkpydir("websockets").joinpath("__init__.py").write_text("raise ImportError('not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    pytester.makepyfile(RECIPE + "\n\ndef test_another():\n    pass\n")

    result = pytester.runpytest_subprocess(*PLAIN)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ImportError: masquerade_ws.testing needs*pip install 'masquerade-ws[[]testing]'"])


def test_it_works_in_parallel(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    pytester.makepyfile(
        "import pytest\n\n@pytest.mark.parametrize('number', range(8))\n"
        + RECIPE.strip().replace("(masquerade_server,", "(number, masquerade_server,")
    )

    result = pytester.runpytest_subprocess(*PLAIN[:-2], "-n", "2")  # with xdist

    result.assert_outcomes(passed=8)


def test_a_step_that_raises_is_reported_by_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_it(masquerade_server, masquerade_client):
            def fail():
                raise LookupError("lost the plot")

            masquerade_server.script([fail])
    """)

    result = pytester.runpytest_subprocess(*PLAIN[2:])

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*Exception in thread masquerade-ws-testing-script*", "*LookupError: lost the plot"])


UNITTEST = """
import unittest
from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer


class ImageTest(unittest.TestCase):
    def setUp(self):
        self.server = EventServer()
        self.server.start()
        self.addCleanup(self.server.stop)
        self.client = WebSocketClient(self.server.url, lambda: "token")
        self.client.connect()
        self.addCleanup(self.client.disconnect)

    def test_an_event_is_sent(self):
        self.client.emit("job", {"number": 1})
        self.server.assert_sent("job", {"number": 1})

    def test_an_assertion_fails(self):
        self.client.emit("job", {"number": 1})
        self.server.expect("job")
        self.server.assert_sent("job", {"number": 2}, timeout=0)


@unittest.skipUnless(hasattr(unittest.TestCase, "enterContext"), "new in Python 3.11")
class ContextTest(unittest.TestCase):
    def test_contexts_are_entered(self):
        server = self.enterContext(EventServer())
        self.enterContext(WebSocketClient(server.url, lambda: "token"))
        self.assertEqual(server.connections, 1)
"""


def test_unittest_counts_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_images.py").write_text(UNITTEST)

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest", "test_images"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "Ran 3 tests" in done.stderr
    assert "FAILED (failures=1" in done.stderr
    assert "  number: expected 2, sent 1\n" in done.stderr


def test_test_cases_of_unittest_run_under_pytest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNITTEST)

    result = pytester.runpytest_subprocess(*PLAIN, "-k", "not fails")

    assert result.ret == 0
    result.stdout.no_fnmatch_line("*warning*")
