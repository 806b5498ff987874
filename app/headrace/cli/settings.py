"""`headrace settings`: every setting, its default and its meaning, as docs/configuration.md has them."""

from textwrap import fill

from headrace.config import Config, variable

_WIDTH = 100


def settings() -> str:
    """All settings as text, in the order of the documentation."""
    return "\n\n".join(map(_described, Config.model_fields))


def _described(name: str) -> str:
    field = Config.model_fields[name]
    default = "unset" if field.default in (None, (), "") else str(field.default)
    if field.default and isinstance(field.default, tuple):
        default = ",".join(map(str, field.default))
    shown = default.lower() if isinstance(field.default, bool) else default
    meaning = fill(field.description or "", _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return f"{variable(name)} [default: {shown}]\n{meaning}"
