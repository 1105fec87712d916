SPLITS = ("train", "valid", "test")

# Keys of a config that say where data lie. The same data may lie elsewhere on another machine:
# what they hold is the `content` in a run's data.json. Only text is a location: `data.train=96`
# is a size, and `data.hub` may also name a set on the hub, whose revision `content` holds too.
LOCATIONS: tuple[str, ...] = (
    "data.dir",
    "data.train",
    "data.valid",
    "data.test",
    "data.hub",
    "data.tokenizer",
    "data.cache",
    "data.own_cache",
)
