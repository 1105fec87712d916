SPLITS = ("train", "valid", "test")
