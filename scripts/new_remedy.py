"""The skeleton of a new remedy: a class with one knob, its head file and its test, which pass every check as they are.

    python scripts/new_remedy.py NAME --slot posterior|objective|procedure|decoder

Each skeleton does something small that its knob can switch off. Nothing that exists is ever overwritten.
"""

import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from uncollapse.arguments import Parser
from uncollapse.disk import write_together
from uncollapse.entry import run_guarded

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Skeleton:
    """What differs between the slots; <name> and <Class> stand for the remedy's."""

    folder: str  # under src/uncollapse
    knob: str
    default: str
    what: str  # one line with the formula, for the head file
    code: str
    slots: str  # what the head file says of its slots
    test: str


# ---------------------------------------------------------------- posterior

POSTERIOR = Skeleton(
    folder="posteriors",
    knob="width",
    default="0.5",
    what="sigma = width exp(b / 2), where plain has exp(b / 2).",
    code='''
"""FILL IN: what it does to the posterior, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    mu = a,   sigma = width exp(b / 2),   (a, b) linear in the encoder's state; width 1 is the plain posterior.
FILL IN: deviations from the paper, and why; what it promises, and from where to where that holds.
"""

import math

from torch import Tensor, nn

from uncollapse.errors import check_number
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import code_dtype, outputs


class <Class>(nn.Module):
    """h [B, hidden] -> DiagonalGaussian [B, latent]; InputError unless width > 0."""

    def __init__(self, hidden: int, latent: int, width: float):
        super().__init__()
        self.width = number("width", width, 0)
        self.linear = nn.Linear(hidden, 2 * latent)  # first of all weights: every head starts from the same ones

    def forward(self, h: Tensor) -> DiagonalGaussian:
        mean, log_var = outputs(self.linear, h).chunk(2, -1)
        return DiagonalGaussian.from_log_var(mean, log_var + 2 * math.log(self.width), code_dtype(self.linear, h))
''',
    slots="""
posterior:
  _target_: uncollapse.posteriors.<name>.<Class>
  width: ${width}
""",
    test='''
"""<name>: its formula, its knob, and plain where the knob says so."""

import pytest
import torch

from uncollapse.errors import InputError
from uncollapse.posteriors import Gaussian
from uncollapse.posteriors.<name> import <Class>


def both(width: float):
    """Plain's posterior and ours with the same weights at the same states."""
    torch.manual_seed(0)
    plain, ours, h = Gaussian(7, 3), <Class>(7, 3, width), torch.randn(20, 7)
    ours.load_state_dict(plain.state_dict())
    return plain(h), ours(h)


def test_width_1_is_plain_bit_for_bit():
    plain, ours = both(1.0)
    assert torch.equal(ours.mean, plain.mean) and torch.equal(ours.variance, plain.variance)


def test_sigma_is_width_times_plains():
    plain, ours = both(0.3)
    torch.testing.assert_close(ours.std, 0.3 * plain.std)


@pytest.mark.parametrize("width", [0, -1, float("nan"), "wide"])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(InputError, match=f"^width={width}: .* allowed is 0 < width$"):
        <Class>(7, 3, width)
''',
)

# ---------------------------------------------------------------- objective

OBJECTIVE = Skeleton(
    folder="objectives",
    knob="pull",
    default="1.0",
    what="rec + weight KL + pull 1/2 sum_j (batch mean of mu_j)^2.",
    code='''
"""FILL IN: what is added to or changed in the ELBO, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    rec + weight KL + pull 1/2 sum_j (E_B mu_j)^2;   pull 0 is the ELBO.
FILL IN: deviations from the paper, and why; what it promises, and from where to where that holds.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from uncollapse.errors import check_number
from uncollapse.objectives.elbo import ELBO, Loss
from uncollapse.distributions.normal import Posterior


@dataclass(frozen=True, kw_only=True)
class <Class>(ELBO):
    """InputError unless pull >= 0. Reported rec, kl and nelbo never hold the added term; `Loss.terms` names it."""

    pull: float

    def __post_init__(self) -> None:
        super().__post_init__()
        number("pull", self.pull, 0, closed=True)

    def __call__(self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Any = None) -> Loss:
        plain = super().__call__(nll, q, z, epoch, batch)
        offset = 0.5 * q.mean.mean(0).square().sum()
        return Loss(plain.total + self.pull * offset, {**plain.terms, "offset": offset}, plain.weight)
''',
    slots="""
objective:
  _target_: uncollapse.objectives.<name>.<Class>
  pull: ${pull}
""",
    test='''
"""<name>: its formula, its knob, and the ELBO where the knob says so."""

import pytest
import torch

from uncollapse.errors import InputError
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.<name> import <Class>
from uncollapse.posteriors import DiagonalGaussian

NLL = torch.tensor([2.0, 4.0])
Q = DiagonalGaussian.from_log_var(torch.tensor([[1.0, 0.0], [3.0, 1.0]]), torch.zeros(2, 2))


def test_pull_0_is_the_elbo_bit_for_bit():
    plain = ELBO(weight=0.5)(NLL, Q, Q.mean, 0.0)
    assert torch.equal(<Class>(weight=0.5, pull=0)(NLL, Q, Q.mean, 0.0).total, plain.total)


def test_the_term_by_hand():
    loss = <Class>(pull=3)(NLL, Q, Q.mean, 0.0)
    assert loss.terms["offset"].item() == 0.5 * (2.0**2 + 0.5**2)  # the means of mu are 2 and 1/2
    assert loss.total.item() == loss.terms["rec"].item() + loss.terms["kl"].item() + 3 * loss.terms["offset"].item()


@pytest.mark.parametrize("pull", [-1, float("nan"), "hard"])
def test_a_pull_that_is_none_is_refused(pull):
    with pytest.raises(InputError, match=f"^pull={pull}: .* allowed is 0 <= pull$"):
        <Class>(pull=pull)
''',
)

# ---------------------------------------------------------------- procedure

PROCEDURE = Skeleton(
    folder="procedures",
    knob="encoder_steps",
    default="1",
    what="The encoder alone makes encoder_steps steps on each batch before both make one.",
    code='''
"""FILL IN: who is updated when, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, algorithm.
    repeat encoder_steps times: encoder step on the batch;   then encoder and decoder together, as always
encoder_steps 0 is the ordinary training.
FILL IN: deviations from the paper, and why; what it promises, and from where to where that holds.
"""

from dataclasses import dataclass
from typing import Any

from uncollapse.errors import check_integer
from uncollapse.objectives.elbo import Loss
from uncollapse.training.phases import Phased
from uncollapse.procedures import Training
from uncollapse.procedures.joint import Joint


@dataclass(frozen=True)
class <Class>(Phased):
    """InputError unless encoder_steps is a whole number >= 0. With state it would be an `nn.Module`: buffers are in the checkpoint."""

    encoder_steps: int

    def __post_init__(self) -> None:
        whole("encoder_steps", self.encoder_steps, 0)

    def step(self, training: Training, batch: Any) -> Loss:
        for _ in range(self.encoder_steps):
            loss = training.loss(batch, training.model.encode(batch))
            training.update(loss.total, ("encoder",))
        return Joint().step(training, batch)
''',
    slots="""
procedure:
  _target_: uncollapse.procedures.<name>.<Class>
  encoder_steps: ${encoder_steps}
""",
    test='''
"""<name>: plain where the knob says so, who moves, and its knob."""

from pathlib import Path

import pytest
from conftest import folder_of, rows, run_here

from uncollapse.errors import InputError
from uncollapse.procedures import Training
from uncollapse.procedures.<name> import <Class>


def test_no_encoder_steps_are_plain_bit_for_bit(tmp_path: Path):
    run_here(tmp_path, "plain")
    run_here(tmp_path, "<name>", "encoder_steps=0")
    assert rows(folder_of(tmp_path, "plain")) == rows(folder_of(tmp_path, "<name>"))


def test_the_encoder_moves_first_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    honest, moved = Training.update, []

    def note(training, loss, parts=None):
        moved.append(parts)
        honest(training, loss, parts)

    monkeypatch.setattr(Training, "update", note)
    run_here(tmp_path, "<name>", "encoder_steps=2", "trainer.max_steps=2")
    assert moved == [("encoder",), ("encoder",), None] * 2


@pytest.mark.parametrize("encoder_steps", [-1, 0.5, "many"])
def test_a_count_that_is_none_is_refused(encoder_steps):
    with pytest.raises(InputError, match=f"^encoder_steps={encoder_steps}: allowed is an integer of at least 0$"):
        <Class>(encoder_steps)
''',
)

# ---------------------------------------------------------------- decoder

DECODER = Skeleton(
    folder="decoders",
    knob="temperature",
    default="1.5",
    what="The output layer's weights are divided by a temperature: W h / temperature + b.",
    code='''
"""FILL IN: what the output layer does otherwise, in one sentence.

FILL IN: authors, "title", venue and year (arXiv number), section, equations.
    outputs = W h / temperature + b;   temperature 1 is the plain layer.
FILL IN: deviations from the paper, and why; what it promises, and from where to where that holds.
"""

from torch import Tensor, nn

from uncollapse.decoders.plain import Plain
from uncollapse.errors import check_number


class <Class>(Plain):
    """InputError unless temperature > 0. A layer that reads z itself would offer `features`, too: see `decoders.plain`."""

    def __init__(self, latent: int, outputs: int, temperature: float):
        super().__init__(latent, outputs)
        self.temperature = number("temperature", temperature, 0)

    def weight(self, layer: nn.Linear) -> Tensor:
        return layer.weight / self.temperature
''',
    slots="""
decoder:
  output:
    _target_: uncollapse.decoders.<name>.<Class>
    temperature: ${temperature}
""",
    test='''
"""<name>: its formula, its knob, and plain where the knob says so."""

from pathlib import Path

import pytest
import torch
from conftest import folder_of, rows, run_here
from torch import nn

from uncollapse.decoders.<name> import <Class>
from uncollapse.errors import InputError


def test_temperature_1_is_plain_bit_for_bit(tmp_path: Path):
    run_here(tmp_path, "plain")
    run_here(tmp_path, "<name>", "temperature=1")
    assert rows(folder_of(tmp_path, "plain")) == rows(folder_of(tmp_path, "<name>"))


def test_the_formula():
    layer, h = nn.Linear(5, 8), torch.randn(3, 5)
    ours = <Class>(2, 8, 4.0)
    torch.testing.assert_close(ours(layer, h, ours.features(torch.randn(3, 2))), h @ layer.weight.T / 4 + layer.bias)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "hot"])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(InputError, match=f"^temperature={temperature}: .* allowed is 0 < temperature$"):
        <Class>(2, 8, temperature)
''',
)

SKELETONS = {
    "posterior": POSTERIOR,
    "objective": OBJECTIVE,
    "procedure": PROCEDURE,
    "decoder": DECODER,
}
HEAD = """
# @package _global_
# <what>
# Source: FILL IN: paper, section, equation; deviations.
# Command: python train.py head=<name>
# Minutes: MEASURE
# Expect: MEASURE
label: <label>
<knob>: <default>
"""

# ---------------------------------------------------------------- the command


class Refused(Exception):
    """What was asked for cannot be done; one sentence that says why."""


def files(name: str, slot: str) -> dict[Path, str]:
    """What is to be written, by path relative to the checkout. Refused for a name that cannot be one."""
    skeleton = SKELETONS[slot]
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise Refused(
            f"{name}: no name for a remedy; allowed are small letters, digits and single _, a letter first, no Python word"
        )
    class_name = "".join(part.capitalize() for part in name.split("_"))
    if class_name in re.findall(r"\w+", skeleton.code + skeleton.test):
        raise Refused(
            f"{name}: its class would be {class_name}, a name that its file uses otherwise; choose another name"
        )
    words = {
        "<name>": name,
        "<Class>": class_name,
        "<label>": name.replace("_", " "),
        "<what>": skeleton.what,
        "<knob>": skeleton.knob,
        "<default>": skeleton.default,
    }
    texts = {
        f"src/uncollapse/{skeleton.folder}/{name}.py": skeleton.code,
        f"conf/head/{name}.yaml": HEAD.rstrip() + skeleton.slots,
        f"tests/test_{name}.py": skeleton.test,
    }
    return {Path(path): filled(text, words) for path, text in texts.items()}


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text.lstrip("\n")


def write(texts: dict[Path, str], root: Path) -> None:
    """All of the files or, when one of them is there, none. Refused names it."""
    for path in texts:
        if (root / path).exists():
            raise Refused(f"{path} exists; nothing was written")
    write_together({root / path: text.encode() for path, text in texts.items()})


def next_steps(name: str, slot: str, texts: dict[Path, str]) -> str:
    skeleton = SKELETONS[slot]
    knob = f"`{skeleton.knob}` ({float(skeleton.default):g})"
    code, head, test = texts
    return f"""wrote {code}
      {head}
      {test}

It runs as it is:
    python train.py head={name} data.train=3000 trainer.epochs=2
and passes its own test and those of every head:
    python -m pytest tests/test_{name}.py tests/test_contract.py tests/test_config.py -k {name}

Then
1. put the remedy where the skeleton's formula is, in {code} and {test}
2. fill in FILL IN (paper, section, equation) and, after a run, MEASURE in {head}
3. give it a row in README.md's table of heads (tests/test_readme.py asks for it):
    | `{name}` | what it does | {knob} | {slot} | promise | source |  |  |
4. make lint types test
"""


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = Parser(
        description="Write the skeleton of a new remedy: its class, its head file and its test."
    )
    parser.add_argument("name", help="of the head and of its files, such as my_remedy")
    parser.add_argument("--slot", required=True, choices=SKELETONS, help="what the remedy changes")
    asked = parser.parse_args(argv)
    try:
        texts = files(asked.name, asked.slot)
        write(texts, ROOT)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: cannot write there ({error.strerror})", file=sys.stderr)
        return 2
    print(next_steps(asked.name, asked.slot, texts), end="")
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(main))
