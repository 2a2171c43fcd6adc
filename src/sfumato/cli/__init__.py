"""Command line interface: parses arguments and runs one verb."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from inspect import getdoc
from typing import Annotated, get_args

import tyro
from tyro.constructors import MISSING_NONPROP

import sfumato
from sfumato.cli.evaluate import Eval
from sfumato.cli.explain import Explain
from sfumato.cli.export import Export
from sfumato.cli.inspect import Inspect
from sfumato.cli.interpolate import Interpolate
from sfumato.cli.push import Push
from sfumato.cli.sample import Sample
from sfumato.cli.show import Show
from sfumato.cli.suggestions import check, given_flags
from sfumato.cli.train import Train
from sfumato.errors import ConfigError, DeviceError, SfumatoError
from sfumato.training.config import TrainConfig
from sfumato.training.presets import preset_for, without_network
from sfumato.utils.filesystem import ON_WINDOWS
from sfumato.utils.flags import PARAGRAPHS
from sfumato.utils.signals import INTERRUPTED

USER_ERROR = 2
BROKEN_PIPE = 141
"""Exit code of a program ended by SIGPIPE (128 + 13)."""

HELP, HELP_ALL = {"-h", "--help"}, "--help-all"
"""Flags that print the most important flags of a command, and all of them."""

Verb = Inspect | Train | Sample | Interpolate | Show | Eval | Explain | Export | Push

VERBS: dict[str, type[Verb]] = {verb.__name__.lower(): verb for verb in get_args(Verb)}

DESCRIPTION = """Train, sample and explain diffusion models on your own images.

Examples:
  sfumato inspect photos/
  sfumato train photos/ --size 64 --minutes 30
  sfumato sample runs/photos
  sfumato train digits

Commands:
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    Args:
        arguments: without the name of the program; None: those of the process.

    Returns:
        0: success; 2: an error in the arguments, the data or the system; 130: interrupted; 141: the reader of the
        output closed it (1 if rich detects it first). A device failure ends the process with code 2.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # lets idle threads sleep soon; see benchmarks/idle_threads.py
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except OSError as error:
        if not _is_broken_pipe(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the final flush of Python
        return BROKEN_PIPE


def _is_broken_pipe(error: OSError) -> bool:
    """Whether the reader closed the output. Windows reports it as EINVAL without a file name."""
    is_invalid = error.errno == errno.EINVAL and error.filename is None
    return isinstance(error, BrokenPipeError) or (ON_WINDOWS and is_invalid)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        print(f"sfumato {sfumato.__version__}")
        return 0
    try:
        if (text := short_help(arguments)) is not None:
            print(text, file=sys.stdout if arguments else sys.stderr)
            return 0 if arguments else USER_ERROR
        return parse(arguments).run()
    except SfumatoError as error:
        from sfumato.utils.progress import print_sentence

        print_sentence(f"sfumato: {error}", stderr=True)
        if isinstance(error, DeviceError):
            _exit_without_cleanup(USER_ERROR)
        return USER_ERROR
    except KeyboardInterrupt as interruption:
        print("sfumato: interrupted", *interruption.args, sep=". ", file=sys.stderr)
        return INTERRUPTED
    finally:
        if sys.stdout is not None:  # None if the parent process closed it
            sys.stdout.flush()


def short_help(arguments: Sequence[str]) -> str | None:
    """The list of the commands, or the most important flags of one; None if the arguments do not request them."""
    name = arguments[0] if arguments else "--help"
    if name in HELP:
        usage, footer = "COMMAND", "Flags of a command: sfumato COMMAND --help"
        text = DESCRIPTION + "".join(f"  {name:<13}{_text(verb).splitlines()[0]}\n" for name, verb in VERBS.items())
    elif name in VERBS and not HELP.isdisjoint(arguments):
        text, footer = _text(VERBS[name]) + "\n", f"All flags: sfumato {name} --help-all"
        usage = _usage(name)
    else:
        return None
    return f"usage: sfumato {usage} [FLAGS]\n\n{text}\n{footer}"


def _usage(name: str) -> str:
    """A command with its positional arguments, which begin a line of its short help."""
    return " ".join([name, *re.findall(r"^  (\[?[A-Z|]+(?: \.\.\.)?\]?)", _text(VERBS[name]), re.MULTILINE)])


def _text(verb: type[Verb]) -> str:
    return (getdoc(verb) or "").rstrip()


def _exit_without_cleanup(code: int) -> None:
    """Ends the process. After a device failure, PyTorch would abort when it frees pinned memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(arguments: list[str]) -> Verb:
    """Parses the verb and its flags. `train` starts from the given preset, or from the default one for the data."""
    check(arguments, get_args(Verb))
    command, has_flags = arguments[0], any(argument.startswith("-") for argument in arguments)
    required = [] if command not in VERBS else re.findall(r" ([A-Z|]+)", re.sub(r"\[.*?\]", "", _usage(command)))
    if len(arguments) - 1 < len(required) and not has_flags:
        remedy = f"Usage: sfumato {_usage(command)} [FLAGS]. For help: sfumato {command} --help."
        raise ConfigError(f"sfumato {command} was called without {required[len(arguments) - 1]}", remedy)
    arguments = ["--help" if argument == HELP_ALL else argument for argument in arguments]
    for flag, example in (("--label", "cat dog"), ("--condition", "age=30 colour=red")):
        if sum(argument == flag or argument.startswith(f"{flag}=") for argument in arguments) > 1:
            raise ConfigError(f"{flag} was given more than once", f"Give it once with all values: {flag} {example}.")
    name, given = _preset_name(arguments), {}
    if command == "train":
        given = {flag[2:].replace("-", "_"): " ".join(values) for flag, values in given_flags(arguments[1:])}
    verb = _parse_with(arguments, without_network(preset_for("", name), given))
    if isinstance(verb, Train) and name is None:
        return _parse_with(arguments, without_network(preset_for(verb.config.source), given))
    return verb


def _preset_name(arguments: list[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    known, _ = parser.parse_known_args(arguments)
    return None if known.preset is None else str(known.preset)


def _parse_with(arguments: list[str], preset: TrainConfig) -> Verb:
    verbs = (
        Annotated[Inspect, _described(Inspect)]
        | Annotated[Train, _described(Train, default=Train(replace(preset, source=tyro.MISSING)))]
        | Annotated[Sample, _described(Sample)]
        | Annotated[Interpolate, _described(Interpolate)]
        | Annotated[Show, _described(Show)]
        | Annotated[Eval, _described(Eval)]
        | Annotated[Explain, _described(Explain)]
        | Annotated[Export, _described(Export)]
        | Annotated[Push, _described(Push)]
    )
    return tyro.cli(
        verbs,
        args=arguments,
        prog="sfumato",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.PositionalRequiredArgs),
        registry=PARAGRAPHS,
    )


def _described(verb: type[Verb], default: object = MISSING_NONPROP) -> object:
    """The subcommand of a verb. Its description is the first line of the docstring."""
    return tyro.conf.subcommand(verb.__name__.lower(), default=default, description=_text(verb).partition("\n")[0])
