"""The configuration of Sphinx: ``sphinx-build -W docs docs/_build/html``."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from masquerade_ws import __version__
from masquerade_ws.lifecycle.transitions import STATES, TRANSITIONS, Phase, Trigger

project = "masquerade-ws"
author = "the authors of Masquerade"
project_copyright = "the authors of Masquerade"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "figures/table.rst"]  # the table is included by a page
default_role = "py:obj"  # docstrings name the members of their class in single backquotes
highlight_language = "text"
smartquotes_action = "D"  # dashes; quotes stay those of code
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"masquerade_ws\..*T(_co)?"),  # type variables
    ("py:class", r"flask\.app\.Flask"),  # a name that Flask's own pages do not have
]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_ivar = True
doctest_test_doctest_blocks = "default"

# The build asks no network. An inventory holds the few names that these pages mention, in the first version of the
# format, which is plain text: name, kind, page.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", "inventories/python.inv"),
    "django": ("https://docs.djangoproject.com/en/stable", "inventories/django.inv"),
    "flask": ("https://flask.palletsprojects.com/en/stable", "inventories/flask.inv"),
    "opentelemetry": ("https://opentelemetry-python.readthedocs.io/en/latest", "inventories/opentelemetry.inv"),
    "websocket-client": ("https://websocket-client.readthedocs.io/en/latest", "inventories/websocket-client.inv"),
    "websockets": ("https://websockets.readthedocs.io/en/stable", "inventories/websockets.inv"),
}

copybutton_prompt_text = r"\$ |>>> |\.\.\. "  # only the lines after these are copied, without them
copybutton_prompt_is_regexp = True

html_static_path = ["_static"]
html_css_files = ["wrap.css"]
html_theme = "furo"
html_title = f"masquerade-ws {release}"
html_copy_source = False
html_show_sphinx = False


def mark_commands(_app: Any, _context: Any, lines: list[str]) -> None:
    """Mark commands and options in the help of a command as literal, which keeps their dashes as they are."""
    for index, line in enumerate(lines):
        if line.startswith("|   "):
            lines[index] = f"|   ``{line[1:].strip()}``"
        elif ".. " not in line:
            lines[index] = re.sub(r"(?<![\w`-])--[a-z][a-z-]*", r"``\g<0>``", line)


class Transitions(SphinxDirective):
    """``.. transitions::`` shows the table of the life cycle as it is in the code."""

    has_content: ClassVar[bool] = False

    @staticmethod
    def rows() -> list[tuple[str, str, str]]:
        moves = ((shown(before), shown(trigger), shown(after)) for (before, trigger), after in TRANSITIONS.items())
        return [("in the phase", "on the trigger", "to the phase"), *moves]

    def run(self) -> list[nodes.Node]:
        lines = [".. list-table::", "    :header-rows: 1", ""]
        for row in self.rows():
            lines += [f"    {' ' if index else '*'} - {cell}" for index, cell in enumerate(row)]
        return self.parse_text_to_nodes("\n".join(lines))


def shown(member: Phase | Trigger) -> str:
    """Return how a member of an enumeration is shown, a phase with the state that users see."""
    shown_state = f" ({STATES[member]})" if isinstance(member, Phase) and member in STATES else ""
    return f"``{member.name}``{shown_state}"


def setup(app: Any) -> None:
    app.add_directive("transitions", Transitions)
    for part in ("description", "options"):
        app.connect(f"sphinx-click-process-{part}", mark_commands)
