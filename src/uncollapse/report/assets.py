"""The scripts and the style of the page, and the policy that lets a browser run these only."""

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from uncollapse.report.tokens import SLOT_TOKENS

HERE = Path(__file__).parent
# joined in this order into one function, so that they share names among themselves only
OWN_SCRIPTS = (
    "state.js",
    "drawing.js",
    "answers.js",
    "table.js",
    "copying.js",
    "plane.js",
    "commands.js",
    "curves.js",
    "opened.js",
    "frontiers.js",
    "knobs.js",
    "address.js",
    "start.js",
)
STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'"


class Vendored(NamedTuple):
    """A published JavaScript file that the page contains unchanged (scripts/dev/vendor.py)."""

    name: str
    version: str
    licence: str
    file: str
    sha256: str
    integrity: str

    @property
    def source(self) -> str:
        return (HERE / "vendor" / self.file).read_text(encoding="utf-8")

    @property
    def licence_text(self) -> str:
        return (HERE / "vendor" / self.name / "LICENSE").read_text(encoding="utf-8")


@cache
def list_vendored() -> list[Vendored]:
    """The vendored files, in the order in which they must run."""
    entries = json.loads((HERE / "vendor/vendor.json").read_text(encoding="utf-8"))
    return [Vendored(**entry) for entry in entries]


@cache
def list_scripts() -> list[str]:
    """The scripts of the page in the order in which they run: the vendored files, then ours."""
    vendored = "\n".join(package.source for package in list_vendored())
    own = "\n".join((HERE / "scripts" / name).read_text(encoding="utf-8") for name in OWN_SCRIPTS)
    return [vendored, f'"use strict";\n(async () => {{\n{own}}})();\n']


@cache
def read_style() -> str:
    """The style sheet of the page, with a colour for each slot of a config."""
    colours = "".join(
        f"--{token.css_name}: light-dark({token.light}, {token.dark}); "
        for token in SLOT_TOKENS.values()
    )
    classes = "".join(
        f".slot-{token.css_name} {{ color: var(--{token.css_name}); }}\n"
        for token in SLOT_TOKENS.values()
    )
    sheet = (HERE / "page.css").read_text(encoding="utf-8")
    return f":root {{ {colours}}}\n{classes}{sheet}"


def content_policy(scripts: Iterable[str], styles: Iterable[str], images: str) -> str:
    """A Content Security Policy that allows these texts, and images from these sources."""
    allowed = {
        "script-src": " ".join(map(hash_source, scripts)),
        "style-src": " ".join(map(hash_source, styles)),
        "img-src": images,
    }
    return "; ".join([STRICT, *(f"{name} {sources}" for name, sources in allowed.items())])


def hash_source(text: str) -> str:
    """'sha256-...', as a policy names a text between two tags."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
