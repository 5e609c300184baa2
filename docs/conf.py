"""Sphinx's configuration of the documentation site; `docs/site.py` makes the pages and runs it."""

import re

import tinygrad_gpt

project = "tinygrad_gpt"
version = release = tinygrad_gpt.__version__
copyright = "the authors of tinygrad_gpt"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
default_role = "code"  # docstrings mark code by single backticks

html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_show_search_summary = False  # it reads other pages, which a browser forbids on a disk

myst_heading_anchors = 6  # a link may name any heading
myst_enable_extensions: list[str] = []
suppress_warnings = ["docutils", "ref.python"]  # docstrings are plain text, not reStructuredText

autodoc_default_options = {"members": True, "undoc-members": False, "member-order": "bysource"}
autodoc_typehints = "signature"
napoleon_use_rtype = False
napoleon_use_ivar = True
toc_object_entries = False  # the tree beside each page names pages; resolving each object too takes a minute


def plain_text(app, what, name, obj, options, lines):
    """Show no reStructuredText in what is plain text.

    Of several arguments in one line napoleon takes all but the last as types, if there are spaces.
    """
    lines[:] = [re.sub(r"^ +(?:\w+, )+\w+: ", lambda names: names[0].replace(", ", ",") + " ", line) for line in lines]
    lines[:] = [line if line.startswith("   ") else re.sub(r"(?<![\w`])([*|]+)(?=\w)", r"\\\1", line)
                for line in lines]


def setup(app):
    """Connect to autodoc."""
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon
