"""Where the runs of a study lie. Imports nothing heavy, so a wrong folder is refused at once."""

from pathlib import Path


class ReportError(Exception):
    """One sentence for the user."""


def is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file()


def run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ReportError(f"there is no folder {folder}.")
    if is_run(folder):
        return [folder]
    found = sorted(path.parent for path in (folder / "runs").rglob("seed=*/config.yaml"))
    if not found:
        raise ReportError(not_a_study_message(folder))
    return found


def not_a_study_message(folder: Path) -> str:
    """Says what was looked for, and which folder was perhaps meant."""
    near = [folder.parent] if folder.name == "runs" else sorted(path.parent for path in folder.glob("*/runs"))
    hint = f"; perhaps you mean {', '.join(map(str, near[:3]))}" if near else ""
    return (
        f"{folder} is not a study: no runs/<head>/<overrides>/seed=<n>/config.yaml in it, "
        f"and no config.yaml of a single run{hint}."
    )
