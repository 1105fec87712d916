"""Starting points: a project of the user's own (`uncollapse init`), a remedy (`uncollapse new`)."""
