"""Text sets as files: from the hub, by their recipe, or put there by hand; counted, checked and written down in manifest.json.

    python scripts/prepare_data.py snli --out FOLDER

Every part is written under another name and moved into place when it is whole; a second call skips what is there and whole.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncollapse.config import conf_file, typed
from uncollapse.data.blocks import BLOCK, Block, Lines, Source, find_part
from uncollapse.data.dialogue import DialogueConfig, from_hub
from uncollapse.data.digests import file_digest
from uncollapse.data.files import MANIFEST, TextConfig
from uncollapse.data.hub import hub_parts
from uncollapse.data.sets import SETS, Known
from uncollapse.data.sets import main as main
from uncollapse.data.synthetic import draw
from uncollapse.data.text import SPLITS
from uncollapse.data.tokenise import cores, in_order, progress
from uncollapse.data.words import split_words
from uncollapse.disk import sync_to_disk, write_atomic
from uncollapse.errors import InputError, expand_home, shorten

SEED = 0  # of the synthetic set


def prepare(name: str, out: Path, overrides: Sequence[str] = (), licensed: bool = False) -> None:
    """Make or check the files of a set in `out`. InputError for what cannot be had, or does not equal what is known or was there."""
    known, cfg = SETS[name], config_of(name, overrides)
    cfg.check()
    print(f"{name}: licence: {known.licence}", flush=True)
    if name == "synthetic":
        plan = Plan(out, {"recipe": "He et al. 2019", "seed": SEED}, labels=False)
        plan.make(("train.txt", "valid.txt", "test.txt"), lambda: drawn(SEED), known)
    elif isinstance(cfg, DialogueConfig):
        check_whole(cfg)
        plan = Plan(out, {"hub": cfg.hub, "revision": cfg.revision}, labels=True)
        rows = known.rows if cfg.hub == config_of(name, ()).hub else {}
        plan.make(tuple(f"{split}.jsonl" for split in SPLITS), lambda: dialogues(cfg, rows), known)
    elif cfg.hub is None or (known.by_hand and not licensed and not is_folder(cfg.hub)):
        plan = Plan(out, {"by": "hand"}, labels=bool(cfg.labels))
        plan.check(name, known)
    else:
        source = {"hub": cfg.hub, "revision": cfg.revision, **cfg.choice()}
        plan = Plan(out, source, labels=cfg.hub_label is not None)
        own = config_of(name, ())
        usual = isinstance(own, TextConfig) and (cfg.hub, cfg.subset) == (own.hub, own.subset)
        plan.make(
            tuple(f"{split}.txt" for split in SPLITS),
            lambda: fetched(cfg, known if usual else None),
            known,
        )
    model = " model=lstm_conditional" if isinstance(cfg, DialogueConfig) else ""
    print(f"next: python train.py data={name} data.dir={out}{model}", flush=True)


def config_of(name: str, overrides: Sequence[str]) -> TextConfig | DialogueConfig:
    """conf/data/<name>.yaml with the overrides. InputError for a key that it does not have."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.create(conf_file("data", name))
    for word in overrides:
        key, sign, value = word.removeprefix("data.").partition("=")
        if not sign or not word.startswith("data.") or key not in node:
            keys = ", ".join(f"data.{key}" for key in node if key != "_target_")
            raise InputError(f"{word}: allowed are {keys}, each with =VALUE")
        node = OmegaConf.merge(node, OmegaConf.from_dotlist([f"{key}={value}"]))
    return typed(node, "data")


def check_whole(cfg: DialogueConfig) -> None:
    """InputError for a size: dialogues are written whole, and the sizes count responses."""
    for split in SPLITS:
        if getattr(cfg, f"{split}_size") is not None:
            raise InputError(
                f"data.{split}_size={getattr(cfg, f'{split}_size')}: dialogues are written whole; give it to train.py"
            )


def is_folder(hub: str) -> bool:
    return expand_home(hub).is_dir()


# ---------------------------------------------------------------- where the lines come from


def drawn(seed: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    for split, words in draw(seed):
        yield (
            f"{split}.txt",
            iter(["".join(" ".join(map(str, row)) + "\n" for row in words.tolist()).encode()]),
        )


def fetched(cfg: TextConfig, known: Known | None) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The parts of a hub set as blocks of lines; the set's own sizes are checked first."""
    with hub_parts(cfg) as parts, ThreadPoolExecutor(cores()) as pool:
        check_rows(
            cfg.hub,
            {split: parts[split].table.num_rows for split in SPLITS},
            known.rows if known else {},
        )
        for split in SPLITS:
            yield f"{split}.txt", as_lines(parts[split], pool)


def dialogues(
    cfg: DialogueConfig, rows: Mapping[str, int]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The parts of a hub set of dialogues as lines of JSON; the set's own sizes are checked first."""
    parts = from_hub(cfg)
    check_rows(cfg.hub, {split: len(part.sizes) for split, part in parts.items()}, rows)
    for split, part in parts.items():
        yield f"{split}.jsonl", part.lines()


def check_rows(hub: str | None, found: Mapping[str, int], known: Mapping[str, int]) -> None:
    """InputError for a part that has not as many rows as are known."""
    for split, rows in known.items():
        if found[split] != rows:
            raise InputError(
                f"{hub}: its {split} part has {found[split]:,} rows where {rows:,} are known; it has changed or is damaged"
            )


def as_lines(source: Source, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """Blocks of lines of a source: its words parted by one space, label and TAB before them; sentences without words are left out."""
    with progress(source.size) as advance:
        last = 0
        for end, lines in in_order(
            pool, lambda b: (b.end, block_lines(b)), source.blocks(BLOCK), 2 * cores()
        ):
            yield lines
            advance(end - last)
            last = end


def block_lines(block: Block) -> bytes:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts, labels = block.columns()
    words, offsets = split_words(texts)
    space, tab = (pa.scalar(mark, pa.large_string()) for mark in " \t")
    lines = pc.binary_join(pa.LargeListArray.from_arrays(pa.array(offsets), words), space)
    kept = pc.not_equal(lines, "")
    if labels is not None:
        lines = pc.binary_join_element_wise(labels, lines, tab)
    found = lines.filter(kept).to_pylist()
    return "".join(line + "\n" for line in found).encode()


# ---------------------------------------------------------------- what lies in the folder


@dataclass
class Plan:
    """A folder, where its content comes from and whether its lines have labels: what its manifest says and must go on saying."""

    out: Path
    source: dict[str, Any]
    labels: bool

    def make(
        self,
        names: Sequence[str],
        parts: Callable[[], Iterator[tuple[str, Iterator[bytes]]]],
        known: Known,
    ) -> None:
        """Write the files that are missing. InputError rather than change one that is there."""
        self.out.mkdir(parents=True, exist_ok=True)
        manifest = self.begun()
        missing = [name for name in names if not self.whole(name, manifest)]
        for name in names:
            if name not in missing:
                print(f"{self.out / name}: there and whole, skipped", flush=True)
        if not missing:
            return
        for name, blocks in parts():
            if name not in missing:
                continue
            with partial(self.out / name) as path:
                found = written(path, blocks)
                compare(self.out / name, found, known)
            manifest["files"][name] = found
            write_atomic(self.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
            print(
                f"{self.out / name}: {found['lines']:,} lines, {found['words']:,} words", flush=True
            )

    def check(self, name: str, known: Known) -> None:
        """Compare files that were put there by hand with what is known, and write the manifest. InputError says how to get them."""
        if not self.out.is_dir() or not any(self.out.glob("*.txt*")):
            raise InputError(f"{name}: {(known.by_hand or '').format(out=self.out)}")
        manifest = self.begun()
        for split in SPLITS:
            path = find_part(self.out, split, (".txt",), "")
            found = written(None, (block.data for block in Lines(path).blocks(BLOCK)))
            compare(path, found, known)
            manifest["files"][path.name] = found
            print(
                f"{path}: {found['lines']:,} lines, {found['words']:,} words, as known", flush=True
            )
        write_atomic(self.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def begun(self) -> dict[str, Any]:
        """The folder's manifest, or a new one. InputError for one of something else."""
        path, own = self.out / MANIFEST, {"source": self.source, "labels": self.labels}
        if not path.exists():
            return {**own, "files": {}}
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            there = {key: manifest[key] for key in own}
            files = dict(manifest["files"])
            if not all(isinstance(facts, dict) for facts in files.values()):
                raise TypeError("its `files` are not described")
            told = shorten(json.dumps(there))
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}: damaged ({error}); move it away, and the files with it"
            ) from error
        if there != own:
            raise InputError(
                f"{self.out}: it holds a set made otherwise ({path.name}: {told}); choose another --out"
            )
        return {**own, "files": files}

    def whole(self, name: str, manifest: dict) -> bool:
        """Whether a file is there and as the manifest says. InputError when it is there and is not."""
        path = self.out / name
        if not path.exists():
            return False
        known = manifest["files"].get(name, {}).get("sha256")
        if not path.is_file() or file_digest(path) != known:
            raise InputError(
                f"{path}: this file is there and nothing of this command's making; move it away or choose another --out"
            )
        return True


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A name to write under, moved to `path` at the end; nothing is left when something goes wrong."""
    scratch = path.with_name(f".{path.name}.part")
    try:
        scratch.unlink(missing_ok=True)  # left by a kill; a link there must not be written through
        yield scratch
        os.replace(scratch, path)
        sync_to_disk(path.parent)
    finally:
        with suppress(OSError):  # on a read-only disk even removing what is not there fails
            scratch.unlink(missing_ok=True)


def written(path: Path | None, blocks: Iterator[bytes]) -> dict[str, Any]:
    """Write blocks of whole lines (None: only read them); lines, words, bytes, the checksum, and that of the lines without white space at
    their ends."""
    lines = words = size = 0
    exact, bare = hashlib.sha256(), hashlib.sha256()
    with path.open("xb") if path else open(os.devnull, "wb") as file:
        for block in blocks:
            file.write(block)
            lines += block.count(b"\n") + (not block.endswith(b"\n") and bool(block))
            words, size = words + len(block.split()), size + len(block)
            exact.update(block)
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


def compare(path: Path, found: dict[str, Any], known: Known) -> None:
    """InputError when a file is not what is known of it."""
    split = next(
        split
        for split in SPLITS
        if path.name.startswith(split[:3]) or (split == "valid" and path.name[:3] == "dev")
    )
    lines, checksum = known.lines.get(split), known.checksums.get(split)
    if lines is not None and found["lines"] != lines:
        raise InputError(
            f"{path}: {found['lines']:,} lines where {lines:,} are known; it is cut short or another version"
        )
    if checksum is not None and found["bare_sha256"] != checksum:
        raise InputError(
            f"{path}: as many lines as known, but other words (sha256 {found['bare_sha256'][:12]}, known {checksum[:12]})"
        )
