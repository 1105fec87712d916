"""A head on tiny data, and a short run of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig

from uncollapse import config
from uncollapse.building import Parts, prepare
from uncollapse.config import knobs_of
from uncollapse.config.overrides import compose_config
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import WEIGHTS

TINY_DATA = ("data.train=96", "data.valid=32", "data.test=32", "data.batch_size=16")
TINY_TEXT_MODEL = ("model.embedding=8", "model.hidden=12", "model.latent=4")
# kind of data -> words for a tiny model of such data
KINDS = {
    "text": (*TINY_DATA, *TINY_TEXT_MODEL),
    "vectors": ("model=linear", "model.latent=4", "data=gaussian", *TINY_DATA),
    "images": (
        "model=image_mlp",
        "model.hidden=12",
        "model.latent=4",
        "data=digits",
        *TINY_DATA,
    ),
}
# durations of remedies, made short: something must happen within a few steps
SHORT = {"pretrain_epochs": 1, "inner_max": 6, "inner_check": 3, "svi_steps": 2}
# 24 steps in epochs of 6; checkpoints at 7, 14 and 21 lie within epochs
RUN = ("trainer.epochs=4", "trainer.eval_every=7", "trainer.lr=1e-2")


@dataclass
class Case:
    """A head on tiny data, described by override words; `folder` is for runs."""

    head: str
    setting: tuple[str, ...]
    folder: Path

    def words(self, *more: str) -> list[str]:
        """The override words of this case, and more."""
        short = [f"{knob}={SHORT[knob]}" for knob in sorted(knobs_of(self.head) & SHORT.keys())]
        return [*self.setting, *short, *more]

    def config(self, *more: str) -> DictConfig:
        words = (f"head={self.head}", *self.words(*more))
        return compose_config(config.CONF, words).copy()

    def parts(self, *more: str) -> Parts:
        return prepare(self.config(*more), self.head)

    def run(self, name: str, *more: str) -> Path:
        """The folder of a run; the same name resumes the same run."""
        cfg = self.config(*more)
        cfg.results = str(self.folder / name)
        run(without_hydra(cfg), self.head, self.words(*more))
        (found,) = (self.folder / name / "scratch/runs" / self.head).glob("*/seed=0")
        return found

    @cached_property
    def full(self) -> Path:
        """The folder of a short run from beginning to end, made once."""
        return self.run("full", *RUN)

    def trained(self) -> Parts:
        """Components with another initialisation, then loaded with the weights of that run."""
        fresh = self.parts(*RUN, "seed=9")
        load_model(self.full / WEIGHTS, fresh.model)
        return fresh


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The config that a job of Hydra gets: without its own section."""
    return DictConfig({key: cfg._get_node(key) for key in cfg if key != "hydra"})
