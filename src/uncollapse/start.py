"""`from=RUN`: training that starts from the weights of a finished run, perhaps of another head."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from uncollapse.errors import InputError, shorten
from uncollapse.finished.folder import find_run
from uncollapse.runs.layout import VOCABULARY, WEIGHTS, Run
from uncollapse.runs.pack import find_weights_digest
from uncollapse.runs.reading import read_config

if TYPE_CHECKING:
    from torch import Tensor

    from uncollapse.building import Parts

FROM = "from"
MOST_NAMED = 4  # tensors in a message


@dataclass(frozen=True)
class Start:
    """The run whose weights are loaded; its head with the digest of the weights.

    This label stands for it in configs and names: a path would differ between machines.
    """

    run: Run
    label: str


def replace_start(cfg: DictConfig) -> tuple[DictConfig, Start | None]:
    """The config with the label of the run in place of its path, and the run.

    InputError for a folder that holds no finished run with weights.
    """
    given = cfg.get(FROM)
    if given is None:
        return cfg, None
    if not isinstance(given, str) or not given:
        raise InputError(f"from={shorten(given)}: allowed is the folder of a finished run")
    try:
        run = find_run(Path(given))
        digest = find_weights_digest(run)
    except InputError as error:
        raise InputError(f"from={shorten(given)}: {error}") from error
    if not digest:
        raise InputError(f"from={shorten(given)}: the run has no {WEIGHTS}")
    start = Start(run, f"{read_config(run)['head']}-{digest[:12]}")
    cfg = cfg.copy()
    with open_dict(cfg):
        cfg[FROM] = start.label
    return cfg, start


def load_start(start: Start, parts: "Parts") -> str:
    """Load the weights that the model has as well; a sentence that names the others.

    A posterior of another head has other weights, which keep their initial values. InputError if
    the vocabularies differ, or if any other weight is missing or has another size.
    """
    from uncollapse.runs.checkpoint import load_tensors

    check_vocabulary(start, parts)
    saved, model = load_tensors(start.run.path(WEIGHTS)), parts.model
    own = model.state_dict()
    fitting = {name for name, tensor in own.items() if has_shape(saved.get(name), tensor)}
    lacking = sorted(own.keys() - fitting)
    shared = [name for name in lacking if not name.startswith("posterior.")]
    if shared or not fitting:
        name = (shared or lacking)[0]
        there = f"has shape {list(saved[name].shape)}" if name in saved else "is not"
        raise InputError(
            f"from={start.run.folder}: weights of another model ({name} {there} there; here it has "
            f"shape {list(own[name].shape)})"
        )
    model.load_state_dict({**own, **{name: saved[name] for name in fitting}})
    rest = ", ".join(lacking[:MOST_NAMED]) + (" ..." if len(lacking) > MOST_NAMED else "")
    kept = f"; {rest} keep their initial values" if lacking else ""
    return f"starts from {len(fitting)} weights of {start.label}{kept}"


def has_shape(saved: "Tensor | None", tensor: "Tensor") -> bool:
    return saved is not None and saved.shape == tensor.shape


def check_vocabulary(start: Start, parts: "Parts") -> None:
    """InputError if words of the two runs have other numbers."""
    listing = parts.data.listing()
    if listing is None or not start.run.holds(VOCABULARY):
        return
    if start.run.read(VOCABULARY).decode(errors="replace") != listing:
        raise InputError(f"from={start.run.folder}: its data have another vocabulary")
