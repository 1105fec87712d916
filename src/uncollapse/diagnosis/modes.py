"""Finds the modules that a callable uses, and puts them in evaluation mode for a while.

A callable is searched for modules that it holds: a module itself, a bound method's object,
`functools.partial`, closure cells, defaults, the globals that a function's code loads, and lists,
dicts and plain objects of these. A module that the search misses is switched when it is called.

It is the only part of the package that inspects objects of unknown kind by their attributes.
"""

import dis
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

from uncollapse.distributions.moments import FRESH, Moments

MAX_STEPS = 5  # steps from the callable to a module
MAX_ENTRIES = 100  # entries of a container that are searched
LEAF_TYPES = (str, bytes, int, float, complex, type(None), type, Tensor, np.ndarray, CodeType)
LIBRARIES = ("torch", "numpy", "functools", "contextlib")  # their functions hold no user's model


# ---------------------------------------------------------------- search


def find_modules(*callables: object) -> list[nn.Module]:
    """Every module that these callables can be seen to use, in the order found.

    Modules inside another found module are not listed.
    """
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()
    # breadth first, so that a module is found by the shortest way to it
    level: list[object] = list(callables)
    for _ in range(MAX_STEPS + 1):
        # a module is searched no further, since its children are switched with it
        new = [x for x in level if id(x) not in seen and not isinstance(x, LEAF_TYPES)]
        seen |= {id(x) for x in new}
        found |= {id(x): x for x in new if isinstance(x, nn.Module)}
        level = [held for x in new if not isinstance(x, nn.Module) for held in list_held(x)]
    # of nested modules only the outermost is listed
    inside = {id(m) for root in found.values() for m in root.modules() if m is not root}
    return [m for key, m in found.items() if key not in inside]


def list_held(x: object) -> list[object]:
    """The objects that x holds: one step on the way to a module."""
    if isinstance(x, MethodType):
        return [x.__self__, x.__func__]
    if isinstance(x, partial):
        return [x.func, *x.args, *x.keywords.values()]
    if isinstance(x, FunctionType):
        # library functions load many globals, none of which leads to the user's model
        is_library = str(x.__module__).split(".")[0] in LIBRARIES
        return [] if is_library else list_held_by_function(x)
    if isinstance(x, dict):
        return list(x.values())[:MAX_ENTRIES]
    if isinstance(x, list | tuple | set | frozenset):
        return list(x)[:MAX_ENTRIES]
    if isinstance(x, ModuleType):
        return []
    return list_held_by_instance(x)


def list_held_by_instance(x: object) -> list[object]:
    """An object's attributes, and the `__call__` that its class defines."""
    try:
        attributes = list(vars(x).values())[:MAX_ENTRIES]
    except TypeError:  # a class with slots
        attributes = []
    call = type(x).__call__  # every class has one, if only that of its metaclass
    return [*attributes, *([call] if isinstance(call, FunctionType) else [])]


def list_held_by_function(function: FunctionType) -> list[object]:
    """Closure cells, defaults, and the globals that a function's code loads.

    An imported module itself holds too much; only the attributes that the code names are listed.
    """
    cells = [cell.cell_contents for cell in function.__closure__ or () if has_value(cell)]
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    variables = function.__globals__
    loaded = [variables[name] for name in global_names(function.__code__) if name in variables]
    named = code_names(function.__code__)
    of_modules = [
        vars(module)[name]
        for module in loaded
        if isinstance(module, ModuleType)
        for name in named
        if name in vars(module)
    ]
    return [*cells, *defaults, *loaded, *of_modules]


def has_value(cell: CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that is not assigned yet
        return False


def iterate_codes(code: CodeType) -> Iterator[CodeType]:
    """A code object and those of the functions defined in it."""
    yield code
    # functions and comprehensions defined inside are constants of the code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from iterate_codes(constant)


def global_names(code: CodeType) -> list[str]:
    """The globals that a function and those defined in it load."""
    instructions = (i for part in iterate_codes(code) for i in dis.get_instructions(part))
    return [i.argval for i in instructions if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]


def code_names(code: CodeType) -> list[str]:
    """All globals and attributes that a function and those defined in it name."""
    return [name for part in iterate_codes(code) for name in part.co_names]


# ---------------------------------------------------------------- switching


@contextmanager
def evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[list[str]]:
    """Put these modules, and any other that is called meanwhile, in evaluation mode.

    Yields the class names of switched modules for which the mode makes a difference; the list grows
    as modules are called. On exit every module is back in its former mode.
    """
    # flags are set one by one: a module's own `train()` may do more, such as merging weights, which
    # could not be undone
    roots = list(modules)
    switched = {id(m): m for root in roots for m in root.modules() if m.training}
    names: list[str] = []

    def add_name(module: nn.Module) -> None:
        if type(module).__name__ not in names:
            names.append(type(module).__name__)

    for root in roots:
        if any(id(m) in switched and depends_on_mode(m) for m in root.modules()):
            add_name(root)

    def switch(module: nn.Module, _: object) -> None:
        """Switch a module that the search missed, just before it is called."""
        if module.training:
            switched[id(module)] = module
            module.training = False
            if depends_on_mode(module):
                add_name(module)

    # a hook on all modules, as the search may have missed some
    hook = register_module_forward_pre_hook(switch)
    try:
        for module in switched.values():
            module.training = False
        yield names
    finally:
        hook.remove()
        for module in switched.values():
            module.training = True


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a module's own code reads its mode; assumed of code that cannot be inspected."""
    # dropout with p = 0 and layers without dropout are the same in both modes
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    # code of torch itself asks for the mode everywhere; only the user's classes count
    classes = [cls for cls in type(module).__mro__ if cls not in nn.Module.__mro__]
    if any(cls.__module__.startswith("torch.jit") for cls in classes):
        # compiled code cannot be inspected
        return True
    functions = [f for cls in classes for f in vars(cls).values() if isinstance(f, FunctionType)]
    return any("training" in code_names(f.__code__) for f in functions)


def find_fresh_statistics(modules: Iterable[nn.Module]) -> list[str]:
    """The names of batch-norm layers whose running statistics are still exactly 0 and 1."""
    fresh = []
    for name, m in ((name, m) for root in modules for name, m in root.named_modules()):
        if isinstance(m, Moments):
            m.used = m.used or m.fresh  # reported here, so the layer need not warn as well
            is_fresh = m.centred and m.fresh
        elif isinstance(m, _NormBase) and m.running_mean is not None and m.running_var is not None:
            is_fresh = bool(m.running_mean.eq(0).all() and m.running_var.eq(1).all())
        else:
            is_fresh = False
        if is_fresh:
            fresh.append(name or type(m).__name__)
    return fresh


def describe_modes(switched: list[str], fresh: list[str]) -> list[str]:
    """Sentences about modules in training mode, and about batch norm without statistics."""
    sentences = []
    if switched:
        sentences.append(
            f"{' and '.join(switched)}: in training mode; evaluated in evaluation mode "
            "(no dropout, no batch statistics), then put back in training mode"
        )
    if fresh:
        sentences.append(f"{', '.join(dict.fromkeys(fresh))}: {FRESH}")
    return sentences
