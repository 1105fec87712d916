"""How to use a head in a training loop of one's own: lines of Python made from its file."""

import re
from typing import NamedTuple

from uncollapse.config import SLOTS, parents_of, read_head
from uncollapse.config.descriptions import read_knobs
from uncollapse.json_types import Json, JsonObject

OWN_LOOP = ("posterior", "objective")  # slots that work outside this package's training
SHORT = ("uncollapse.posteriors", "uncollapse.objectives")  # export the classes of their modules
SCHEDULES = "uncollapse.training.schedules"  # exported by uncollapse.objectives
# heads that need more than such lines: the words of a batch; the epochs of the training
NEEDS_TRAINER = ("bow", "scale")
REFERENCE = re.compile(r"\$\{(?:\w+\.)?(\w+)\}")
POSTERIOR = """\
head = {posterior}  # in place of your own layers
q = head(h)  # h: what the encoder returns, [B, hidden]
z = q.sample()  # [B, latent]
"""
KL_LOSS = """\
loss = (rec(x, z) + q.kl.sum(-1)).mean()  # rec: your -log p(x|z), [B]
loss.backward()
"""
OBJECTIVE = """\
objective = {objective}
"""
OBJECTIVE_LOSS = """\
loss = objective(rec(x, z), q, z, epoch)  # rec: your -log p(x|z), [B]
loss.total.backward()
objective.update(loss)  # after each step
"""


class Snippet(NamedTuple):
    """Lines of Python, and the words in them that state a knob: {"lambda": "free=0.25"}."""

    text: str
    words: dict[str, str]


NO_SNIPPET = Snippet("", {})


def write_snippet(head: str) -> Snippet:
    """The lines, with the default knobs; no text for a head that changes the decoder or the steps.

    Free names are those of the reader: h, x, rec, hidden, latent, epoch, and `epochs` in all.
    """
    slots = merge_slots(head)
    if set(slots) - set(OWN_LOOP) or {head, *parents_of(head)} & set(NEEDS_TRAINER):
        return NO_SNIPPET
    writer = Writer({key: default for key, (default, _) in read_knobs(head).items()})
    gaussian: JsonObject = {"_target_": "uncollapse.posteriors.gaussian.Gaussian"}
    section = {**gaussian, **slots.get("posterior", {})}
    posterior = writer.write_call(section, "hidden, latent")
    lines = POSTERIOR.format(posterior=posterior)
    if objective := slots.get("objective"):
        elbo: JsonObject = {"_target_": "uncollapse.objectives.elbo.ELBO"}
        call = writer.write_call({**elbo, **objective})
        lines = OBJECTIVE.format(objective=call) + lines + OBJECTIVE_LOSS
    else:
        lines += KL_LOSS
    listed = [
        f"from {name} import {', '.join(sorted(found))}" for name, found in writer.imports.items()
    ]
    return Snippet("\n".join([*sorted(listed), "", lines]), writer.words)


def merge_slots(head: str) -> dict[str, JsonObject]:
    """The slots that a head sets, with those of the heads that it combines."""
    found: dict[str, JsonObject] = {}
    for parent in parents_of(head):
        found |= merge_slots(parent)
    own = read_head(head)
    for slot in SLOTS:
        if isinstance(section := own.get(slot), dict):
            found[slot] = {**found.get(slot, {}), **section}
    return found


class Writer:
    """Writes sections of a head's file as calls; notes what must be imported, and the knobs."""

    def __init__(self, knobs: JsonObject) -> None:
        self.knobs = knobs
        self.imports: dict[str, set[str]] = {}
        self.words: dict[str, str] = {}

    def write_call(self, section: JsonObject, first: str = "") -> str:
        """'Linear(epochs=2)' for a section with a `_target_`."""
        module, _, name = str(section["_target_"]).rpartition(".")
        shown = next((short for short in SHORT if module.startswith(f"{short}.")), module)
        self.imports.setdefault(SHORT[1] if module == SCHEDULES else shown, set()).add(name)
        words = [
            self.write_word(key, value) for key, value in section.items() if not key.startswith("_")
        ]
        return f"{name}({', '.join(filter(None, [first, *words]))})"

    def write_word(self, key: str, value: Json) -> str:
        """'epochs=2', with knobs filled in."""
        if isinstance(value, dict) and "_target_" in value:
            return f"{key}={self.write_call(value)}"
        if not (isinstance(value, str) and (match := REFERENCE.fullmatch(value))):
            return f"{key}={value!r}"
        name = match[1]
        # a setting of the trainer is a name of the reader's own
        if name not in self.knobs:
            return f"{key}={name}"
        self.words[name] = f"{key}={self.knobs[name]!r}"
        return self.words[name]
