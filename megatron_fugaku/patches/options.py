"""What the patches of Megatron's parsers have in common."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping
from typing import Any

from megatron_fugaku.errors import ConfigError


def allow_choice(parser: argparse.ArgumentParser, option: str, choice: str) -> None:
    """Let an option that has choices, if there is one of that name, take another one."""
    action = parser._option_string_actions.get(option)
    if action is not None and action.choices is not None and choice not in action.choices:
        action.choices = [*action.choices, choice]


def refuse_options(args: argparse.Namespace, packages: Mapping[str, str]) -> None:
    """Refuse options that need a GPU, before anything is built.

    Args:
        args: what was given.
        packages: names in ``args`` to what of a GPU their options need.

    Raises:
        ConfigError: naming the first of them that is given.
    """
    for name, package in packages.items():
        if getattr(args, name, None):
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} was given", f"it needs {package}, which needs a GPU", "leave it out", option)


def wrap_parse_args(original: Callable, add_options: Callable[[argparse.ArgumentParser], argparse.ArgumentParser],
                    finish: Callable[[argparse.Namespace], None]) -> Callable:
    """Return Megatron's ``parse_args`` that knows more options, through upstream's own ``extra_args_provider``. Where a
    program adds an option that upstream has, as ``tools/generate_samples_gpt.py`` does, the program's stands.

    Args:
        original: upstream's.
        add_options: adds them to the parser, after the program's own, and returns it.
        finish: checks and completes what was given, in place.
    """

    @functools.wraps(original)
    def parse_args(extra_args_provider: Callable | None = None, *args: Any, **kwargs: Any) -> argparse.Namespace:
        def provide(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
            if extra_args_provider:
                before, parser.conflict_handler = parser.conflict_handler, "resolve"
                parser = extra_args_provider(parser)
                parser.conflict_handler = before
            return add_options(parser)

        parsed = original(provide, *args, **kwargs)
        finish(parsed)
        return parsed

    return parse_args
