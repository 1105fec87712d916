"""How long does the report of a study of many runs take, and how much of that is start-up?

And how large is its page, and how soon is it ready in a browser (in processor time)?
"""

import json
import shutil
from pathlib import Path

import numpy as np
import yaml

from bench.processes import REPORT_COMMAND, TRAIN_COMMAND, run_quietly, scratch_folder
from bench.table import print_table
from bench.timing import time_command
from uncollapse.config import heads
from uncollapse.json_types import JsonObject
from uncollapse.runs.identity import compute_identity
from uncollapse.runs.layout import (
    CONFIG,
    DATA,
    DONE,
    ROWS_FILE,
    SUMMARY,
    Run,
    find_runs,
    locate_run,
)
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_summary
from uncollapse.runs.rows import last_test_row, read_run_rows

SHORT_RUN = (
    "trainer.max_steps=8",
    "trainer.eval_every=1",
    "data.train=600",
    "data.valid=200",
    "data.test=200",
)
VARIED = ("nelbo", "rec", "kl")  # the numbers in which the copies differ


def measure_report(quick: bool) -> dict[str, float]:
    """Wall seconds for many runs beside those for one, which is mostly start-up."""
    count = 100 if quick else 500
    with scratch_folder() as folder:
        run_quietly([*TRAIN_COMMAND, *SHORT_RUN, f"results={folder}", "study=real"])
        (real,) = find_runs(folder / "real")
        one = time_command([*REPORT_COMMAND, str(real.folder)])
        copy_run(real, folder / "many", count)
        single = folder / "single.html"
        many = time_command([*REPORT_COMMAND, str(folder / "many"), "--single", str(single)])
        page = {"page_mb": single.stat().st_size / 1e6, **time_page(single)}
    # start-up cancels, so this is the time that one more run takes
    each = (many - one) / count
    rows = {"one run": f"{one:.1f}", f"{count} runs": f"{many:.1f}", "each more": f"{each:.4f}"}
    print_table("report.py", "study", {"seconds": str}, rows)
    print(", ".join(f"{name} {value:.2f}" for name, value in page.items()))
    own = {"runs": count, "seconds": many, "seconds_one_run": one, "ms_per_run": 1e3 * each}
    return {**own, **page}


def time_page(page: Path) -> dict[str, float]:
    """Seconds of its own thread until a page is ready; nothing without playwright and chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {}
    if chromium is None:
        return {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page()
        session = opened.context.new_cdp_session(opened)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        opened.goto(page.as_uri())
        opened.locator("html[data-ready]").wait_for(state="attached")
        metrics = session.send("Performance.getMetrics")["metrics"]
        browser.close()
    found = {metric["name"]: metric["value"] for metric in metrics}
    return {"page_ready_cpu_s": found["TaskDuration"]}


def copy_run(real: Run, study: Path, count: int) -> None:
    """A study of `count` copies of a run over all heads, their numbers varied a little."""
    rng = np.random.default_rng(0)
    config = read_config(real)
    rows, summary, data = read_run_rows(real).rows, read_summary(real), real.read(DATA).decode()
    # head by head, then the next seed, as a sweep over seeds would have them
    for i in range(count):
        head, seed = heads()[i % len(heads())], i // len(heads())
        named = {"head": head, "label": head, "seed": seed, "study": study.name, "overrides": {}}
        varied = [vary(row, rng) for row in rows]
        run = locate_run(str(study.parent), study.name, head, {}, seed)
        run.folder.mkdir(parents=True)
        files = make_files({**config, **named}, varied, {**summary, **named})
        for name, text in {**files, DATA: data, DONE: ""}.items():
            (run.folder / name).write_text(text)


def make_files(config: JsonObject, rows: list[JsonObject], summary: JsonObject) -> dict[str, str]:
    """The files of a finished run by name, in which config, rows and summary agree."""
    command = f"# python train.py head={config['head']} seed={config['seed']}"
    test = last_test_row(rows, "eval")
    numbers = {name: test[name] for name in VARIED}
    return {
        CONFIG: f"{command} study={config['study']}\n{yaml.safe_dump(config)}",
        ROWS_FILE: "".join(json.dumps(row) + "\n" for row in rows),
        SUMMARY: json.dumps({**summary, "identity": compute_identity(config), **numbers}),
    }


def vary(row: JsonObject, rng: np.random.Generator) -> JsonObject:
    """A row with its main numbers changed by about 1 %."""
    factor = 1 + 0.01 * rng.standard_normal()
    return {**row, **{name: row[name] * factor for name in VARIED}}
