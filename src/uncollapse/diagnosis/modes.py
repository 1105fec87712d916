"""Which modules stand behind a callable, and how to have them in evaluation mode for a while.

A callable is looked through for modules that it holds: a module itself, a bound method's object, `functools.partial`,
closure cells, defaults, the globals that a function's code loads, and lists, dicts and plain objects of these. What is
not found so is switched when it is called.
"""

import dis
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

from uncollapse.distributions.moments import Moments

MAX_DEPTH = 5  # steps from the callable to a module
MAX_ENTRIES = 100  # entries of a container that are looked into
LEAF_TYPES = (str, bytes, int, float, complex, type(None), type, Tensor, np.ndarray, CodeType)
LIBRARIES = (
    "torch",
    "numpy",
    "functools",
    "contextlib",
)  # functions that hold no model of the user's


def find_modules(*callables: Any) -> list[nn.Module]:
    """Every module that these callables can be seen to use, in the order found; modules inside another are not listed."""
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    level: list[Any] = list(callables)
    for _ in range(MAX_DEPTH + 1):
        new = [x for x in level if id(x) not in seen and not isinstance(x, LEAF_TYPES)]
        seen |= {id(x) for x in new}
        found |= {id(x): x for x in new if isinstance(x, nn.Module)}
        level = [part for x in new if not isinstance(x, nn.Module) for part in list_held(x)]
    inside = {id(m) for root in found.values() for m in root.modules() if m is not root}
    return [m for key, m in found.items() if key not in inside]


def list_held(x: Any) -> list[Any]:
    """What x holds: one step on the way to a module."""
    if isinstance(x, MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, partial):
        return [x.func, *x.args, *x.keywords.values()]
    if isinstance(x, FunctionType):
        return [] if str(x.__module__).split(".")[0] in LIBRARIES else list_held_by_function(x)
    if isinstance(x, dict):
        return list(x.values())[:MAX_ENTRIES]
    if isinstance(x, list | tuple | set | frozenset):
        return list(x)[:MAX_ENTRIES]
    if isinstance(x, ModuleType):
        return []
    call = getattr(type(x), "__call__", None)  # noqa: B004 : its code, not whether it can be called
    return [
        *list(getattr(x, "__dict__", {}).values())[:MAX_ENTRIES],
        *([call] if isinstance(call, FunctionType) else []),
    ]


def list_held_by_function(function: FunctionType) -> list[Any]:
    """Closure cells, defaults, and the globals that its code loads; of an imported module the attributes that its code names."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if has_value(cell)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    loaded = [
        function.__globals__[name]
        for name in global_names(function.__code__)
        if name in function.__globals__
    ]
    named = code_names(function.__code__)
    of_modules = [
        vars(m)[name]
        for m in loaded
        if isinstance(m, ModuleType)
        for name in named
        if name in vars(m)
    ]
    return [*cells, *defaults, *loaded, *of_modules]


def has_value(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable without a value yet
        return False


def iterate_codes(code: CodeType) -> Iterator[CodeType]:
    """The code and that of functions defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from iterate_codes(constant)


def global_names(code: CodeType) -> list[str]:
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    return [
        i.argval
        for part in iterate_codes(code)
        for i in dis.get_instructions(part)
        if i.opname in loads
    ]


def code_names(code: CodeType) -> list[str]:
    return [name for part in iterate_codes(code) for name in part.co_names]


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[list[str]]:
    """All these modules in evaluation mode, and every other one that is called meanwhile; each as it was on leaving.

    Gives the names of those for which the mode matters: a list that grows as modules are met.

    Flags are set one by one: a module's own `train()` may do more, such as merging weights, which could not be undone.
    """
    roots = list(modules)
    switched = {id(m): m for root in roots for m in root.modules() if m.training}
    found = [
        type(root).__name__
        for root in roots
        if any(id(m) in switched and has_mode(m) for m in root.modules())
    ]
    names = list(dict.fromkeys(found))

    def switch(m: nn.Module, _: Any) -> None:
        """A module that nobody found, at the moment when it is called."""
        if m.training:
            switched[id(m)] = m
            m.training = False
            if has_mode(m) and type(m).__name__ not in names:
                names.append(type(m).__name__)

    hook = register_module_forward_pre_hook(switch)
    try:
        for m in switched.values():
            m.training = False
        yield names
    finally:
        hook.remove()
        for m in switched.values():
            m.training = True


def has_mode(module: nn.Module) -> bool:
    """Whether a module's own code asks for its mode. Unknown code, as of a scripted module, counts as if it did."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    classes = [cls for cls in type(module).__mro__ if cls not in nn.Module.__mro__]
    if any(cls.__module__.startswith("torch.jit") for cls in classes):
        return True
    functions = [f for cls in classes for f in vars(cls).values() if isinstance(f, FunctionType)]
    return any("training" in code_names(f.__code__) for f in functions)


def find_fresh_statistics(modules: Iterable[nn.Module]) -> list[str]:
    """Names of the batch-norm layers whose running statistics are still those of the start, 0 and 1 to the last digit."""
    fresh = []
    for name, m in ((name, m) for root in modules for name, m in root.named_modules()):
        if isinstance(m, Moments):
            m.used = m.used or m.fresh  # said here, so not again by the head
            at_start = m.centred and m.fresh
        elif isinstance(m, _NormBase) and m.running_mean is not None and m.running_var is not None:
            at_start = bool(m.running_mean.eq(0).all() and m.running_var.eq(1).all())
        else:
            at_start = False
        if at_start:
            fresh.append(name or type(m).__name__)
    return fresh
