"""Errors of the user's own code are described with the file and the line at fault."""

from pathlib import Path

import pytest
from conftest import run_here

from uncollapse.errors import InputError
from uncollapse.metrics import catalogue
from uncollapse.metrics.catalogue import load_function
from uncollapse.metrics.metric import END, Metric
from uncollapse.raised import describe_raised

HELPER = "def halve(x):\n    return x / 0\n"


def describe(folder: Path, code: str) -> str:
    """The error of a module own/part.py with this code."""
    (folder / "own").mkdir()
    (folder / "own/helper.py").write_text(HELPER)
    path = folder / "own/part.py"
    path.write_text(code)
    try:
        exec(compile(code, str(path), "exec"), {})
    except Exception as error:
        return describe_raised(error)
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 1\n1 / 0\n", "ZeroDivisionError: division by zero, in own/part.py line 2"),
        (
            "\n\nimport nonexistent_thing\n",
            "ModuleNotFoundError: No module named 'nonexistent_thing', in own/part.py line 3",
        ),
        ("raise RuntimeError", "RuntimeError, in own/part.py line 1"),
        # raised in Python itself, in an installed package, in another module of the user's
        ("import json\njson.loads('')", "in own/part.py line 2"),
        ("import torch\n\ntorch.nn.Linear(1, 2).load_state_dict(3)", "in own/part.py line 3"),
        (
            "from runpy import run_path\nrun_path('own/helper.py')['halve'](1)",
            "ZeroDivisionError: division by zero, in own/helper.py line 2",
        ),
        # raised by this package
        (
            "from uncollapse.errors import check_integer\ncheck_integer('n', -1, 0)",
            "InputError: n=-1: allowed is an integer of at least 0, in own/part.py line 2",
        ),
    ],
)
def test_place_is_the_innermost_line_of_the_user(outside: Path, code: str, expected: str) -> None:
    assert describe(outside, code).endswith(expected)


def test_syntax_error_names_its_own_file(outside: Path) -> None:
    Path("own").mkdir()
    Path("own/part.py").write_text("x = 1\ndef f(:\n")
    try:
        compile(Path("own/part.py").read_text(), str(outside / "own/part.py"), "exec")
    except SyntaxError as error:
        assert describe_raised(error) == "SyntaxError: invalid syntax, in own/part.py line 2"


def test_metric_function_of_a_broken_module_is_refused_with_its_place(
    outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outside / "broken_metric.py").write_text("x = 2\ny = 1 / 0\n")
    monkeypatch.syspath_prepend(outside)
    load_function.cache_clear()
    row = Metric(name="mine", stage=END, meaning="None.", function="broken_metric:mine")
    catalogue.add(row)
    with pytest.raises(InputError, match=r"by zero, in broken_metric.py line 2\)$"):
        run_here(outside, "plain")
