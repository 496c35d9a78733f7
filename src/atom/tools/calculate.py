"""The calculator: numbers only, evaluated by simpleeval, with a bound on every number that can arise."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import FunctionNotDefined, InvalidExpression, NameNotDefined, SimpleEval

from atom.governance.models import Action, EffectClass, Risk
from atom.tools.errors import ToolError
from atom.tools.ports import Tool, ToolContext, ToolOutput

MAX_CHARS = 500
MAX_BITS = 4096  # about 1,230 digits: every operation on such numbers takes microseconds
MAX_FACTORIAL = 400
MAX_DIGITS = 100
Number = int | float


class CalculationError(ToolError):
    code = "calculation_error"


def calculate(expression: str) -> str:
    """The value as text: exact for whole numbers, 15 significant digits for others. Raises CalculationError."""
    tree = _parse(expression)
    try:
        value = SimpleEval(operators=OPERATORS, functions=FUNCTIONS, names=NAMES).eval(
            expression, previously_parsed=tree
        )
    except ZeroDivisionError as error:
        raise CalculationError("expression: division by zero.", hint="Change the divisor.") from error
    except NameNotDefined as error:
        raise CalculationError(f"expression: unknown name {error.name!r}.", hint=KNOWN) from error
    except FunctionNotDefined as error:
        raise CalculationError(f"expression: unknown function {error.func_name!r}.", hint=KNOWN) from error
    except OverflowError as error:
        raise CalculationError("expression: a number is too large.", hint="Use smaller numbers.") from error
    except (InvalidExpression, KeyError, TypeError, ValueError) as error:
        raise CalculationError(f"expression: {str(error)[:200]}", hint=KNOWN) from error
    return _shown(value)


def calculate_tool() -> Tool:
    async def run(arguments: Mapping[str, Any], _: ToolContext) -> ToolOutput:
        expression = arguments["expression"]
        value = calculate(expression)  # bounded to a few milliseconds by its length and the size of its numbers
        return ToolOutput(f"{expression.strip()} = {value}", data={"value": value})

    return Tool(
        action=Action("calculate", Risk.LOW, EffectClass.READ),
        description=(
            "Evaluate an arithmetic expression exactly, for example '(1200 * 0.19) / 12' or 'sqrt(2) * 10 ** 3'. "
            f"Powers are **. Functions: {', '.join(sorted(FUNCTIONS))}. Constants: pi, e."
        ),
        parameters={
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_CHARS,
                    "description": "The expression: numbers with a decimal point and without thousands separators.",
                }
            },
            "required": ["expression"],
            "additionalProperties": False,
        },
        timeout=5.0,
        run=run,
    )


def _parse(expression: str) -> ast.expr:
    if len(expression) > MAX_CHARS:
        raise CalculationError(f"expression: longer than {MAX_CHARS} characters.", hint="Split it into steps.")
    plain = expression.translate(TYPOGRAPHY).strip()
    try:
        tree = ast.parse(plain, mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise CalculationError("expression: is not a complete arithmetic expression.", hint=KNOWN) from error
    except (RecursionError, MemoryError) as error:  # how the parser says that the nesting is too deep
        raise CalculationError("expression: is nested too deeply.", hint="Split it into steps.") from error
    _check(tree, depth=0)
    return tree


def _check(node: ast.AST, *, depth: int) -> None:
    if depth > 100:
        raise CalculationError("expression: is nested too deeply.", hint="Split it into steps.")
    if isinstance(node, ast.BitXor):
        raise CalculationError("expression: ^ is not a power here.", hint="Write a power as **, for example 2 ** 10.")
    if isinstance(node, ast.Tuple):
        raise CalculationError(
            "expression: has a comma between numbers.", hint="Write 1000.5, without thousands separators."
        )
    if isinstance(node, ast.Constant) and type(node.value) not in {int, float, bool}:
        raise CalculationError(f"expression: {node.value!r:.40} is not a real number.", hint=KNOWN)
    if not isinstance(node, ALLOWED) or (isinstance(node, ast.Call) and not isinstance(node.func, ast.Name)):
        raise CalculationError(f"expression: {type(node).__name__} is not arithmetic.", hint=KNOWN)
    for child in ast.iter_child_nodes(node):
        _check(child, depth=depth + 1)


def _bits(value: Number) -> int:
    return value.bit_length() if isinstance(value, int) else 0


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        _bound(math.log2(abs(base)) * exponent)
    return base**exponent


def _times(left: Number, right: Number) -> Number:
    _bound(_bits(left) + _bits(right))
    return left * right


def _bound(bits: float) -> None:
    if bits > MAX_BITS:
        raise OverflowError


def _factorial(value: Number) -> int:
    if value != int(value) or not 0 <= value <= MAX_FACTORIAL:
        raise ValueError(f"factorial takes a whole number from 0 to {MAX_FACTORIAL}.")
    return math.factorial(int(value))


def _round(value: Number, digits: int = 0) -> Number:
    if abs(digits) > MAX_DIGITS:  # round(1, -10**9) would compute 10 ** 10**9
        raise ValueError(f"round takes at most {MAX_DIGITS} digits.")
    return round(value, digits) if digits else round(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        _bound_shown(value)
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.15g}"
    raise CalculationError("expression: the result is not a finite real number.", hint="Change the expression.")


def _bound_shown(value: int) -> None:
    if _bits(value) > 2 * MAX_BITS:
        raise CalculationError("expression: a number is too large.", hint="Use smaller numbers.")


ALLOWED = (
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant,
    ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _times, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": _round, "floor": math.floor, "ceil": math.ceil,
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2, "log10": math.log10,
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
    "atan2": math.atan2, "radians": math.radians, "degrees": math.degrees, "hypot": math.hypot,
    "factorial": _factorial, "gcd": math.gcd,
}  # fmt: skip
NAMES = {"pi": math.pi, "e": math.e, "True": True, "False": False}
TYPOGRAPHY = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-", "\u00a0": " "})
KNOWN = f"Expected: numbers, + - * / // % **, comparisons, parentheses, pi, e, and {', '.join(sorted(FUNCTIONS))}."
