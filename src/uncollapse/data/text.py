"""Text as a run uses it: splits of sentences of token ids, a vocabulary, batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from uncollapse.data import SPLITS as SPLITS
from uncollapse.data.batches import BATCHING, epoch_batches
from uncollapse.data.corpus import Corpus, TextBatch, make_batch
from uncollapse.data.levels import Words, escape_controls
from uncollapse.data.profile import Profile, profile_corpus
from uncollapse.errors import check_choice, check_integer
from uncollapse.interfaces.data import BestAccuracy, Data, LabelEntropy
from uncollapse.json_types import JsonObject


@dataclass(frozen=True)
class TextData(Data):
    """Sentences of token ids.

    Beyond the interface: classes (name -> the names of the class numbers), exact_log_prob (log p(x)
    [N] of any sentences, -inf for impossible ones), level (what a token is), profiles (split ->
    Profile, counted here where missing), skipped (split -> reason -> count), content (fingerprint
    of the user's files; None for data that the config determines), draw_epoch (the training
    sentences of an epoch after the first; None: the same in every epoch), divided (the file that
    the splits come from, and their shares).
    """

    corpora: Mapping[str, Corpus] = field()
    vocabulary: tuple[str, ...]
    batch_size: int
    batching: str = "mixed"
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    entropy: float | None = None
    log_prob: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    best_accuracy: BestAccuracy | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exact_log_prob: Callable[[Corpus], np.ndarray] | None = None
    level: Words = field(default_factory=Words)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    content: str | None = None
    draw_epoch: Callable[[int], Corpus] | None = None
    label_entropy: LabelEntropy | None = None
    divided: JsonObject | None = None

    @property
    def inputs(self) -> int:
        """The size of the vocabulary."""
        return len(self.vocabulary)

    def size(self, split: str) -> int:
        return len(self.corpora[split])

    def lengths(self, split: str) -> np.ndarray:
        """Tokens per sentence, [N]."""
        return self.corpora[split].lengths

    def batches(
        self,
        split: str,
        seed: int,
        epoch: int,
        size: int | None = None,
        batching: str | None = None,
    ) -> Sequence[np.ndarray]:
        """The example numbers of each batch of one epoch."""
        policy = batching or self.batching
        # only by_length needs the lengths, which take 80 MB for ten million sentences
        lengths = (
            self.lengths(split) if policy == "by_length" else np.broadcast_to(0, self.size(split))
        )
        return epoch_batches(lengths, size or self.batch_size, policy, seed, epoch)

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> TextBatch:
        """These examples; training examples depend on the epoch only where `draw_epoch` is set."""
        if split == "train" and epoch and self.draw_epoch:
            return make_batch(self.draw_epoch(epoch), examples)
        return make_batch(self.corpora[split], examples)

    def texts(self, corpus: Corpus) -> list[str]:
        """Sentences as readable text, each on one line."""
        return self.level.texts(corpus, self.vocabulary)

    def facts(self) -> JsonObject:
        """Sizes, tokens, characters and bytes per sentence, the profile, and exact quantities."""
        profiles = {
            # data from files have their profiles in the cache; others are counted here
            split: dict(self.profiles.get(split) or profile_corpus(part))
            for split, part in self.corpora.items()
        }
        return {
            "vocab": len(self.vocabulary),
            "level": self.level.name,
            **{split: len(corpus) for split, corpus in self.corpora.items()},
            "words_per_sentence": {
                split: corpus.words_per_sentence for split, corpus in self.corpora.items()
            },
            **{
                key: {split: value[key] for split, value in profiles.items()}
                for key in Profile.__annotations__
            },
            "chars_per_sentence": mean_per_split(
                {split: corpus.chars for split, corpus in self.corpora.items()}
            ),
            "bytes_per_sentence": mean_per_split(
                {split: corpus.bytes for split, corpus in self.corpora.items()}
            ),
            "skipped": {split: dict(counts) for split, counts in self.skipped.items()},
            **(
                {"classes": {name: list(names) for name, names in self.classes.items()}}
                if self.classes
                else {}
            ),
            "entropy": self.entropy,
            "oracle_nll": {split: -float(values.mean()) for split, values in self.log_prob.items()}
            or None,
            "content": self.content,
            **({"fresh": True} if self.draw_epoch else {}),
            **({"divided": self.divided} if self.divided else {}),
        }

    def listing(self) -> str | None:
        """The vocabulary, one entry a line, control characters escaped; line number = id."""
        return "\n".join(map(escape_controls, self.vocabulary)) + "\n"


def check_batching(batch_size: object, batching: str) -> None:
    """InputError unless batch_size is an integer >= 1 and batching a known policy."""
    check_integer("data.batch_size", batch_size, 1)
    check_choice("data.batching", batching, BATCHING)


def mean_per_split(values: Mapping[str, np.ndarray | None]) -> dict[str, float] | None:
    """The mean of each split's values; None where they are not known."""
    known = {split: float(np.mean(found)) for split, found in values.items() if found is not None}
    return known or None
