"""The site: its index lists every page, and it is built without warnings from files alone."""

import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT

INDEX = ROOT / "docs/README.md"


def test_index_lists_every_page_once() -> None:
    links = re.findall(r"\]\(([^)]+\.md)\)", INDEX.read_text())
    listed = [str((INDEX.parent / link).resolve().relative_to(ROOT)) for link in links]
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md"), *ROOT.glob("results/*/*.md")]
    expected = {str(page.relative_to(ROOT)) for page in pages if page != INDEX}
    assert set(listed) == expected | {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    assert len(listed) == len(set(listed))


class Page(HTMLParser):
    """Collects what a browser would load by itself, and where links lead."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(given.get("href", ""))
        elif tag == "link":
            self.loaded.append(given.get("href", ""))
        self.loaded += [
            given[name] for name in ("src", "srcset", "poster", "data") if name in given
        ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, in another folder."""
    pytest.importorskip("sphinx", reason="needs the extra docs")
    out = tmp_path_factory.mktemp("site")
    (line,) = re.findall(r"^\t\$\(BIN\)/sphinx-build (.*)$", (ROOT / "Makefile").read_text(), re.M)
    words = [str(out / "html") if word == "build/site" else word for word in shlex.split(line)]
    assert "--fail-on-warning" in words and str(out / "html") in words
    command = [sys.executable, "-m", "sphinx", "--doctree-dir", str(out / "trees"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow  # it takes a few seconds, and `make docs` builds it anyway
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Page(page.read_text()).loaded
        assert not [address for address in loaded if re.match(r"(?!data:)\w+:|//", address)], page
    for sheet in site.rglob("*.css"):
        addresses = re.findall(r"(?:url\(|@import )['\"]?(?!data:)(\w+:|//)", sheet.read_text())
        assert not addresses, sheet


@pytest.mark.slow
def test_links_inside_the_site_lead_to_files(site: Path) -> None:
    count = 0
    for page in site.rglob("*.html"):
        for link in Page(page.read_text()).links:
            address = link.partition("#")[0].partition("?")[0]
            if address and not re.match(r"\w+:", address):
                assert (page.parent / address).exists(), (page, link)
                count += 1
    assert count > 200
    assert "docs/README.html" in Page((site / "index.html").read_text()).links
