"""The commands for a shell: whether Headrace lives, the script of completion, the list of settings."""

from typing import Annotated

import typer

commands = typer.Typer()

COMPLETES = "_HEADRACE_COMPLETE"
"""The variable with which a shell's completion script calls us."""


@commands.command("healthy", short_help="Ask whether the Headrace of this machine lives.")
def healthy_() -> None:
    """Ask `/healthz` of this machine's Headrace, with the environment's settings: exit status 0 if it lives, else 1 and why.

    Health checks of containers run `python -m headrace.cli.healthy`, which is the same and five times as quick.
    """
    from headrace.cli.healthy import main

    main()


@commands.command("completion", short_help="Print the script that completes commands in a shell.")
def completion_(shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]) -> None:
    """Print the script with which a shell completes the commands and options of headrace.

    bash: `headrace completion bash >> ~/.bashrc`; zsh: `headrace completion zsh >> ~/.zshrc`;
    fish: `headrace completion fish > ~/.config/fish/completions/headrace.fish`.
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    if shell not in ("bash", "zsh", "fish"):
        raise typer.BadParameter("give bash, zsh or fish", param_hint="SHELL")
    print(get_completion_script(prog_name="headrace", complete_var=COMPLETES, shell=shell))


@commands.command("settings", short_help="List every setting, its default and its meaning.")
def settings_() -> None:
    """List every setting: its environment variable, its default and its meaning."""
    from headrace.cli.settings import settings

    print(settings())
