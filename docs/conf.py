"""How Sphinx builds the site: `make docs` writes build/site. Nothing is fetched, then or later.

The source folder is the repository itself, so a link such as ../results/README.md or
../conf/train.yaml works on the site as it does in the repository. Pages become HTML; any other
linked file is copied into the site. The sections of README.md beside this file are the navigation.
"""

import re

from sphinx.application import Sphinx

project = "uncollapse"
root_doc = "docs/README"
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/*.md", "results/README.md", "results/*/*.md"]
exclude_patterns = [".*", "build", "dist", "src", "tests", "conf", "scripts"]
exclude_patterns += [f"results/*/{folder}" for folder in ("runs", "hydra", "report")]
nitpicky = True
myst_heading_anchors = 3
highlight_language = "none"  # a block without a language is a command, as one types it
smartquotes = False  # pages name options and files

html_theme = "furo"  # system fonts, no script from elsewhere
html_title = project
html_extra_path = ["site"]  # index.html, which leads to the root page
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

SECTION = re.compile(r"^## (.+)\n((?:(?!## ).*\n?)*)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\.md\)")


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("source-read", add_navigation)


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Add a hidden table of contents to the root page: its sections and their links."""
    if page == root_doc:
        sections = [("Start", "[README](../README.md)"), *SECTION.findall(source[0])]
        source[0] += "".join(format_contents(caption, text) for caption, text in sections)


def format_contents(caption: str, text: str) -> str:
    """The directive for the pages that a section links."""
    pages = "\n".join(LINK.findall(text))
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n{pages}\n```\n"
