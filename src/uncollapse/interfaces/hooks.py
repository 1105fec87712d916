"""The check that no hook of an interface is misspelt.

A hook that nobody calls is a fault that no error shows: a procedure with `setled` in place of
`settled` would train, and its best weights would be those of the wrong phase.
"""

from abc import ABCMeta
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

ALIKE = 0.8  # ratio of difflib from which a name is taken for a misspelt hook


class Interface(ABCMeta):
    """Metaclass of all interfaces: the first object of each class is checked for misspelt hooks.

    A class is an interface, and its public names are hooks, when it says `interface=True`.
    """

    hooks: frozenset[str]
    is_checked: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], interface: bool = False
    ) -> "Interface":
        cls = super().__new__(mcs, name, bases, space)
        inherited = [base.hooks for base in bases if isinstance(base, Interface)]
        own = public(space | space.get("__annotations__", {})) if interface else ()
        cls.hooks = frozenset().union(*inherited, own)
        cls.is_checked = False
        return cls

    def __init__(
        cls, name: str, bases: tuple[type, ...], space: dict[str, Any], interface: bool = False
    ) -> None:
        super().__init__(name, bases, space)

    def __call__(cls, *args: Any, **knobs: Any) -> Any:
        made = super().__call__(*args, **knobs)
        if not cls.is_checked:
            refuse_misspelt_hooks(made)
            cls.is_checked = True
        return made


def refuse_misspelt_hooks(made: Any) -> None:
    """TypeError for a public name that is nearly, but not quite, that of a hook."""
    cls = type(made)
    for name in own_names(made):
        if name not in cls.hooks and (near := get_close_matches(name, cls.hooks, 1, ALIKE)):
            raise TypeError(
                f"{cls.__name__}.{name}: no such hook; did you mean {near[0]}? "
                f"(the hooks are {', '.join(sorted(cls.hooks))})"
            )


def own_names(made: Any) -> Iterator[str]:
    """Public names that the classes of an object add to its interface, and its attributes."""
    for base in type(made).__mro__:
        if isinstance(base, Interface):
            yield from public(vars(base) | vars(base).get("__annotations__", {}))
    attributes = getattr(made, "__dict__", {})
    yield from public(attributes)
    for group in ("_buffers", "_parameters", "_modules"):  # of an nn.Module
        yield from public(attributes.get(group, {}))


def public(names: Any) -> list[str]:
    return [name for name in names if not name.startswith("_")]
