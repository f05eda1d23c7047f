"""How Sphinx builds the site: the manual's pages, and the reference from the docstrings.

`sphinx-build -W -c .ci/site . build/site`, in the repository's root with pystack installed.
"""

from importlib import metadata
from typing import Any

project = "pystack"
release = metadata.version("pystack-lwip")
author = "pystack's authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = ".ci/site/index"
include_patterns = [".ci/site/*.md", "pystack/manual/*.md"]

html_theme = "furo"
html_title = "pystack"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # as GitHub makes them

# A name in single backticks links to its entry, or is code where there is none.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True, "inherited-members": False}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # "Attributes:" describes what autodoc lists as members, too


def whole(_app: Any, kind: str, _name: str, _of: Any, _options: Any, lines: list[str]) -> None:
    """Keeps napoleon from reading "TYPE: text" into the first line of a property's docstring."""
    if kind in ("attribute", "property"):
        lines.insert(0, "")


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", whole, priority=100)  # before napoleon's 500
