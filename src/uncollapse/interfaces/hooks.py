"""The checks that hooks of an interface are spelt right, in the right slot, and can be called.

A misspelt hook is never called, and no error shows it: a procedure with `setled` in place of
`settled` would train, and its best weights could be those of the wrong phase.
"""

from abc import ABCMeta
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from inspect import Signature, getattr_static, isfunction, signature
from typing import TYPE_CHECKING, Any, NoReturn

from uncollapse.errors import InputError

MISSPELT = 0.8  # similarity (difflib ratio) from which a name counts as a misspelt hook
SLOT_BASES = {  # module of the interfaces -> the base of a slot
    "posterior": "PosteriorHead",
    "objective": "Objective",
    "procedure": "Procedure",
    "decoder": "OutputLayer",
}


class Interface(ABCMeta):
    """Metaclass of all interfaces: the hooks of each class are checked at its first object.

    A class defined with `interface=True` is an interface, and its public names are hooks.
    """

    hooks: frozenset[str]
    is_interface: bool
    is_checked: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], space: dict[str, Any], interface: bool = False
    ) -> "Interface":
        cls = super().__new__(mcs, name, bases, space)
        inherited = [base.hooks for base in bases if isinstance(base, Interface)]
        own = public_names(space | space.get("__annotations__", {})) if interface else ()
        cls.hooks = frozenset().union(*inherited, own)
        cls.is_interface = interface
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
            refuse_foreign_hooks(cls)
            check_signatures(cls)
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
    """InputError for a public name that is nearly, but not exactly, that of a hook."""
    cls: object = type(made)
    assert isinstance(cls, Interface)
    for name in added_names(made):
        # a name that is a hook is fine, and so is one that resembles none
        word = name.removeprefix("get_")
        if name not in cls.hooks and (near := get_close_matches(word, cls.hooks, 1, MISSPELT)):
            if slots := find_slots(name):
                advice = f"{name} is a hook of {slots}; did you mean {near[0]}?"
            else:
                advice = f"no such hook; did you mean {near[0]}?"
            raise InputError(
                f"{cls.__name__}.{name}: {advice} (the hooks are {', '.join(sorted(cls.hooks))})"
            )


def refuse_foreign_hooks(cls: Interface) -> None:
    """InputError for a method or property that is a hook of another slot: nothing would call it."""
    if not {base.__name__ for base in cls.__mro__} & {*SLOT_BASES.values()}:
        return
    for base in cls.__mro__:
        for name, value in vars(base).items() if isinstance(base, Interface) else ():
            is_code = isfunction(value) or isinstance(value, property)
            if is_code and name not in cls.hooks and (slots := find_slots(name)):
                raise InputError(
                    f"{cls.__name__}.{name}: {name} is a hook of {slots} and is not called here; "
                    "give a method of your own a leading underscore"
                )


def find_slots(hook: str) -> str:
    """The slots that have a hook, such as "procedures"; "" if none has."""
    # imported here, as these modules import this one
    bases = {
        slot: vars(import_module(f"uncollapse.interfaces.{slot}"))[name]
        for slot, name in SLOT_BASES.items()
    }
    return " and ".join(f"{slot}s" for slot, base in bases.items() if hook in base.hooks)


def check_signatures(cls: Interface) -> None:
    """InputError for a hook that cannot be called as its interface says, such as `floor(self, x)`.

    Each method must accept all arguments of the interface's, and the required ones alone.
    """
    for base in cls.__mro__:
        hooks = vars(base) if isinstance(base, Interface) and base.is_interface else {}
        for name in [*public_names(hooks), *{"__call__"}.intersection(hooks)]:
            hook, own = hooks[name], getattr_static(cls, name)
            if isinstance(hook, property) and isfunction(own):
                raise InputError(f"{cls.__name__}.{name}: it is a property; add @property")
            if isfunction(hook) and isinstance(own, property):
                raise InputError(f"{cls.__name__}.{name}: it is a method; remove @property")
            if own is hook or not (isfunction(hook) and isfunction(own)):
                continue
            expected = signature(hook)
            named = [p for p in expected.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
            try:
                signature(own).bind(*named)
                signature(own).bind(*[p for p in named if p.default is p.empty])
            except TypeError as error:
                text = f"({', '.join(list(expected.parameters)[1:])})"
                raise InputError(
                    f"{cls.__name__}.{name}: it is called as {name}{text} ({error})"
                ) from error


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
    """InputError for an `attribute` of the interface that an object does not have."""
    cls: object = type(made)
    assert isinstance(cls, Interface)
    for name in sorted(cls.hooks - set(instance_names(made))):
        # getattr_static, since reading the attribute would raise its own error
        if isinstance(getattr_static(cls, name, None), Attribute):
            raise InputError(f"{cls.__name__} has no {name}, which its interface requires")


def is_overridden(made: object, hook: Callable[..., object]) -> bool:
    """Whether the class of an object has its own version of an interface's hook."""
    # getattr_static returns the plain function, which can be compared
    return getattr_static(type(made), hook.__name__) is not hook
