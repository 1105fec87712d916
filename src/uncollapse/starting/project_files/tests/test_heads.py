"""Every head of conf/head keeps the promises of a head: uncollapse.contract says which."""

from pathlib import Path

import pytest

from uncollapse import contract

HEADS = sorted(path.stem for path in Path("conf/head").glob("*.yaml"))


@pytest.mark.parametrize("kind", contract.KINDS)
@pytest.mark.parametrize("head", HEADS)
def test_head_keeps_the_contract(head: str, kind: str, tmp_path: Path) -> None:
    contract.check_head(head, kind, tmp_path)
