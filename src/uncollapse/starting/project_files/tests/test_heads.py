"""Every head of conf/head keeps the promises of a head: uncollapse.contract says which."""

from pathlib import Path

import pytest

from uncollapse import contract
from uncollapse.errors import InputError

HEADS = sorted(path.stem for path in Path("conf/head").glob("*.yaml"))


@pytest.mark.parametrize("head", HEADS)
def test_head_keeps_the_contract_on_text(head: str, tmp_path: Path) -> None:
    contract.check_head(head, "text", tmp_path)


@pytest.mark.parametrize("kind", ["vectors", "images"])
@pytest.mark.parametrize("head", HEADS)
def test_head_keeps_the_contract_on_other_data(head: str, kind: str, tmp_path: Path) -> None:
    try:
        contract.check_head(head, kind, tmp_path)
    except InputError as error:  # such as word dropout, where there are no words
        pytest.skip(str(error))
