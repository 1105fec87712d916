"""Data sets: their configs, readers, and batches."""

SPLITS = ("train", "valid", "test")

# Keys of a config that hold paths. The same data may be elsewhere on another machine, so runs are
# compared by the `content` in their data.json instead, which also covers a hub set's revision. Only
# a text value is a path: `data.train=96` is a size.
LOCATIONS: tuple[str, ...] = (
    "data.dir",
    "data.file",
    "data.train",
    "data.valid",
    "data.test",
    "data.hub",
    "data.tokenizer",
    "data.cache",
    "data.own_cache",
)
