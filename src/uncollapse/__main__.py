"""The command `uncollapse`, and `python -m uncollapse`: one word for what to do, then its own.

    uncollapse train head=bn_tau tau=0.5
    uncollapse report results/<study>

Nothing heavy is imported until the word is known.
"""

import sys

from uncollapse.entry import install_guard, run_main

# word -> the module whose `main` does it, and what it does
COMMANDS = {
    "train": ("uncollapse.cli", "train one run or a sweep"),
    "evaluate": ("uncollapse.evaluation.command", "compute nll, probes and more of finished runs"),
    "report": ("uncollapse.report", "write figures, tables and one page of a study"),
    "study": ("uncollapse.runs.study_cli", "pack, merge, list or verify studies"),
    "export": ("uncollapse.finished.export", "write the codes of a run to a table"),
    "prepare": ("uncollapse.data.sets", "download and prepare a data set"),
    "init": ("uncollapse.starting.project", "start a project of your own"),
    "new": ("uncollapse.starting.remedy", "write the skeleton of a new remedy"),
    "diagnose": ("uncollapse.diagnosis.command", "say what is wrong with a finished run"),
}


def main() -> int:
    """The exit code of the command that was typed; 2 for an unknown one."""
    install_guard()
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("-h", "--help"):
        print(describe_commands())
        return 0
    if word == "--version":
        from importlib.metadata import version

        print(version("uncollapse"))
        return 0
    if word not in COMMANDS:
        from uncollapse.errors import did_you_mean, shorten

        hint = did_you_mean(word, COMMANDS)
        allowed = ", ".join(COMMANDS)
        print(
            f"error: {shorten(word)}: no such command; {hint}allowed are {allowed}", file=sys.stderr
        )
        return 2
    del sys.argv[1]
    try:
        # training has more to import before it can stop cleanly
        return run_main(COMMANDS[word][0], clean_stop=word != "train")
    except ModuleNotFoundError as error:
        from uncollapse.extras import OPTIONAL, describe_missing

        missing = (error.name or "").partition(".")[0]
        # anything else is a fault of this package, or of the user's own
        if missing not in OPTIONAL:
            raise
        print(f"error: {describe_missing(f'uncollapse {word}', missing)}", file=sys.stderr)
        return 2


def describe_commands() -> str:
    """The text of --help."""
    lines = [f"  {word:<10} {what}" for word, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: uncollapse COMMAND ...",
            "",
            "Compare remedies for KL vanishing (posterior collapse) in VAEs.",
            "",
            *lines,
            "",
            "uncollapse COMMAND --help says more about one of them.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
