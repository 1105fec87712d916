"""Write requirements.lock: the versions of constraints.txt, with the hashes of all their files.

    python scripts/dev/lock.py

The hashes come from the package index, so the lock holds for every platform. torch is left out: its
builds, with and without CUDA, are files of one version, and pip would no longer choose between
them. Needs a network.
"""

import json
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INDEX = "https://pypi.org/simple"
FORM = {"Accept": "application/vnd.pypi.simple.v1+json"}
LEFT_OUT = ("torch",)
HEADER = "# Written by scripts/dev/lock.py from constraints.txt.\n"


def list_hashes(name: str, version: str) -> list[str]:
    """The SHA-256 of every file of a version, sorted."""
    request = urllib.request.Request(f"{INDEX}/{name.lower().replace('_', '-')}/", headers=FORM)
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    found = {file["hashes"]["sha256"] for file in files if is_of_version(file["filename"], version)}
    if not found:
        raise SystemExit(f"{name}=={version}: {INDEX} has no file of it")
    return sorted(found)


def is_of_version(filename: str, version: str) -> bool:
    """Whether a wheel (name-version-...) or a source archive (name-version.tar.gz) is of it."""
    if filename.endswith(".whl"):
        return filename.split("-")[1] == version
    for ending in (".tar.gz", ".zip", ".tar.bz2"):
        if filename.endswith(ending):
            return filename.removesuffix(ending).endswith(f"-{version}")
    return False


def write_lock() -> int:
    """Write the lock; the exit code."""
    lines = [HEADER]
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, equals, version = line.partition("==")
        if equals and name not in LEFT_OUT:
            hashes = " \\\n".join(f"    --hash=sha256:{h}" for h in list_hashes(name, version))
            lines.append(f"{name}=={version} \\\n{hashes}\n")
    (ROOT / "requirements.lock").write_text("".join(lines))
    print(f"requirements.lock: {len(lines) - 1} packages")
    return 0


if __name__ == "__main__":
    sys.exit(write_lock())
