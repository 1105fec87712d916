"""The check of `pytest --shapes`: tensors at the interfaces have their annotated shapes.

Signatures say `Annotated[Tensor, "B D"]` (`uncollapse.interfaces.shapes`), which costs nothing and
needs no library. Here each method and field that an interface annotates in this way is checked in
every class that has it, by the rules of jaxtyping: a letter stands for one size within a call. So
are the fields of `Pass`, which all metrics are computed from.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from jaxtyping import Float, jaxtyped

from uncollapse.interfaces.hooks import Attribute, Interface


class ShapeError(TypeError):
    """A tensor without the annotated shape or dtype."""


def install() -> None:
    """Check the classes of interfaces that are defined from now on."""
    define, construct = Interface.__init__, Interface.__call__

    def checked_define(cls: Interface, *args: Any, **keywords: Any) -> None:
        define(cls, *args, **keywords)
        for name, value in list(vars(cls).items()):
            if checked := check_hook(value, shapes_of(cls, name)):
                setattr(cls, name, checked)

    def checked_construct(cls: Interface, *args: Any, **keywords: Any) -> Any:
        made = construct(cls, *args, **keywords)
        fields = {name: shapes_of(cls, name) for name in cls.hooks & vars(made).keys()}
        compare(cls.__name__, {n: (vars(made)[n], s["return"]) for n, s in fields.items() if s})
        return made

    Interface.__init__, Interface.__call__ = checked_define, checked_construct  # type: ignore
    from uncollapse.metrics.base import Pass  # which imports classes of interfaces

    check_fields(Pass)


def check_fields(cls: Any) -> None:
    """Check all annotated fields of a dataclass when an object is created."""
    construct = cls.__init__
    annotated = {name: shape_of(a) for name, a in cls.__annotations__.items()}

    @functools.wraps(construct)
    def checked(made: Any, *args: Any, **keywords: Any) -> None:
        construct(made, *args, **keywords)
        compare(cls.__name__, {n: (vars(made)[n], s) for n, s in annotated.items() if s})

    cls.__init__ = checked


def shapes_of(cls: type, name: str) -> dict[str, Any]:
    """The interface's shape of each annotated argument, and of the result as "return"."""
    for base in reversed(cls.__mro__):
        value = vars(base).get(name)
        function = value.function if isinstance(value, Attribute) else value
        function = inspect.unwrap(function) if callable(function) else function
        annotations = getattr(function, "__annotations__", {})
        if shapes := {n: s for n, a in annotations.items() if (s := shape_of(a)) is not None}:
            return shapes
    return {}


def shape_of(annotation: Any) -> Any:
    """The jaxtyping type of Annotated[Tensor, "B D"], None for anything else."""
    if get_origin(annotation) is not Annotated:
        return None
    tensor, shape = get_args(annotation)
    return Float[tensor, shape]


def check_hook(value: Any, shapes: dict[str, Any]) -> Any:
    """A method or property that checks its shapes; None without shapes or if abstract."""
    if not shapes or getattr(value, "__isabstractmethod__", False):
        return None
    if isinstance(value, property) and value.fget is not None:
        return property(check_function(value.fget, shapes))
    if isinstance(value, functools.cached_property):
        value.func = check_function(value.func, shapes)
        return None
    return check_function(value, shapes) if inspect.isfunction(value) else None


def check_function(function: Callable[..., Any], shapes: dict[str, Any]) -> Callable[..., Any]:
    """Wrap a function with a check of arguments and result; its own errors come first."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **keywords: Any) -> Any:
        result = function(*args, **keywords)
        values = {**signature.bind(*args, **keywords).arguments, "return": result}
        compare(
            function.__qualname__, {n: (values[n], s) for n, s in shapes.items() if n in values}
        )
        return result

    return checked


def compare(where: str, values: dict[str, tuple[Any, Any]]) -> None:
    """ShapeError unless all values have their shapes, with the same size for the same letter."""
    with jaxtyped("context"):
        for name, (value, shape) in values.items():
            if not isinstance(value, shape):
                found = list(value.shape) if hasattr(value, "shape") else type(value).__name__
                raise ShapeError(f"{where}: {name} is {found}, not [{shape.dim_str}]")
