"""Guards of torch.export: conditions on image sizes, parsed and evaluated without executing code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
CALLS: dict[str, Callable[..., Any]] = {"max": max, "min": min}
LONGEST = 10_000


def parsed_guard(text: str) -> ast.expr:
    """Parses a condition such as "2*L['x'].size()[2] >= L['x'].size()[3]".

    Raises:
        ValueError: It contains anything but integers, sizes, arithmetic, comparisons, `max` and `min`.
        SyntaxError: It is not an expression.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a condition on sizes has {len(text)} characters")
    guard = ast.parse(text, mode="eval").body
    with suppress(ArithmeticError):
        value_of(guard, (1, 1, 1, 1))
    return guard


def value_of(node: ast.AST, sizes: Sequence[int]) -> Any:  # noqa: ANN401 (a number or a truth value)
    """Value of a condition, or of a subexpression, for images of these sizes.

    Raises:
        ValueError: A subexpression is not allowed.
    """
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Subscript(
            value=ast.Call(func=ast.Attribute(value=ast.Subscript(value=ast.Name(id="L")), attr="size"), args=[]),
            slice=ast.Constant(value=int(side)),
        ):
            return sizes[side]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value_of(operand, sizes)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value_of(operand, sizes)
        case ast.BoolOp(op=kind, values=values):
            found = [value_of(value, sizes) for value in values]
            return all(found) if isinstance(kind, ast.And) else any(found)
        case ast.BinOp(left=left, op=kind, right=right) | ast.Compare(left=left, ops=[kind], comparators=[right]):
            if type(kind) in BINARY:
                return BINARY[type(kind)](value_of(left, sizes), value_of(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in CALLS:
            return CALLS[name](*(value_of(argument, sizes) for argument in arguments))
    raise ValueError(f"its condition on sizes is not supported: {ast.unparse(node)[:80]}")
