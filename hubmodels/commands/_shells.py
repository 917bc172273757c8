"""Shell completion: a script that knows all commands, flags and choices. The shell runs it alone, without Python.

hubmodels completion bash >> ~/.bashrc
hubmodels completion zsh >> ~/.zshrc          # below compinit
hubmodels completion fish > ~/.config/fish/completions/hubmodels.fish
"""

import argparse
import types
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from ..families import config_help, list_families
from ..fields import option_fields, type_hints
from ..recipe import DataArguments, TrainingArguments
from ..tasks import get_task, list_tasks

SHELLS = ("bash", "zsh", "fish")


@dataclass
class Flag:
    """Holds what a flag of a command does, and its choices where there are few."""

    help: str = ""
    choices: list[str] = field(default_factory=list)


def write_script(shell: str, parser: argparse.ArgumentParser) -> str:
    """Return the script of a shell, one of SHELLS, for the commands of a parser."""
    commands = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    flags = {name: command_flags(command) for name, command in commands.choices.items()}
    return _fish_script(helps, flags) if shell == "fish" else _bash_script(flags, shell)


def command_flags(parser: argparse.ArgumentParser) -> dict[str, Flag]:
    """Return the flags of a command, `--a_b` of the two spellings; with a recipe's fields where it takes them."""
    flags = {}
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            choices = {"family": list_families(), "task": list_tasks()}.get(action.dest) or action.choices or []
            flags[f"--{action.dest}"] = Flag(action.help or "", list(choices))
    sections = parser.get_default("takes_fields")
    return flags | (recipe_flags(only_data=sections == "data") if sections else {}) | {"--help": Flag("show the help")}


def recipe_flags(only_data: bool) -> dict[str, Flag]:
    """Return the fields of a recipe over all families and tasks."""
    flags: dict[str, Flag] = {}
    classes: list[type] = [DataArguments, *map(get_task, list_tasks()), *([] if only_data else [TrainingArguments])]
    for cls in classes:
        hints = type_hints(cls)
        for name, item in option_fields(cls).items():
            flag = flags.setdefault(f"--{name}", Flag(item.metadata.get("help", "")))
            flag.choices += [value for value in _literals(hints[name]) if value not in flag.choices]
    for family in [] if only_data else list_families():
        for name, text in config_help(family).items():
            flags.setdefault(f"--{name}", Flag(text))
    return flags


def _literals(hint: Any) -> list[str]:
    """List the texts that a type allows, where it names them."""
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if isinstance(value, str)]
    choices = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else ()
    return [value for choice in choices for value in _literals(choice)]


def _bash_script(flags: dict[str, dict[str, Flag]], shell: str) -> str:
    by_command = [f"      {name}) words='{' '.join(names)}' ;;" for name, names in flags.items()]
    choices: dict[str, list[str]] = {}
    for by_name in flags.values():
        for name, flag in by_name.items():
            if flag.choices:
                values = choices.setdefault(name, [])
                values += [value for value in flag.choices if value not in values]
    by_flag = [f"    {name}) words='{' '.join(values)}' ;;" for name, values in choices.items()]
    first = ["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []
    lines = [
        *first,
        "_hubmodels() {",
        '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        '  case "$previous" in',
        *by_flag,
        "  esac",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f"    words='{' '.join(flags)} --help --version'",
        '  elif [ -z "$words" ] && [ "${current#-}" != "$current" ]; then',
        '    case "${COMP_WORDS[1]}" in',
        *by_command,
        "    esac",
        "  fi",
        '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -o default -F _hubmodels hubmodels",
    ]
    return "\n".join(lines) + "\n"


def _fish_script(helps: dict[str, str], flags: dict[str, dict[str, Flag]]) -> str:
    lines = [
        f"complete -c hubmodels -n __fish_use_subcommand -f -a {name} -d {_quoted(text)}"
        for name, text in helps.items()
    ]
    for command, by_name in flags.items():
        for name, flag in by_name.items():
            values = f" -x -a {_quoted(' '.join(flag.choices))}" if flag.choices else ""
            text = f" -d {_quoted(flag.help)}" if flag.help else ""
            lines.append(
                f"complete -c hubmodels -n '__fish_seen_subcommand_from {command}' -l {name[2:]}{values}{text}"
            )
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
