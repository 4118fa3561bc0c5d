from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from masquerade_ws.log import logger, show_debug
from tests.support import processes
from tests.support.processes import Finished


@pytest.fixture
def untouched_logger() -> Iterator[None]:
    """Give the logger back as it was."""
    before = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(before[0])
    logger.propagate = before[1]
    logger.handlers[:] = before[2]


def run(script: str) -> Finished:
    """Run a script in a process whose logging nobody has configured yet."""
    finished = processes.run(f"import logging\nfrom masquerade_ws.log import logger, show_debug\n{script}", "no URL")
    assert finished.status == 0, finished
    return finished


def test_records_are_shown_on_stderr_with_level_name_and_thread() -> None:
    done = run("show_debug(); logger.debug('hello %s', 'world'); logger.warning('oh')")
    first, second = done.errors.splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"
    assert re.fullmatch(rf"{stamp} DEBUG masquerade_ws \[MainThread\] hello world", first)
    assert re.fullmatch(rf"{stamp} WARNING masquerade_ws \[MainThread\] oh", second)
    assert done.output == ""


def test_asking_twice_shows_each_record_once() -> None:
    done = run("show_debug(); show_debug(); logger.debug('hello')")
    assert len(done.errors.splitlines()) == 1


def test_without_asking_debug_records_are_silent_and_warnings_are_not() -> None:
    done = run("logger.debug('hello'); logger.info('hello'); logger.warning('oh')")
    assert done.errors == "oh\n"


@pytest.mark.parametrize("name", ["", "masquerade_ws"])
def test_logging_that_is_configured_already_stays_as_it_is(name: str) -> None:
    done = run(f"""
mine = logging.StreamHandler(sys.stdout)
logging.getLogger({name!r}).addHandler(mine)
show_debug()
logger.debug('hello')
logger.warning('oh')
assert logger.level == logging.NOTSET
assert logging.getLogger({name!r}).handlers == [mine]
""")
    assert (done.errors, done.output) == ("", "oh\n")


def test_the_root_logger_and_other_loggers_are_not_touched() -> None:
    done = run("""
root = logging.getLogger()
before = root.level, list(root.handlers), list(root.filters), root.disabled
show_debug()
assert (root.level, root.handlers, root.filters, root.disabled) == before
logging.getLogger('other').info('hidden')
""")
    assert done.errors == ""


def test_a_client_with_debug_shows_its_records() -> None:
    done = run("""
from masquerade_ws import WebSocketClient
WebSocketClient('ws://localhost/ws', str, debug=True)
logger.debug('hello')
""")
    assert done.errors.endswith("hello\n")


def test_a_client_without_debug_leaves_the_logger_alone() -> None:
    done = run("""
from masquerade_ws import WebSocketClient
WebSocketClient('ws://localhost/ws', str)
assert (logger.handlers, logger.level) == ([], logging.NOTSET)
logger.debug('hello')
""")
    assert done.errors == ""


@pytest.mark.usefixtures("untouched_logger")
def test_a_logger_without_any_handler_gets_one() -> None:
    logger.propagate = False
    logger.handlers.clear()
    show_debug()
    (handler,) = logger.handlers
    assert isinstance(handler, logging.StreamHandler)
    assert logger.level == logging.DEBUG


@pytest.mark.usefixtures("untouched_logger")
def test_a_logger_with_a_handler_keeps_it_alone() -> None:
    mine = logging.NullHandler()
    logger.handlers[:] = [mine]
    show_debug()
    assert logger.handlers == [mine]


@pytest.mark.parametrize("place", ["addHandler", "addFilter"])
def test_a_handler_or_a_filter_that_raises_is_reported_on_stderr_and_disturbs_nothing(place: str) -> None:
    done = run(f"""
class Broken(logging.Handler):
    def emit(self, record):
        raise KeyError('broken')

    filter = emit

logger.{place}(Broken())
logger.warning('oh')
print('unharmed')
""")
    assert done.output == "unharmed\n"
    assert "KeyError: 'broken'" in done.errors
    assert "Message: 'oh'" in done.errors


def test_a_handler_that_raises_is_not_reported_where_logging_is_told_not_to() -> None:
    done = run("""
class Broken(logging.Handler):
    def emit(self, record):
        raise KeyError('broken')

logging.raiseExceptions = False
logger.addHandler(Broken())
logger.warning('oh')
""")
    assert done.errors == ""


@pytest.mark.parametrize("exit", [SystemExit, KeyboardInterrupt])
@pytest.mark.usefixtures("untouched_logger")
def test_a_handler_may_end_the_program(exit: type[BaseException]) -> None:
    class Leaving(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise exit

    logger.addHandler(Leaving())
    with pytest.raises(exit):
        logger.warning("oh")
