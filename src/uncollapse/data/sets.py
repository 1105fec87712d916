"""The text sets that scripts/prepare_data.py knows, and its command line. Imports nothing heavy before there is work to do."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uncollapse.arguments import Parser
from uncollapse.data import SPLITS
from uncollapse.errors import InputError, expand_home


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
    parser = Parser(prog="prepare_data.py", description=HELP)
    parser.add_argument("name", help=", ".join(SETS))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--licensed",
        action="store_true",
        help="ptb: you have the LDC's licence; fetch it from the hub",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="data.KEY=VALUE",
        help="as for train.py: data.train_size=1000 data.hub=FOLDER_OF_PARQUET_FILES ...",
    )
    asked = parser.parse_intermixed_args(argv)
    try:
        if asked.name not in SETS:
            raise InputError(f"{asked.name}: no such text set; allowed are {', '.join(SETS)}")
        from uncollapse.data.prepare import prepare

        prepare(asked.name, expand_home(asked.out), asked.overrides, asked.licensed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {error.filename or asked.out}: cannot be read or written ({error.strerror or error})",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the parts that are missing", file=sys.stderr)
        return 130
    return 0
