"""The stages of start-up, timed in a fresh process: prints {stage: seconds} as JSON.

The imports themselves are measured, so they are between the clock readings and not at the top.
"""

import json
import time


class Stopwatch:
    """Seconds between successive calls."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def finish(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self.last = now - self.last, now


def time_stages() -> dict[str, float]:
    watch = Stopwatch()
    # the order matters: a package is charged to the first stage that imports it
    import torch  # noqa: F401

    watch.finish("import torch")
    from hydra import compose, initialize_config_dir

    watch.finish("import hydra")
    import uncollapse.models.lstm
    import uncollapse.run
    import uncollapse.training.trainer  # noqa: F401
    from uncollapse.config import CONF
    from uncollapse.config.sections import load_section
    from uncollapse.data.english import english

    watch.finish("import uncollapse")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train")
    watch.finish("compose the config")
    grammar = english()
    watch.finish("data: grammar tables")
    grammar.entropy()
    watch.finish("data: entropy")
    load_section(cfg.data, "data").load()
    watch.finish("data: draw sentences")
    return watch.seconds


if __name__ == "__main__":
    print(json.dumps(time_stages()))
