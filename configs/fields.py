"""What a field of `Config` is: a default of some type, its group, its comment, its rules, and who may change it."""

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Rule = Callable[[Any], str | None]  # what is expected in place of a value that will not do; None for one that will


@dataclasses.dataclass(frozen=True)
class Group:
    """Fields that --help shows together; called with a default and a comment, which is its --help, it makes one."""

    title: str
    about: str = ""
    scripts: str = "train predict score"  # whose --help lists the group; all take its flags
    free: bool = False  # a resumed run may change its fields: they do not touch what is learned

    def __call__(self, default: T, comment: str, *rules: Rule, free: bool | None = None) -> T:
        """One field of a dataclass; `free` where it differs from its group. To a type checker it is its default."""
        free = self.free if free is None else free
        metadata = {"group": self, "comment": comment, "rules": rules, "free": free}
        field: Any = dataclasses.field(default=default, metadata=metadata)
        return field


# ------------------------------------------------------------------------------------------------------------- rules


def rule(holds: Callable[[Any], bool], expected: str) -> Rule:
    """`expected` wherever `holds` does not."""
    return lambda value: None if holds(value) else expected


def at_least(bound: float) -> Rule:
    """For a number, or every one of a tuple."""
    return rule(lambda value: min(value if isinstance(value, tuple) else (value,)) >= bound, f"at least {bound}")


def at_most(bound: float) -> Rule:
    """Likewise."""
    return rule(
        lambda value: all(x <= bound for x in (value if isinstance(value, tuple) else (value,))), f"at most {bound}"
    )


def above(bound: float) -> Rule:
    return rule(lambda value: value > bound, f"above {bound}")


def between(low: float, high: float) -> Rule:
    """Both ends included."""
    return rule(lambda value: low <= value <= high, f"between {low} and {high}")


def below(bound: float, such_as: str = "") -> Rule:
    """From 0, without `bound` itself."""
    example = f", such as {such_as}" if such_as else ""
    return rule(lambda value: 0 <= value < bound, f"at least 0 and below {bound}{example}")


def pattern(value: str) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f"a regular expression ({error})"
    return None


def statistics(top: int, example: tuple[float, ...], spread: bool = False) -> Rule:
    """For a mean, or a std (`spread`), of the three colours on 0..top."""
    unit = f"on 0..{top}, such as {','.join(map(str, example))}"

    def expected(values: tuple[float, ...]) -> str | None:
        if len(values) != 3:
            return f"three numbers, R G B, {unit}"
        if min(values) < 0 or max(values) > top:
            return f"numbers {unit}"
        if spread and min(values) == 0:
            return f"numbers above 0, {unit}"
        # those of the other unit: pictures of a mean below one grey level of 255 would be black
        small = max(values) < 1 if spread else 0 < max(values) <= 1
        return f"numbers {unit}" if top > 1 and small else None

    return expected


# ------------------------------------------------------------------------------------------------------------- types


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` as the field's type (an int passes for a float, a list for a tuple), or ValueError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in args:
            return value
        near = difflib.get_close_matches(str(value), args, n=1)
        raise ValueError(
            f"{name} is {value!r}; expected one of {', '.join(args)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    if origin is types.UnionType:  # int | tuple
        return checked(name, value, args[isinstance(value, (tuple, list))])
    if origin is tuple and isinstance(value, (tuple, list)) and (args[-1] is Ellipsis or len(value) == len(args)):
        return tuple(checked(f"{name}[{i}]", item, args[0]) for i, item in enumerate(value))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; expected a finite number")
        return float(value)
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    many = "" if args[1:] == (...,) else f"{len(args)} "
    kind = f"a tuple of {many}{args[0].__name__}" if origin is tuple else hint.__name__
    raise ValueError(f"{name} is {value!r} ({type(value).__name__}); expected {kind}")
