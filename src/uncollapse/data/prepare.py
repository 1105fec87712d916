"""Text sets as files: from the hub, by their recipe, or put there by hand; counted, checked and written down in manifest.json.

    python scripts/prepare_data.py snli --out FOLDER

Every part is written under another name and moved into place when it is whole; a second call skips what is there and whole.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncollapse.checkpoint import write_whole
from uncollapse.config import CONF, typed
from uncollapse.data.blocks import BLOCK, Block, Lines, Source, find_part
from uncollapse.data.dialogue import DialogueConfig, from_hub
from uncollapse.data.files import MANIFEST, TextConfig
from uncollapse.data.hub import hub_parts
from uncollapse.data.synthetic import draw
from uncollapse.data.text import SPLITS
from uncollapse.data.tokenise import cores, in_order, progress
from uncollapse.data.words import split_words
from uncollapse.errors import InputError

SEED = 0  # of the synthetic set


@dataclass(frozen=True)
class Known:
    """What is known of a set. rows: of the hub set's parts; lines and checksums (of the lines, without white space at their ends): of the
    files; by_hand: how to get the files, where no hub set has them or a licence comes first."""

    licence: str
    rows: Mapping[str, int] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    by_hand: str | None = None


def per_split(*values: Any) -> dict[str, Any]:
    return dict(zip(SPLITS, values, strict=True))


SETS = {
    "ptb": Known(
        "LDC (LDC99T42), research use, not to be passed on",
        rows=per_split(42_068, 3_370, 3_761),
        lines=per_split(42_068, 3_370, 3_761),
        checksums=per_split(
            "5145926136ee9aef6f359b267ac09cc8a920879cd71725de17c490dd111d2998",
            "fadf6277290823f881b7bf39b84e88536c87a859cd629dcfd1d2dfdef06097cf",
            "c2f8c16a611595d31da5acdb7a61d50e7d5e95f6b9c05fceda5f5ddc4383e791",
        ),
        by_hand="the Penn Treebank is licensed by the LDC (catalog.ldc.upenn.edu/LDC99T42); with a licence, either copy ptb.train.txt, "
        "ptb.valid.txt and ptb.test.txt of Mikolov's simple-examples.tgz to {out}/train.txt, valid.txt and test.txt and give this command "
        "again to check them, or add --licensed to fetch them from the hub",
    ),
    "yahoo": Known("Yahoo Webscope, research use", rows={"train": 1_400_000, "test": 60_000}),
    "yelp": Known("Yelp data set terms, academic use", rows={"train": 650_000, "test": 50_000}),
    "short_yelp": Known(
        "Yelp data set terms, academic use",
        lines=per_split(100_000, 10_000, 10_000),
        by_hand="not on the hub as a set: the 100,000 / 10,000 / 10,000 lines of label TAB text come with the code of Li et al. 2019 "
        "(github.com/bohanli/vae-pretraining-encoder, its prepare_data.py), drawn from github.com/shentianxiao/language-style-transfer; "
        "put train.txt, valid.txt and test.txt into {out} and give this command again to check them",
    ),
    "captions": Known(
        "Flickr30k, research and non-commercial use",
        lines=per_split(145_000, 5_070, 5_000),
        checksums=per_split(
            "2984bc53425e3d5c8d518a345ac42e223999ab8105de156636630495ea1b4df8",
            "ffdea65b5e5d00d31122fc68c356b6e33b091224f3c3c0a7ae890beefcbc48e7",
            "59afce311d96c7223c32501dd384205cbcaee076382053945098e0d4ba0cfb0d",
        ),
        by_hand="not on the hub with all five captions: in a clone of github.com/multi30k/dataset, `cd data/task2/tok; for p in train val "
        "test_2016; do cat $p.lc.norm.tok.?.en > $p.txt; done`, copy them to {out} as train.txt, valid.txt, test.txt, and give this "
        "command again to check them",
    ),
    "dailydialog": Known("CC BY-NC-SA 4.0", rows=per_split(11_118, 1_000, 1_000)),
    "snli": Known("CC BY-SA 4.0", rows=per_split(550_152, 10_000, 10_000)),
    "wikitext": Known("CC BY-SA 3.0 and GFDL", rows=per_split(36_718, 3_760, 4_358)),
    "synthetic": Known(
        "none needed",
        lines=per_split(16_000, 2_000, 2_000),
        checksums=per_split(
            "f6de8e828cc45e97338d61c6ec106bc17f0e384c14adacaece61837c39209b1d",
            "06cc3fd4b09f375120b823f5625e7b636a58ffa9f2319352484c35042faec77f",
            "3263538a7f2782163ef498782e182d49a48de6918f323882add180f70fbeb699",
        ),
    ),
}
HELP = "Make the files of a text set in a folder: from the hub, by their recipe, or check those that were put there by hand."


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence, or 130 when stopped."""
    parser = argparse.ArgumentParser(prog="prepare_data.py", description=HELP)
    parser.add_argument("name", help=", ".join(SETS))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--licensed", action="store_true", help="ptb: you have the LDC's licence; fetch it from the hub"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="data.KEY=VALUE",
        help="as for train.py: data.train_size=1000 data.hub=FOLDER_OF_PARQUET_FILES ...",
    )
    asked = parser.parse_intermixed_args(argv)
    try:
        prepare(asked.name, asked.out.expanduser(), asked.overrides, asked.licensed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename or asked.out}: cannot be read or written ({error.strerror})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the parts that are missing", file=sys.stderr)
        return 130
    return 0


def prepare(name: str, out: Path, overrides: Sequence[str] = (), licensed: bool = False) -> None:
    """Make or check the files of a set in `out`. InputError for what cannot be had, or does not equal what is known or was there."""
    if name not in SETS:
        raise InputError(f"{name}: no such text set; allowed are {', '.join(SETS)}")
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
        plan.make(tuple(f"{split}.txt" for split in SPLITS), lambda: fetched(cfg, known if usual else None), known)
    model = " model=lstm_conditional" if isinstance(cfg, DialogueConfig) else ""
    print(f"next: python train.py data={name} data.dir={out}{model}", flush=True)


def config_of(name: str, overrides: Sequence[str]) -> TextConfig | DialogueConfig:
    """conf/data/<name>.yaml with the overrides. InputError for a key that it does not have."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.load(CONF / "data" / f"{name}.yaml")
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
    return Path(hub).expanduser().is_dir()


# ---------------------------------------------------------------- where the lines come from


def drawn(seed: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    for split, words in draw(seed):
        yield f"{split}.txt", iter(["".join(" ".join(map(str, row)) + "\n" for row in words.tolist()).encode()])


def fetched(cfg: TextConfig, known: Known | None) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The parts of a hub set as blocks of lines; the set's own sizes are checked first."""
    with hub_parts(cfg) as parts, ThreadPoolExecutor(cores()) as pool:
        check_rows(cfg.hub, {split: parts[split].table.num_rows for split in SPLITS}, known.rows if known else {})
        for split in SPLITS:
            yield f"{split}.txt", as_lines(parts[split], pool)


def dialogues(cfg: DialogueConfig, rows: Mapping[str, int]) -> Iterator[tuple[str, Iterator[bytes]]]:
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
        for end, lines in in_order(pool, lambda b: (b.end, block_lines(b)), source.blocks(BLOCK), 2 * cores()):
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
        self, names: Sequence[str], parts: Callable[[], Iterator[tuple[str, Iterator[bytes]]]], known: Known
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
            write_whole(self.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
            print(f"{self.out / name}: {found['lines']:,} lines, {found['words']:,} words", flush=True)

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
            print(f"{path}: {found['lines']:,} lines, {found['words']:,} words, as known", flush=True)
        write_whole(self.out / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def begun(self) -> dict[str, Any]:
        """The folder's manifest, or a new one. InputError for one of something else."""
        path, own = self.out / MANIFEST, {"source": self.source, "labels": self.labels}
        if not path.exists():
            return {**own, "files": {}}
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            there = {key: manifest[key] for key in own}
            files = dict(manifest["files"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error}); move it away, and the files with it") from error
        if there != own:
            raise InputError(
                f"{self.out}: it holds a set made otherwise ({path.name}: {json.dumps(there)}); choose another --out"
            )
        return {**own, "files": files}

    def whole(self, name: str, manifest: dict) -> bool:
        """Whether a file is there and as the manifest says. InputError when it is there and is not."""
        path = self.out / name
        if not path.exists():
            return False
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if manifest["files"].get(name, {}).get("sha256") != digest:
            raise InputError(
                f"{path}: this file is there and nothing of this command's making; move it away or choose another --out"
            )
        return True


@contextmanager
def partial(path: Path) -> Iterator[Path]:
    """A name to write under, moved to `path` at the end; nothing is left when something goes wrong."""
    scratch = path.with_name(f".{path.name}.part")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def written(path: Path | None, blocks: Iterator[bytes]) -> dict[str, Any]:
    """Write blocks of whole lines (None: only read them); lines, words, bytes, the checksum, and that of the lines without white space at
    their ends."""
    lines = words = size = 0
    exact, bare = hashlib.sha256(), hashlib.sha256()
    with path.open("wb") if path else open(os.devnull, "wb") as file:
        for block in blocks:
            file.write(block)
            lines += block.count(b"\n") + (not block.endswith(b"\n") and bool(block))
            words, size = words + len(block.split()), size + len(block)
            exact.update(block)
            bare.update(b"".join(line.strip() + b"\n" for line in block.splitlines()))
        file.flush()
        if path:
            os.fsync(file.fileno())
    return {"lines": lines, "words": words, "bytes": size, "sha256": exact.hexdigest(), "bare_sha256": bare.hexdigest()}


def compare(path: Path, found: dict[str, Any], known: Known) -> None:
    """InputError when a file is not what is known of it."""
    split = next(
        split for split in SPLITS if path.name.startswith(split[:3]) or (split == "valid" and path.name[:3] == "dev")
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
