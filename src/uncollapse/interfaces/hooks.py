"""The check that no hook of an interface is misspelt.

A misspelt hook is never called, and no error shows it: a procedure with `setled` in place of
`settled` would train, and its best weights could be those of the wrong phase.
"""

from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from inspect import Signature, getattr_static, signature
from typing import TYPE_CHECKING, Any, NoReturn

MISSPELT = 0.8  # similarity (difflib ratio) from which a name counts as a misspelt hook


class Interface(ABCMeta):
    """Metaclass of all interfaces: the first object of each class is checked for misspelt hooks.

    A class defined with `interface=True` is an interface, and its public names are hooks.
    """

    hooks: frozenset[str]
    is_checked: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], interface: bool = False
    ) -> "Interface":
        cls = super().__new__(mcs, name, bases, space)
        inherited = [base.hooks for base in bases if isinstance(base, Interface)]
        own = public_names(space | space.get("__annotations__", {})) if interface else ()
        cls.hooks = frozenset().union(*inherited, own)
        # checked at the first object, so that attributes set in the constructor are included
        cls.is_checked = False
        return cls

    def __init__(
        cls, name: str, bases: tuple[type, ...], space: dict[str, Any], interface: bool = False
    ) -> None:
        # without the keyword `interface`, which `type` does not take
        super().__init__(name, bases, space)

    def __call__(cls, *args: Any, **knobs: Any) -> Any:
        made = super().__call__(*args, **knobs)
        if not cls.is_checked:
            refuse_misspelt_hooks(made)
            require_attributes(made)
            cls.is_checked = True
        return made

    @property
    def __signature__(cls) -> Signature:
        """The signature of the constructor; `inspect` would take that of `__call__` above."""
        constructor = next(vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c))
        if constructor is object.__init__:
            return Signature()
        parameters = signature(constructor).parameters.values()
        return Signature(list(parameters)[1:])  # without self


def refuse_misspelt_hooks(made: object) -> None:
    """TypeError for a public name that is nearly, but not exactly, that of a hook."""
    cls: object = type(made)
    assert isinstance(cls, Interface)
    for name in added_names(made):
        # a name that is a hook is fine, and so is one that resembles none
        if name not in cls.hooks and (near := get_close_matches(name, cls.hooks, 1, MISSPELT)):
            raise TypeError(
                f"{cls.__name__}.{name}: no such hook; did you mean {near[0]}? "
                f"(the hooks are {', '.join(sorted(cls.hooks))})"
            )


def added_names(made: object) -> Iterator[str]:
    """Public names of an object's classes and attributes, those of PyTorch's classes excepted."""
    # mixins from elsewhere may have public names of any kind
    for base in type(made).__mro__:
        if isinstance(base, Interface):
            yield from public_names(vars(base) | vars(base).get("__annotations__", {}))
    yield from instance_names(made)


def instance_names(made: object) -> Iterator[str]:
    """Public names of an object's own attributes, buffers and modules."""
    attributes = getattr(made, "__dict__", {})  # an object with slots has none
    yield from public_names(attributes)
    for group in ("_buffers", "_parameters", "_modules"):  # of an nn.Module
        yield from public_names(attributes.get(group, {}))


def public_names(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith("_")]


class Attribute:
    """An abstract property of an interface, which a class may provide as a property or as a field.

    An abstract `property` would get in the way of dataclasses, which would take it for the default
    of the field.
    """

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    # reached only if no class and no instance provides the attribute
    def __get__(self, made: object, cls: type) -> NoReturn:
        raise AttributeError(f"{cls.__name__} has no {self.function.__name__}")


# to a type checker an attribute is a property; both may be overridden by a field
if TYPE_CHECKING:
    attribute = property
else:
    attribute = Attribute


def require_attributes(made: object) -> None:
    """TypeError for an `attribute` of the interface that an object does not have."""
    cls: object = type(made)
    assert isinstance(cls, Interface)
    for name in sorted(cls.hooks - set(instance_names(made))):
        # getattr_static, since reading the attribute would raise its own error
        if isinstance(getattr_static(cls, name, None), Attribute):
            raise TypeError(f"{cls.__name__} has no {name}, which its interface requires")


def is_overridden(made: object, hook: Callable[..., object]) -> bool:
    """Whether the class of an object has its own version of an interface's hook."""
    # getattr_static returns the plain function, which can be compared
    return getattr_static(type(made), hook.__name__) is not hook
