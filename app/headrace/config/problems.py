"""What is wrong with values that a person wrote: a `ValidationError` of pydantic → sentences that name field, key and place.
They never repeat the value: that may be a password. No I/O."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

_WORDS = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "path_type": "must be a path",
    "missing": "is missing",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be over {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be under {lt}",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "datetime_from_date_parsing": "must be a date or a time, such as 2027-01-31",
    "datetime_parsing": "must be a date or a time, such as 2027-01-31",
    "datetime_type": "must be a date or a time, such as 2027-01-31",
    "json_invalid": "is no JSON: {error}",
}
"""pydantic's type of an error → what a person is told. https://docs.pydantic.dev/latest/errors/validation_errors/"""


def problems(error: ValidationError, model: type[BaseModel], names: Mapping[str, str], item: str = "entry") -> list[str]:
    """One sentence for each problem, without its full stop. `model`: what was validated. `names`: field → what its user calls
    it. `item`: what an entry of a list is called."""
    found: list[dict[str, Any]] = [dict(problem) for problem in error.errors(include_url=False, include_input=False)]
    misspelt = {(*problem["loc"][:-1], _near(problem, model)) for problem in found if problem["type"] == "extra_forbidden"}
    return [
        _sentence(problem, model, names, item)
        for problem in found
        if problem["type"] != "missing" or problem["loc"] not in misspelt  # the other sentence says it all
    ]


def _near(problem: dict[str, Any], model: type[BaseModel]) -> str:
    """The known name that an unknown one looks like. Empty: none."""
    place = problem["loc"]
    known = _below(model.model_fields.get(str(place[0])), place[1:-1])
    return next(iter(get_close_matches(str(place[-1]).lower(), known, 1, 0.6)), "")


def _sentence(problem: dict[str, Any], model: type[BaseModel], names: Mapping[str, str], item: str) -> str:
    place: Sequence[Any] = problem["loc"]
    if not place:
        return _words(problem)
    field = model.model_fields.get(str(place[0]))
    subject = names.get(str(place[0]), str(place[0]))
    if problem["type"] == "extra_forbidden":
        known = _below(field, place[1:-1])
        return f"{subject}{_where(place[1:-1], item)}: {_unknown(str(place[-1]), _near(problem, model), known)}"
    if problem["type"] == "string_pattern_mismatch" and field is not None:
        return f"{subject} must be {_choices(problem['ctx']['pattern'])}"
    key = f' "{place[-1]}"' if len(place) > 1 and isinstance(place[-1], str) else ""
    where = _where(place[1:-1] if key else place[1:], item)
    return f"{subject}{where}{':' if where and key else ''}{key} {_words(problem)}"


def _words(problem: dict[str, Any]) -> str:
    context = problem.get("ctx") or {}
    if isinstance(context.get("error"), ValueError):
        return str(context["error"])
    context = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in context.items()
    }
    words = _WORDS.get(problem["type"])
    return words.format(**context) if words else str(problem["msg"])


def _where(place: Sequence[Any], item: str) -> str:
    """`(1, "match")` → ` rule 2, "match"`. People count from 1."""
    return ",".join(f" {item} {step + 1}" if isinstance(step, int) else f' "{step}"' for step in place)


def _below(field: Any, place: Sequence[Any]) -> list[str]:
    """The names that are known at this place of a field: those of the model that its type holds."""
    if field is None:
        return []
    for argument in getattr(field.annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel) and not any(isinstance(s, str) for s in place):
            return list(argument.model_fields)
    return []


def _unknown(key: str, near: str, known: list[str]) -> str:
    shown = key if len(key) <= 40 and key.isprintable() else "a key"
    hint = f'did you mean "{near}"?' if near else f"known are {', '.join(known)}" if known else "leave it out"
    return f'"{shown}" is not known, {hint}'


def _choices(pattern: str) -> str:
    """`^(auto|console|json)$` → `auto, console or json`; any other pattern as it is."""
    inner = pattern.removeprefix("^(").removesuffix(")$")
    if not all(word.isalpha() for word in inner.split("|")):
        return f"of the form {pattern}"
    *others, last = inner.split("|")
    return f"{', '.join(others)} or {last}" if others else last
