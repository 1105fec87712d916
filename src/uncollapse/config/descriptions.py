"""How the file of a head describes it: its first comments, and the comments beside its knobs."""

import re

from uncollapse.config import find_option, knobs_of, parents_of, read_head
from uncollapse.json_types import Json

SECTIONS_OF_HEADER = re.compile(r" (Promise|Source|Command|Minutes|Expect)\b[^:]*:")


def read_header(head: str) -> dict[str, str]:
    """The comments at the top of a head's file: "Idea", "Promise", "Source" and so on, "Note"."""
    lines = find_option("head", head).read_text(encoding="utf-8").splitlines()[1:]
    parts: dict[str, list[str]] = {}
    name = "Idea"
    for line in lines:
        if not line.startswith("#"):
            break
        text = line.removeprefix("#")
        if match := SECTIONS_OF_HEADER.match(text):
            name, text = match[1], text[match.end() :]
        elif not text.startswith("   ") and name != "Idea":  # continuations are indented
            name = "Note"
        parts.setdefault(name, []).append(text.strip())
    return {name: " ".join(texts) for name, texts in parts.items()}


def find_promise(head: str) -> str:
    """The promise of a head or, for a combination, of the first head in it that makes one."""
    own = read_header(head).get("Promise")
    inherited = (find_promise(parent) for parent in parents_of(head))
    return own or next((promise for promise in inherited if promise), "")


def read_knobs(head: str) -> dict[str, tuple[Json, str]]:
    """The default and the comment of each knob of a head and of those that it combines."""
    found: dict[str, tuple[Json, str]] = {}
    for parent in parents_of(head):
        found |= read_knobs(parent)
    text = find_option("head", head).read_text(encoding="utf-8")
    knobs = knobs_of(head)
    for key, default in read_head(head).items():
        if key in knobs:
            match = re.search(rf"^{key}:[^#\n]*#\s*(.+)$", text, re.MULTILINE)
            found[key] = (default, match[1] if match else "")
    return found
