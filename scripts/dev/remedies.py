"""Write docs/remedies.md from the head files, the pack of a study and the measured speeds.

    python scripts/dev/remedies.py

Idea, promise and source of a head are the comments at the top of its file in conf/head, and a
knob's meaning is the comment beside it. nll is from the pack of STUDY, and the cost of a training
step from SPEEDS, which `python scripts/bench heads --json results/speed/heads.json` writes.
"""

import json
import re
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import pandas as pd

from uncollapse.config import SLOTS, heads, knobs_of, parents_of, read_head
from uncollapse.config.descriptions import find_promise, read_header, read_knobs
from uncollapse.config.knobs import collect_choices
from uncollapse.config.shorthands import SHARES
from uncollapse.metrics.catalogue import MISSING, choose_decimals
from uncollapse.report.results import read_study
from uncollapse.report.stats import against_plain, by_group, finished, t_interval

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/remedies.md"
STUDY = ROOT / "results/frontier"
SPEEDS = ROOT / "results/speed/heads.json"
NOT_MEASURED = "not measured"
COMBINATIONS = "Combinations"
TABLE_HEAD = ("| `head=` | | promise | cost | verdict: nll - plain |", "|---|---|---|---|---|")

INTRODUCTION = """\
# Remedies

Written by `make docs` from the head files, the pack of a study and the measured speeds; do not
edit. `python train.py head=bn_tau` trains one; [Heads](heads.md) says how they combine, and where
they differ from published code.

- **Promise**: what holds for the KL, with D latent dimensions. A lower bound is guaranteed, and
  training warns if the KL falls below it.
- **Cost**: seconds per training step relative to plain, on the grammar, one thread
  (`python scripts/bench heads`).
- **nll - plain**: {study}. The difference is paired by seed, with a 95 % t-interval over seeds; a
  single seed has none. It says what a code that carries *mi* nats costs, so compare heads at equal
  mi only. *gap* is what the code is worth to the decoder. § marks values for which a run had not
  converged.
- A knob with two names is one length: in epochs or, by the second name, as a share of
  `trainer.epochs`.
"""


def write_page() -> int:
    """Write the page; the exit code."""
    PAGE.write_text(format_page(heads()), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(heads())} heads")
    return 0


def format_page(names: Iterable[str]) -> str:
    """The text of the page about some heads."""
    runs = read_study(STUDY).runs
    runs = runs.assign(d_nll=against_plain(runs, "nll"))
    costs = read_costs()
    ordered = sorted(names, key=lambda name: (group_rank(name), name))
    found = {name: finished(runs[runs["head"] == name]) for name in ordered}
    rows = [format_row(name, found[name], costs) for name in ordered]
    blocks = [
        INTRODUCTION.format(study=describe_study(runs)),
        "\n".join([*TABLE_HEAD, *rows, ""]),
    ]
    for group, members in groupby(ordered, name_group):
        blocks.append(f"## {group}\n")
        blocks += [format_section(name, found[name], costs) for name in members]
    return "\n".join(blocks)


def describe_study(runs: pd.DataFrame) -> str:
    """Where the nll comes from."""
    examples = sorted({int(count) for count in finished(runs)["nll_examples"].dropna()})
    counts = " or ".join(f"{count:,}" for count in examples)
    place = STUDY.relative_to(ROOT)
    return (
        f"from [{place}](../{place}/README.md), {len(finished(runs))} runs;\n"
        f"  nll of {counts} test sentences"
    )


# ---- groups: which slots a head changes ----------------------------------------------------------


def name_group(head: str) -> str:
    """The heading under which a head stands."""
    if len(parents_of(head)) > 1:
        return COMBINATIONS
    return ", ".join(list_slots(head)).capitalize() or "The plain VAE"


def group_rank(head: str) -> tuple[bool, int, list[int]]:
    """Plain first, then heads of one slot, of several, and combinations."""
    slots = list_slots(head)
    return name_group(head) == COMBINATIONS, len(slots), [SLOTS.index(slot) for slot in slots]


def list_slots(head: str) -> list[str]:
    """The slots that a head changes."""
    changed = {place.partition(".")[0] for place in collect_choices(head)}
    return [slot for slot in SLOTS if slot in changed]


# ---- head files ----------------------------------------------------------------------------------


def describe_knobs(head: str) -> list[str]:
    """One list item per knob: its name, default and meaning."""
    items = []
    for knob, (default, meaning) in read_knobs(head).items():
        value = f" ({default:g})" if isinstance(default, int | float) else ""
        if knob in SHARES and SHARES[knob] in knobs_of(head):
            continue
        share = [name for name, length in SHARES.items() if length == knob]
        other = f" or `{share[0]}`" if share and share[0] in knobs_of(head) else ""
        items.append(f"- `{knob}`{value}{other}: {escape(meaning)}")
    return items


def list_classes(head: str) -> list[str]:
    """The classes that a head's slots are built from."""
    return sorted(
        {
            str(value)
            for place, value in collect_choices(head).items()
            if str(value).startswith("uncollapse.")
        }
    )


# ---- measured ------------------------------------------------------------------------------------


def read_costs() -> dict[str, str]:
    """Head -> time of a training step relative to plain's, and later in training if it changes."""
    steps = json.loads(SPEEDS.read_text(encoding="utf-8"))["heads"]["steps"]
    costs: dict[str, str] = {}
    for name, measured in steps.items():
        ratio = measured["ratio"]
        cost = f"{ratio:.2f}" if ratio < 2 else f"{ratio:.0f}"
        head, _, later = name.partition(", ")
        costs[head] = f"{costs[head]}, later {cost}" if later else cost
    return costs


def format_verdict(runs: pd.DataFrame) -> str:
    """nll minus plain's at the value of the knob with the most seeds, the middle one of several."""
    groups = [group for _, group in by_group(runs)]
    if not groups:
        return NOT_MEASURED
    if runs["head"].iloc[0] == "plain":
        return f"the reference ({count_seeds(groups[0])})"
    most = max(len(group) for group in groups)
    best = [group for group in groups if len(group) == most]
    chosen = best[(len(best) - 1) // 2]
    settings = name_settings(chosen)
    where = f"{settings}, {count_seeds(chosen)}" if settings else count_seeds(chosen)
    return f"{format_difference(chosen)} at mi {chosen['mi'].mean():.1f} ({where})"


def format_difference(group: pd.DataFrame) -> str:
    """+0.02 ± 0.03, with § if a run had not converged; – for plain."""
    mean, half = t_interval(group["d_nll"])
    if pd.isna(mean) or group["head"].iloc[0] == "plain":
        return MISSING
    digits = choose_decimals(mean, half)
    interval = "" if pd.isna(half) else f" ± {half:.{digits}f}"
    mark = "" if (group["converged"] == 1).all() else " §"
    return f"{mean:+z.{digits}f}{interval}{mark}"


def name_settings(group: pd.DataFrame) -> str:
    return ", ".join(f"`{text}`" for text in group["override_list"].iloc[0])


def count_seeds(group: pd.DataFrame) -> str:
    return "1 seed" if len(group) == 1 else f"{len(group)} seeds"


def format_measured(runs: pd.DataFrame) -> str:
    """A table of the values of the knob that were run."""
    lines = ["| | seeds | kl | mi | gap | nll - plain |", "|---|---|---|---|---|---|"]
    for _, group in by_group(runs):
        kl, mi, gap = (f"{group[key].mean():.2f}" for key in ("kl", "mi", "shuffle_gap"))
        cells = [name_settings(group), str(len(group)), kl, mi, gap, format_difference(group)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


# ---- the page ------------------------------------------------------------------------------------


def format_row(head: str, runs: pd.DataFrame, costs: dict[str, str]) -> str:
    """The row of a head in the table at the top."""
    promise = escape(find_promise(head)).removesuffix(".").replace("|", "\\|")
    cells = [
        f"[`{head}`](#{head})",
        str(read_head(head)["label"]),
        promise,
        costs.get(head, NOT_MEASURED),
        format_verdict(runs),
    ]
    return "| " + " | ".join(cells) + " |"


def format_section(head: str, runs: pd.DataFrame, costs: dict[str, str]) -> str:
    """Everything about a head."""
    header = {name: escape(text) for name, text in read_header(head).items()}
    promise = escape(find_promise(head))
    classes = ", ".join(f"`{name}`" for name in list_classes(head))
    built = f"Built from {classes}." if classes else ""
    blocks = [
        f"### `{head}`",
        header.get("Idea", ""),
        "\n".join(describe_knobs(head)),
        f"**Promise**: {promise}" if promise else "",
        f"**Source**: {header.get('Source', '')}",
        header.get("Note", ""),
        f"**Cost**: {costs.get(head, NOT_MEASURED)}. {built}".strip(),
        format_measured(runs) if len(runs) else f"**nll - plain**: {NOT_MEASURED}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: str) -> str:
    """Markdown that shows a text as it is; code between backticks stays code."""
    pieces = text.split("`")
    # odd pieces are code
    special = re.compile(r"[\\*<\[\]]|_(?!\w)|(?<!\w)_")
    pieces[::2] = [special.sub(r"\\\g<0>", piece) for piece in pieces[::2]]
    return "`".join(pieces)


if __name__ == "__main__":
    sys.exit(write_page())
