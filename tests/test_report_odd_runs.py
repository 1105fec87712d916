"""Reports of runs with arbitrary values anywhere.

An odd value counts as missing and gets a note; other runs are not affected.
"""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_report import SLOTS, UNDRAWN, read_report_bytes, write_run

from uncollapse.errors import InputError
from uncollapse.report import figures, main, page, results
from uncollapse.report.checked import Values, prune
from uncollapse.report.page import evaluation_note, write_report
from uncollapse.report.png import is_png
from uncollapse.report.results import read_study
from uncollapse.report.tables.cells import format_cell as cell
from uncollapse.report.tables.runs import runs_table as every_run
from uncollapse.report.tables.summary import summary_table as summary
from uncollapse.runs.layout import Run
from uncollapse.runs.reading import Saved, read_run


def nested(depth: int) -> list:
    return [nested(depth - 1)] if depth else []


DEEP, LEAST_DEEP = nested(300), nested(30)  # values that JSON and a config can hold
LONG = "x" * 50_000
NO_NUMBER = ([], [1.0], {"a": 1}, "text", "1.5", DEEP, 1e101)
NO_TEXT = ([], [1.0], {"a": 1}, True, DEEP)
NO_OBJECT = ([1.0], 5, "text", True, DEEP)
NOT_NEGATIVE = (*NO_NUMBER, -0.1, True)
MU = {"mu": [0.1, 0.2], "mu_sq": [0.1, 0.2], "sigma_sq": [1.0, 1.0]}
NO_MOMENTS = (
    *NO_OBJECT, MU | {"mu": [0.1]}, MU | {"mu_sq": None}, MU | {"mu_sq": [None, 1]},
    MU | {"sigma_sq": "ab"},
    MU | {"mu": [[1], [2]]}, MU | {"mu": [1e200, 1]}, {"mu": [1]}, MU | {"sigma_sq": {"0": 1,
    "1": 1}},
)  # fmt: skip
EPS = {"eps": [0.1, 1.0], "share": [0.2, 1.0], "delta": 0.01}
NO_CURVE = (
    *NO_OBJECT, EPS | {"eps": [0.1]}, EPS | {"eps": 3}, EPS | {"share": [0.2, "x"]},
    EPS | {"eps": [0.0, 1.0]},
    EPS | {"eps": [-1.0, 1.0]}, EPS | {"share": [0.2, 7.0]}, EPS | {"share": [[0.2], 1.0]},
    EPS | {"delta": [1]},
    EPS | {"eps": [0.1] * 2000, "share": [0.1] * 2000},
)  # fmt: skip
CURVE = {"accuracy": [0.3, 0.4], "chance": 0.2, "oracle": None}


def curves(**changed: Any) -> dict:
    return {"labels": [100, 500], "factors": {"topic": CURVE | changed}}


NO_PROBE = (
    *NO_OBJECT, {"factors": [CURVE]}, {"factors": {"a": 5}}, {"labels": [100],
    "factors": {"a": CURVE}},
    {"labels": "ab", "factors": {"a": CURVE}}, {"labels": [0, 500], "factors": {"a": CURVE}},
    curves(accuracy="ab"), curves(accuracy=[0.1, 7]), curves(accuracy=[[1], 2]),
    curves(chance=[0.1]), curves(chance=-1),
    curves(oracle="x"), curves(oracle=1e300), {"labels": [100, 500],
    "factors": {str(i): CURVE for i in range(60)}},
)  # fmt: skip
ODD: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ["summary.json kl", "summary.json nelbo", "summary.json rec", "summary.json mi",
        "summary.json shuffle_gap",
         "summary.json nll_bias", "summary.json final_weight", "summary.json oracle_gap",
         "summary.json floor",
         "summary.json last.kl", "summary.json train_mode.kl", "metrics.jsonl kl",
         "metrics.jsonl nelbo",
         "data.json entropy", "data.json oracle_nll.valid", "config.yaml tau"],
        NO_NUMBER,
    ),
    **dict.fromkeys(
        ["summary.json nll", "summary.json nll_mc_se", "summary.json mi_n", "summary.json probe",
        "summary.json au",
         "summary.json seconds_per_step", "summary.json last.nelbo_se",
         "summary.json steps_planned",
         "summary.json schedule_complete", "metrics.jsonl kl_se", "config.yaml model.latent"],
        NOT_NEGATIVE[:-1],
    ),
    **dict.fromkeys(
        ["summary.json weights", "summary.json commit", "summary.json device",
        "metrics.jsonl weights",
         "data.json level", "config.yaml label", "config.yaml study"],
        NO_TEXT,
    ),
    **dict.fromkeys(
        ["summary.json last", "summary.json train_mode", "summary.json versions",
        "data.json oracle_nll"], NO_OBJECT
    ),
    "summary.json unfinished": (5, "text", [1], [["x"]], {"a": 1}, True),
    "summary.json tree_changed": ("yes", 1, [], {}),
    "summary.json versions.torch": ([1], {"a": 1}, DEEP),
    "summary.json moments": NO_MOMENTS,
    "summary.json train_mode.moments": (*NO_MOMENTS, MU),
    "metrics.jsonl moments": NO_MOMENTS,
    "summary.json collapse": NO_CURVE,
    "summary.json probe_curves": NO_PROBE,
    "metrics.jsonl step": (10**10, 2**52),
}  # fmt: skip
ODD["summary.json nll"] = NO_NUMBER
CASES = [(place, value) for place, values in ODD.items() for value in values]
pytestmark = pytest.mark.usefixtures("quick_figures")  # formats do not matter here
SEEDS = 64  # groups of odd runs: eight in total, as many as one panel can show


def set_value(folder: Path, place: str, value: Any) -> None:
    """Write a value at `place`, "file key.key", of a run; for metrics.jsonl in every row."""
    name, keys = place.split(" ")
    path = folder / name
    if name == "metrics.jsonl":
        rows = [json.loads(line) | {keys: value} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found = json.loads((folder / "summary.json").read_text())
        found.pop(keys, None)  # rows count if the summary has no value
        (folder / "summary.json").write_text(json.dumps(found))
        return
    found = (yaml.safe_load if name == "config.yaml" else json.loads)(path.read_text())
    inside = found
    *way, last = keys.split(".")
    for key in way:
        inside = inside.setdefault(key, {})
    inside[last] = LEAST_DEEP if value is DEEP and name == "config.yaml" else value
    path.write_text(json.dumps(found))


def name_of(number: int) -> str:
    return f"runs/bn_mu/x={number // SEEDS}/seed={number}"


def sound_runs(study: Path) -> Path:
    for seed in range(2):
        write_run(study, "plain", seed, evaluations=3, evaluated=True, slots=SLOTS)
        write_run(study, "bn_tau", seed, evaluations=3, evaluated=True, slots=SLOTS)
    return study


def rows_of_sound_runs(study: results.Study) -> list[dict]:
    """Table rows of the sound runs: group numbers and run numbers."""
    groups, each = summary(study.runs).numbers, every_run(study.runs).numbers
    parts = [frame[frame["head"].isin(["plain", "bn_tau"])] for frame in (groups, each)]
    return [
        row
        for part in parts
        for row in part.astype(object).where(part.notna(), None).to_dict("records")
    ]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of four sound runs, and one odd run for each case."""
    study = sound_runs(tmp_path_factory.mktemp("results") / "s")
    for number, (place, value) in enumerate(CASES):
        group = number // SEEDS
        folder = write_run(
            study,
            "bn_mu",
            number,
            overrides=f"x={group}",
            evaluations=2,
            evaluated=True,
            slots={"x": group},
        )
        set_value(folder, place, value)
    return study


def test_every_odd_value_gets_a_note_naming_run_and_key(odd: Path) -> None:
    study = read_study(odd)
    assert len(CASES) >= 300 and len(study.runs) == 4 + len(CASES)
    for number, (place, value) in enumerate(CASES):
        said = [note for note in study.notes if note.startswith(f"{name_of(number)}: ")]
        assert any(place in note for note in said), (place, value, said)
    assert not any("plain" in note or "bn_tau" in note for note in study.notes)


def test_odd_runs_do_not_change_numbers_of_sound_runs(odd: Path, tmp_path: Path) -> None:
    assert rows_of_sound_runs(read_study(odd)) == rows_of_sound_runs(
        read_study(sound_runs(tmp_path / "s"))
    )


@pytest.mark.slow
def test_report_of_odd_runs_is_written(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_NOTES", 10_000)
    path, _ = write_report(odd)
    text = path.read_text()
    drawn = {file.stem.removesuffix("_column") for file in (odd / "report/figures").glob("*.pdf")}
    assert drawn - UNDRAWN == {*figures.PLOTS} - {"tau_grid", *UNDRAWN}
    assert all(
        f"odd values count as missing: {place}" in text
        for place in ODD
        if not place.endswith("moments")
    )


@pytest.mark.parametrize(
    "value",
    [10**400, None, LONG, "\ud800", {LONG: LONG}, float("nan")],
    ids=["huge", "null", "long", "half", "key", "nan"],
)
def test_run_with_all_values_odd_is_reported(
    tmp_path: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "PLOTS", {"usage": figures.PLOTS["usage"]})
    study = sound_runs(tmp_path / "s")
    expected = rows_of_sound_runs(read_study(study))
    folder = write_run(study, "bn_mu", 0, evaluations=2)
    for name in ("summary.json", "data.json"):
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(
            json.dumps(dict.fromkeys([*found, "evaluations", "probe_curves"], value))
        )
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    places = ("step", "split", "mode")
    odd = [{key: row[key] if key in places else value for key in row} for row in lines]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
    assert main([str(study)]) == 0
    found = read_study(study)
    assert rows_of_sound_runs(found) == expected
    assert (
        max(map(len, found.notes), default=0) <= 500
        and sum("bn_mu" in note for note in found.notes) <= 6
    )
    assert (study / "report/index.html").stat().st_size < 250_000


def test_rows_of_unequal_length_and_repeated_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("kl_per_dim", "kl_over_steps", "learning_curves")
    monkeypatch.setattr(figures, "PLOTS", {name: figures.PLOTS[name] for name in names})
    study = sound_runs(tmp_path / "s")
    folder = write_run(study, "bn_mu", 0, evaluations=6)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["kl_per_dim"] = [[0.1], [], [0.1] * 32, [None] * 32, [0.1, None] * 16, [1e300] * 32][
            i // 2 % 6
        ]
    rows += [rows[3], rows[5] | {"weights": "last"}, rows[5] | {"kl": 5.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main([str(study)]) == 0
    found = read_study(study)
    assert any(
        "metrics.jsonl weights" in note and "metrics.jsonl kl_per_dim" in note
        for note in found.notes
    )
    own = found.rows[found.rows["group"] == "BN on μ"]
    assert not own.duplicated(["run", "step", "split", "mode"]).any()


def test_heat_map_uses_steps_of_its_own_rows() -> None:
    import pandas as pd

    from uncollapse.report.figures.kl_per_dim import arrange_heat_map

    run = pd.DataFrame(
        {"step": [0, 10, 20], "kl_per_dim": [np.ones(2), np.ones(3), np.array([1.0, 2.0])]}
    )
    edges, values = arrange_heat_map(run)
    assert edges.tolist() == [0, 10, 20] and values.tolist() == [[1, 2], [1, 1]]


def test_run_with_an_unexpected_error_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = sound_runs(tmp_path / "s")
    expected = rows_of_sound_runs(read_study(study))
    write_run(study, "bn_mu", 0, evaluations=2)
    honest = results.flatten_run

    def fragile(saved: Saved, rule: str) -> dict:
        if "bn_mu" in saved.name:
            raise RecursionError("deep")
        return honest(saved, rule)

    monkeypatch.setattr(results, "flatten_run", fragile)
    found = read_study(study)
    assert rows_of_sound_runs(found) == expected
    assert found.notes == ["runs/bn_mu/default/seed=0: cannot be shown (RecursionError); left out"]


def test_unreadable_study_gives_the_reason(tmp_path: Path) -> None:
    (write_run(tmp_path / "s", "plain", 0, evaluations=2) / "config.yaml").write_text(
        "model: 5\nhead: x\nseed: 0\n"
    )
    with pytest.raises(
        InputError, match=r"readable config.yaml; the first note says: .*model is not a section"
    ):
        read_study(tmp_path / "s")


def test_value_validation_by_hand() -> None:
    values = Values(
        {
            "kl": 2,
            "kl_se": -1.0,
            "a": True,
            "mi_saturated": True,
            "t": 5,
            "n": 10**300,
            "d": [1, None],
        },
        "f ",
    )
    assert (
        values.number("kl") == 2.0
        and values.number("mi_saturated") == 1.0
        and values.text("t") == "5"
    )
    assert all(np.isnan(values.number(key)) for key in ("kl_se", "a", "n", "none"))
    assert values.dimensions("d").tolist()[0] == 1 and np.isnan(values.dimensions("d")[1])
    assert list(values.odd) == ["f kl_se", "f a", "f n"]
    assert prune([[[[[[1]]]]]]) == [[[["…"]]]] and len(prune([0] * 5000)) == 1000
    assert (
        cell(1.5e20, 2e16, 2, 2) == "1.5e+20 ± 2e+16"
        and cell(123456789.0, 0.5, 2, 2) == "123456789.00 ± 0.50"
    )


# ---------------------------------------------------------------- evaluation results


def test_result_only_in_its_file_is_reported(tmp_path: Path) -> None:
    for seed in range(2):
        folder = write_run(tmp_path / "s", "plain", seed, evaluations=2)
    assert evaluation_note(read_study(tmp_path / "s")).startswith(
        "nll, probe and oracle_gap are computed by"
    )
    (folder / "evaluations").mkdir()
    (folder / "evaluations/test-nll.json").write_text(json.dumps({"nll": 20.5, "nll_samples": 100}))
    study = read_study(tmp_path / "s")
    assert study.runs["nll"].dropna().tolist() == [20.5]
    assert evaluation_note(study).startswith("1 of 2 finished runs lacks nll")
    (folder / "evaluations/test-nll.json").write_text(json.dumps({"nll": "odd"}))
    # evaluate.py considers it evaluated: a note says what is wrong
    study = read_study(tmp_path / "s")
    assert evaluation_note(study).startswith("1 of 2") and "summary.json nll" in study.notes[0]


# ---------------------------------------------------------------- samples


def png(width: int = 2, height: int = 1, extra: bytes = b"") -> bytes:
    def part(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\1\2")
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", header)
        + part(b"IDAT", pixels)
        + part(b"IEND", b"")
        + extra
    )


def test_png_check_rejects_any_damage() -> None:
    full = png()
    assert (
        is_png(full)
        and not is_png(png(width=0))
        and not is_png(png(height=20_000))
        and not is_png(png(extra=b"x"))
    )
    assert not any(is_png(full[:end]) for end in range(len(full)))
    assert not any(
        is_png(full[:i] + bytes([full[i] ^ 1]) + full[i + 1 :]) for i in range(len(full))
    )


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("prior.png", b"secret", "samples/prior.png is not a complete PNG"),
        ("prior.png", b"", "samples/prior.png is not a complete PNG"),
        ("prior.png", png() + b"secret", "samples/prior.png is not a complete PNG"),
        ("prior.png", b"\x89PNG\r\n\x1a\nsecret", "samples/prior.png is not a complete PNG"),
        ("prior.txt", b"", "samples/prior.txt is empty"),
        ("prior.txt", b"\n \n", "samples/prior.txt is empty"),
        ("prior.txt", b"\tdrawn\n1\t\xff\xfe\n", "samples/prior.txt is not UTF-8"),
        ("prior.txt", bytes(range(256)) * 100, "samples/prior.txt is not UTF-8"),
        ("prior.txt", b"\t" * 100_000, "samples/prior.txt is empty"),
        ("prior.txt", b"a\t" * 100_000, ""),
    ],
)
def test_odd_samples_are_skipped_with_a_note(
    tmp_path: Path, name: str, content: bytes, note: str
) -> None:
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=2)
    (folder / "samples").mkdir()
    (folder / "samples" / name).write_bytes(content)
    text = write_report(tmp_path / "s")[0].read_text()
    assert note in text and ("Notes on files" in text) == bool(note)
    assert not (tmp_path / "s/report/samples").exists() and text.count("<th>") < 500
    assert not any(b"secret" in data for data in read_report_bytes(tmp_path / "s/report").values())


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("linked", ["samples", "samples/prior.png", "samples/prior.txt"])
def test_linked_sample_is_not_published(tmp_path: Path, linked: str) -> None:
    (tmp_path / "private").mkdir()
    for name, content in (("prior.png", png()), ("prior.txt", b"\tsecret\n1\tsecret words\n")):
        (tmp_path / "private" / name).write_bytes(content)
    folder = write_run(tmp_path / "s", "plain", 0, evaluations=2)
    if linked == "samples":
        (folder / linked).symlink_to(tmp_path / "private")
    else:
        (folder / "samples").mkdir()
        (folder / linked).symlink_to(tmp_path / "private" / Path(linked).name)
    write_report(tmp_path / "s")
    published = read_report_bytes(tmp_path / "s/report")
    assert not any(b"secret" in data or data == png() for data in published.values())


# ---------------------------------------------------------------- links in a report


def replace_with_link(link: Path, target: Path) -> None:
    """Move the file or folder `link` to `target`, and put a link in its position."""
    link.rename(target) if link.exists() else target.mkdir()
    link.symlink_to(target)


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    "name",
    [
        "",
        "figures",
        "tables",
        "samples",
        "index.html",
        ".uncollapse",
        "tables/summary.csv",
        "tables/runs.tex",
    ],
)
def test_link_leaving_report_is_refused(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture
) -> None:
    study = tmp_path / "s"
    write_run(study, "plain", 0, evaluations=2)
    assert main([str(study)]) == 0
    replace_with_link(study / "report" / name if name else study / "report", tmp_path / "elsewhere")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    write_run(study, "bn_mu", 0, evaluations=2)
    capsys.readouterr()
    assert main([str(study)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "a link that leads out of" in error
    assert all(path.read_bytes() == data for path, data in before.items())
    assert not list((study / "report").rglob(".*.new"))


@pytest.mark.usefixtures("no_figures")
def test_link_within_study_is_followed(tmp_path: Path) -> None:
    write_run(tmp_path / "s", "plain", 0, evaluations=2)
    (tmp_path / "s/big").mkdir()
    (tmp_path / "s/report").symlink_to("big")
    assert main([str(tmp_path / "s")]) == 0 and (tmp_path / "s/big/index.html").is_file()


# ---------------------------------------------------------------- packed runs


@pytest.mark.usefixtures("no_figures")
def test_report_of_packed_runs_equals_report_of_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = sound_runs(tmp_path / "s")
    write_report(study)
    expected = read_report_bytes(study / "report")
    runs = [
        read_run(Run(path.parent), study) for path in sorted(study.glob("runs/*/*/*/config.yaml"))
    ]
    (tmp_path / "t" / "s").mkdir(parents=True)
    pack = tmp_path / "t" / "s" / "runs.parquet"
    pack.write_bytes(b"")
    packed = [replace(saved, run=None, views=dict) for saved in runs]
    monkeypatch.setattr(results, "iterate_runs", lambda path, notes: packed)
    for given in (pack, pack.parent):
        path, _ = write_report(given)
        assert (
            path == pack.parent / "report/index.html" and read_report_bytes(path.parent) == expected
        )


# ---------------------------------------------------------------- data locations


def write_run_on_data(
    study: Path, head: str, seed: int, place: str, said: bool = True, **data: Any
) -> Path:
    """A run on data in the folder `place`; `said`: its overrides name the folder."""
    folder = write_run(
        study, head, seed, overrides="default" if not said else f"data.dir=-{head}-{seed}",
        evaluations=2,
        slots={"data": {"dir": place, "name": "yelp"}},
    )  # fmt: skip
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["overrides"] = {"data.dir": place} if said else {}
    (folder / "config.yaml").write_text(json.dumps(config))
    (folder / "data.json").write_text(json.dumps({"vocab": 10, "level": "word"} | data))
    return folder


SAME, OTHER = {"content": "ab12"}, {"content": "cd34"}


@pytest.mark.parametrize(
    ("runs", "groups"),
    [
        # two machines, one set of files
        ([("/home/a/yelp", SAME), ("/mnt/b/data", SAME)], ["Plain VAE"]),
        ([("/home/a/yelp", SAME), ("/mnt/b/yelp", OTHER)], ["Plain VAE (data.dir=…/yelp)",
        ("Plain VAE (data.dir=…/yelp "
                                                                                           "(2))")]),
        # older runs have no fingerprint: the rest of data.json and the name of the folder count
        ([("/home/a/yelp", {}), ("/mnt/b/yelp", {})], ["Plain VAE"]),
        ([("/home/a/mnist", {}), ("/home/a/fashion", {})], [("Plain VAE "
                                                            "(data.dir=…/fashion)"),
                                                            "Plain VAE (data.dir=…/mnist)"]),
        ([("/home/a/yelp", {"vocab": 10}), ("/mnt/b/yelp", {"vocab": 11})],
         ["Plain VAE (data.dir=…/yelp)", "Plain VAE (data.dir=…/yelp (2))"]),
        ([("/home/a/yelp", SAME), ("/mnt/b/yelp", {})], ["Plain VAE"]),
        # an invalid fingerprint counts as none
        ([("/home/a/yelp", SAME), ("/mnt/b/yelp", {"content": [1]})], ["Plain VAE"]),
        # shared overrides are listed as before
        ([("/home/a/yelp", SAME), ("/home/a/yelp", SAME)], ["Plain VAE (data.dir=…/yelp)"]),
    ],
)  # fmt: skip
def test_data_location_does_not_split_group(tmp_path: Path, runs: list, groups: list[str]) -> None:
    for seed, (place, data) in enumerate(runs):
        write_run_on_data(tmp_path / "s", "plain", seed, place, **data)
    study = read_study(tmp_path / "s")
    assert sorted(study.runs["group"].unique()) == sorted(groups) and len(study.runs) == len(runs)


def test_older_runs_on_different_data_stay_separate(tmp_path: Path) -> None:
    write_run_on_data(tmp_path / "s", "plain", 0, "/home/a/yelp", vocab=10)
    (tmp_path / "s/runs/plain/data.dir=-plain-0").rename(tmp_path / "s/runs/plain/data.dir=-other")
    write_run_on_data(tmp_path / "s", "plain", 0, "/mnt/b/yelp", vocab=11)
    study = read_study(tmp_path / "s")
    assert len(study.runs) == 2 and not study.notes


def test_run_on_two_machines_counts_once(tmp_path: Path) -> None:
    write_run_on_data(tmp_path / "s", "plain", 0, "/home/a/yelp", **SAME)
    write_run_on_data(tmp_path / "s", "plain", 1, "/mnt/b/data", said=False, **SAME)
    twin = write_run_on_data(tmp_path / "s", "plain", 0, "/mnt/b/data", said=False, **SAME)
    write_run_on_data(tmp_path / "s", "bn_mu", 0, "/mnt/b/data", **SAME)
    (
        write_run_on_data(tmp_path / "s", "bn_mu", 1, "/home/a/yelp", **SAME) / "data.json"
    ).write_text("[1]")
    study = read_study(tmp_path / "s")
    assert study.runs.groupby("group")["seed"].apply(list).to_dict() == {
        "Plain VAE": [0, 1],
        "BN on μ": [0],
        "BN on μ (data.dir=…/yelp)": [1],  # it is unknown which data these were
    }
    assert sum("the same run as" in note for note in study.notes) == 1 and twin.is_dir()
    facts = study.runs["data"].tolist()
    assert facts.count("vocab 10, level word") == 3 and not any("ab12" in text for text in facts)
