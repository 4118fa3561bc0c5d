"""The tasks of a developer: ``nox --list`` names them, ``nox`` alone runs the quick ones, and ``.ci/run`` runs all.

A task works in the environment that nox runs in, that of ``pip install -e '.[dev-all]'``. Those that need another
Python, or other packages, make one under ``.nox``. What stands after ``--`` goes to the tool of the task.
"""

from __future__ import annotations

import configparser
import re
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "tests"]

# Parts of the tests that take about as long, side by side. The slow ones cover nothing that the others do not.
PARTS = {
    "unit": ["tests/unit", "tests/testing", "tests/contrib", "tests/test_layout.py"],
    "scenarios": ["tests/scenarios"],
    "pages": ["tests/cli", "tests/docs", "tests/examples", "tests/relay"],
}


def python(session: nox.Session, *arguments: str) -> None:
    """Run the Python of this environment, whatever the shell would find."""
    session.run(sys.executable, *arguments)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and for what is not formatted."""
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy and with pyright."""
    python(session, "-m", "mypy", "--strict", "masquerade_ws", "tests/typing")
    python(session, "-m", "pyright", "--pythonpath", sys.executable)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, without the slow ones."""
    python(session, "-m", "pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """Run the slow tests; most of them wait."""
    python(session, "-m", "pytest", "-q", "-rs", "-m", "slow", "-n", "6", "--dist", "worksteal", *session.posargs)


@nox.session(tags=["coverage"])
@nox.parametrize("part", [nox.param(part, id=part) for part in PARTS])
def measure(session: nox.Session, part: str) -> None:
    """Run a part of the tests, in random order, and measure what they cover."""
    pytest = ["pytest", "-q", "-rs", "-p", "randomly", *PARTS[part], *session.posargs]
    python(session, "-m", "coverage", "run", "--parallel-mode", "-m", *pytest)


@nox.session(tags=["coverage"])
def coverage(session: nox.Session) -> None:
    """Report what was measured; ``nox -t coverage`` measures first."""
    python(session, "-m", "coverage", "combine", "-q")
    python(session, "-m", "coverage", "report", "--fail-under=100")


@nox.session
@nox.parametrize("target", [nox.param(target, id=target) for target in ("frames", "codec", "fronts")])
def fuzz(session: nox.Session, target: str) -> None:
    """Feed a parser, for a minute, with what is made of the samples in ``tests/fuzz/corpus``."""
    found = session.create_tmp()
    samples = f"tests/fuzz/corpus/{target}"
    python(session, f"tests/fuzz/fuzz_{target}.py", "-max_total_time=60", *session.posargs, found, samples)


@nox.session
def soak(session: nox.Session) -> None:
    """Let many clients meet faults for two minutes, or as ``-- --minutes N --seed N`` says."""
    python(session, "-m", "tests.soak", *(session.posargs or ["--minutes", "2", "--seed", "1"]))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into ``docs/_build/html``, and run the examples in docstrings."""
    python(session, "-m", "sphinx", "-q", "-W", "-b", "html", "docs", "docs/_build/html")
    python(session, "-m", "sphinx", "-q", "-W", "-b", "doctest", "docs", "docs/_build/doctest")


@nox.session
def dist(session: nox.Session) -> None:
    """Build the distribution, check it, install the wheel into an empty environment, and run the demo there."""
    folder = Path(session.create_tmp()).resolve()
    python(session, "-m", "build", "-q", "--outdir", str(folder / "dist"))
    python(session, "-m", "twine", "check", "--strict", *map(str, (folder / "dist").iterdir()))
    python(session, "-m", "venv", "--clear", str(folder / "venv"))
    scripts = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    (wheel,) = (folder / "dist").glob("*.whl")
    session.run(str(scripts / "pip"), "install", "-q", f"{wheel}[demo]")
    with session.chdir(folder):
        session.run(str(scripts / "masquerade-ws"), "demo")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Measure the speed, beside that of other clients."""
    python(session, "-m", "benchmarks", *session.posargs)
    python(session, "-m", "benchmarks.relay", *session.posargs)


@nox.session(name="tests-on", python=["3.10", "3.12", "3.13"], venv_backend="venv")
def tests_on(session: nox.Session) -> None:
    """Run the tests on another Python."""
    session.install("-q", "--no-compile", "-e", ".[dev]")
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session(python="3.10", venv_backend="venv")
def oldest(session: nox.Session) -> None:
    """Run the tests of commands, frameworks, relays, slow ones too, with the oldest packages that the extras allow."""
    setup = configparser.ConfigParser()
    setup.read("setup.cfg", encoding="utf-8")
    extras = "\n".join(
        setup["options.extras_require"][name]
        for name in ("cli", "django", "flask", "opentelemetry", "prometheus", "relay")
    )
    session.install("-q", "--no-compile", "-e", ".[dev]", "pyuwsgi", *re.sub(">=", "==", extras).split())
    folders = ("tests/cli", "tests/contrib", "tests/examples", "tests/relay", "tests/unit/relay")
    # Needs playwright, and tests the page in a browser, to which Flask's version makes no difference.
    left_out = "--ignore=tests/examples/test_flask_gallery_in_chromium.py"
    options = ["-q", "-rs", "-m", "", "-n", "2", "--dist", "worksteal", left_out]
    session.run("python", "-m", "pytest", *options, *folders, *session.posargs)
