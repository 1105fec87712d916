"""Fetch the JavaScript packages that the page of a report contains, and describe them.

    python scripts/dev/vendor.py

For maintainers: needs npm and a network. Writes the published files, unchanged, and their licences
to src/uncollapse/report/vendor/, with vendor.json, which also gives their order in the page.
"""

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from uncollapse.json_types import JsonObject

FOLDER = Path(__file__).resolve().parents[2] / "src/uncollapse/report/vendor"
# each one needs only those before it
PACKAGES = {
    "d3-array": "3.2.5",
    "d3-color": "3.1.1",
    "d3-interpolate": "3.0.2",
    "d3-format": "3.1.3",
    "d3-time": "3.1.1",
    "d3-time-format": "4.1.1",
    "d3-scale": "4.0.3",
}


def fetch_package(name: str, version: str) -> tuple[bytes, str]:
    """The archive of a published package, and the digest that the registry states for it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["npm", "pack", f"{name}@{version}", "--json", "--ignore-scripts", "--silent"]
        done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
        (entry,) = json.loads(done.stdout)
        archive = (Path(folder) / entry["filename"]).read_bytes()
    digest = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if entry["integrity"] != f"sha512-{digest}":
        raise SystemExit(f"{name}@{version}: its archive does not have the registry's digest")
    return archive, entry["integrity"]


def copy_package(name: str, version: str) -> JsonObject:
    """Write the file and the licence of a package; its entry in vendor.json."""
    archive, integrity = fetch_package(name, version)
    folder, script = FOLDER / name, f"{name}.min.js"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        found = {member.name: member for member in files.getmembers()}
        for source, target in ((f"dist/{script}", script), ("LICENSE", "LICENSE")):
            content = files.extractfile(found[f"package/{source}"])
            if content is None:
                raise SystemExit(f"{name}@{version}: {source} is no file")
            (folder / target).write_bytes(content.read())
        package = files.extractfile(found["package/package.json"])
        licence = json.load(package)["license"] if package else ""
    return {
        "name": name,
        "version": version,
        "licence": licence,
        "file": f"{name}/{script}",
        "sha256": hashlib.sha256((folder / script).read_bytes()).hexdigest(),
        "integrity": integrity,
    }


def main() -> int:
    """Fetch all packages; the exit code."""
    entries = [copy_package(name, version) for name, version in PACKAGES.items()]
    (FOLDER / "vendor.json").write_text(json.dumps(entries, indent=1) + "\n")
    print(f"{FOLDER.name}: {len(entries)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
