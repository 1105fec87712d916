"""Finds the file of each split in a folder of the user."""

from collections.abc import Sequence
from pathlib import Path

from uncollapse.data.packed import PACKED_ENDINGS
from uncollapse.errors import InputError

SPLIT_NAMES = {
    "train": ("train",),
    "valid": ("valid", "validation", "dev", "val"),
    "test": ("test",),
}


def find_split_file(
    folder: Path, split: str, endings: Sequence[str], advice: str, others: Sequence[str] = ()
) -> Path:
    """The file of a split in a folder, under any of its usual names.

    Files with one of `endings` come first, then those with one of `others`. InputError, with
    `advice` at its end, where there is none, and where there are several with different endings.
    """
    if not folder.is_dir():
        raise InputError(
            f"data.dir={folder}: no such "
            f"folder{'' if folder.is_absolute() else f' in {Path.cwd()}'}{advice}"
        )
    files = list_files(folder, split, endings) or list_files(folder, split, others)
    if not files:
        names = ", ".join(f"{alias}{endings[0]}" for alias in SPLIT_NAMES[split])
        more = (
            f", or with {', '.join(endings[1:])} in place of {endings[0]}"
            if len(endings) > 1
            else ""
        )
        raise InputError(
            f"data.dir={folder}: no file for the {split} split; looked for {names}{more}, plain or "
            f"{', '.join(PACKED_ENDINGS)}{advice}"
        )
    if len(files) > 1:
        raise InputError(
            f"data.dir={folder}: several files for the {split} split, "
            f"{', '.join(file.name for file in files)}; "
            "choose one with data.format, or give data.train, data.valid and data.test in place of "
            "data.dir"
        )
    return files[0]


def list_files(folder: Path, split: str, endings: Sequence[str]) -> list[Path]:
    """The file of a split with each ending, where there is one; plain before compressed."""
    names = [
        [
            f"{alias}{ending}{packed}"
            for alias in SPLIT_NAMES[split]
            for packed in ("", *PACKED_ENDINGS)
        ]
        for ending in endings
    ]
    # the first of the usual names for each ending, so that train.txt and train.txt.gz do not
    # clash
    found = [
        next((folder / name for name in own if (folder / name).is_file()), None) for own in names
    ]
    return [file for file in found if file is not None]
