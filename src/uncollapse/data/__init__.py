SPLITS = ("train", "valid", "test")
# config keys that say where data lie, where their value is text (data.train may be a size, too)
LOCATIONS = ("data.dir", "data.train", "data.valid", "data.test", "data.hub", "data.tokenizer")
