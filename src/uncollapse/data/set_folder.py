"""A folder with the files of a text set, and manifest.json, which describes them.

Each file is written under a temporary name and moved into place when it is complete. A later call
skips what is complete and never changes a file that it did not write.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from uncollapse.data import SPLITS
from uncollapse.data.blocks import BLOCK_BYTES
from uncollapse.data.digests import file_digest
from uncollapse.data.facts import SetFacts
from uncollapse.data.file_lines import Lines
from uncollapse.data.split_files import find_split_file
from uncollapse.data.text_files import MANIFEST
from uncollapse.disk import sync_to_disk, write_atomic
from uncollapse.errors import InputError, shorten
from uncollapse.json_types import JsonObject

# (file name, blocks of its content), one after another
Files = Iterator[tuple[str, Iterator[bytes]]]


@dataclass
class SetFolder:
    """A folder, where its content comes from, and whether its lines have labels."""

    out: Path
    source: JsonObject
    labels: bool

    def make(self, names: Sequence[str], files: Callable[[], Files], facts: SetFacts) -> None:
        """Write the missing files. InputError for an existing file of other content."""
        self.out.mkdir(parents=True, exist_ok=True)
        manifest = self.open_manifest()
        missing = [name for name in names if not self.is_complete(name, manifest)]
        for name in names:
            if name not in missing:
                print(f"{self.out / name}: already complete, skipped", flush=True)
        if not missing:
            return
        for name, blocks in files():
            if name not in missing:
                continue
            with temporary_name(self.out / name) as path:
                found = write_blocks(path, blocks)
                # before the file is moved into place, so that a wrong one never gets its final
                # name
                check_facts(self.out / name, found, facts)
            manifest["files"][name] = found
            # after every file, so that an interrupted command resumes with the next one
            self.save(manifest)
            print(
                f"{self.out / name}: {found['lines']:,} lines, {found['words']:,} words", flush=True
            )

    def check(self, name: str, facts: SetFacts) -> None:
        """Compare files put there by hand with the facts. InputError says how to get them."""
        if not self.out.is_dir() or not any(self.out.glob("*.txt*")):
            raise InputError(f"{name}: {(facts.by_hand or '').replace('{out}', str(self.out))}")
        manifest = self.open_manifest()
        for split in SPLITS:
            path = find_split_file(self.out, split, (".txt",), "")
            found = write_blocks(None, (block.data for block in Lines(path).blocks(BLOCK_BYTES)))
            check_facts(path, found, facts)
            manifest["files"][path.name] = found
            print(
                f"{path}: {found['lines']:,} lines, {found['words']:,} words, as expected",
                flush=True,
            )
        self.save(manifest)

    def save(self, manifest: JsonObject) -> None:
        write_atomic(self.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def open_manifest(self) -> JsonObject:
        """The folder's manifest, or a new one. InputError for one of another source."""
        path, own = self.out / MANIFEST, {"source": self.source, "labels": self.labels}
        if not path.exists():
            return {**own, "files": {}}
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            stated = {key: manifest[key] for key in own}
            files = dict(manifest["files"])
            if not all(isinstance(facts, dict) for facts in files.values()):
                raise TypeError("its `files` are not described")
            text = shorten(json.dumps(stated))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}: damaged ({error}); move it away, and the files with it"
            ) from error
        if stated != own:
            raise InputError(
                f"{self.out}: it holds a set made with other settings ({path.name}: {text}); "
                "choose another --out"
            )
        return {**own, "files": files}

    def is_complete(self, name: str, manifest: JsonObject) -> bool:
        """Whether a file exists with the digest in the manifest. InputError when it differs."""
        path = self.out / name
        if not path.exists():
            return False
        digest = manifest["files"].get(name, {}).get("sha256")
        if not path.is_file() or file_digest(path) != digest:
            raise InputError(
                f"{path}: this file exists and was not made by this command; "
                "move it away or choose another --out"
            )
        return True


@contextmanager
def temporary_name(path: Path) -> Iterator[Path]:
    """A path to write to, which replaces `path` at the end and is removed after an error."""
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.unlink(missing_ok=True)  # left by a killed process; never write through a link
        yield scratch
        os.replace(scratch, path)
        # the rename is durable only once the folder is synced
        sync_to_disk(path.parent)
    finally:
        with suppress(OSError):  # a read-only disk raises even for a file that does not exist
            scratch.unlink(missing_ok=True)


def write_blocks(path: Path | None, blocks: Iterator[bytes]) -> JsonObject:
    """Write blocks of complete lines (None: only read them), and count and digest them.

    `bare_sha256` is the digest of the lines without white space at their ends.
    """
    lines = words = size = 0
    exact, bare = hashlib.sha256(), hashlib.sha256()
    # mode x never opens an existing file, such as a link that someone placed there
    with path.open("xb") if path else open(os.devnull, "wb") as file:
        for block in blocks:
            file.write(block)
            # a last line without a line break counts too
            lines += block.count(b"\n") + (not block.endswith(b"\n") and bool(block))
            words, size = words + len(block.split()), size + len(block)
            exact.update(block)
            # published checksums are of lines without white space at their ends
            bare.update(b"".join(line.strip() + b"\n" for line in block.splitlines()))
        file.flush()
        if path:
            os.fsync(file.fileno())
    return {
        "lines": lines,
        "words": words,
        "bytes": size,
        "sha256": exact.hexdigest(),
        "bare_sha256": bare.hexdigest(),
    }


def check_facts(path: Path, found: JsonObject, facts: SetFacts) -> None:
    """InputError when a file differs from the facts about it."""
    # train.txt, valid.txt, val.txt, validation.txt, dev.txt, test.txt
    split = next(
        split
        for split in SPLITS
        if path.name.startswith(split[:3]) or (split == "valid" and path.name[:3] == "dev")
    )
    lines, checksum = facts.lines.get(split), facts.checksums.get(split)
    if lines is not None and found["lines"] != lines:
        raise InputError(
            f"{path}: {found['lines']:,} lines where {lines:,} are expected; "
            "it is truncated or another version"
        )
    if checksum is not None and found["bare_sha256"] != checksum:
        raise InputError(
            f"{path}: the expected number of lines, but different words "
            f"(sha256 {found['bare_sha256'][:12]}, expected {checksum[:12]})"
        )
