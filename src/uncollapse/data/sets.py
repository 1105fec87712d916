"""The command line of scripts/prepare_data.py. Heavy imports wait until there is work to do."""

import sys
from collections.abc import Sequence
from pathlib import Path

from uncollapse.arguments import Parser
from uncollapse.data.facts import list_sets, read_facts
from uncollapse.errors import InputError, expand_home

DESCRIPTION = (
    "Make the files of a text set in a folder: from the hub, by their recipe, "
    "or check those that were put there by hand."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence, or 130 when stopped."""
    parser = Parser(prog="uncollapse prepare", description=DESCRIPTION)
    parser.add_argument("name", help=", ".join(list_sets()))
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
        help="as for `train`: data.train_size=1000 data.hub=FOLDER_OF_PARQUET_FILES ...",
    )
    asked = parser.parse_intermixed_args(argv)
    try:
        # before the heavy imports, so that a misspelt name is refused at once
        read_facts(asked.name)
        from uncollapse.data.prepare import prepare_set

        prepare_set(asked.name, expand_home(asked.out), asked.overrides, asked.licensed)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"error: {error.filename or asked.out}: "
            f"cannot be read or written ({error.strerror or error})",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print("stopped; run the same command again to make the missing files", file=sys.stderr)
        return 130
    return 0
