"""Command line interface: parses arguments and runs one verb."""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from inspect import getdoc
from typing import Annotated, get_args

import tyro
from tyro.constructors import MISSING_NONPROP

import sfumato
from sfumato.cli.evaluate import Eval
from sfumato.cli.explain import Explain
from sfumato.cli.inspect import Inspect
from sfumato.cli.interpolate import Interpolate
from sfumato.cli.sample import Sample
from sfumato.cli.show import Show
from sfumato.cli.suggestions import check
from sfumato.cli.train import Train
from sfumato.errors import ConfigError, DeviceError, SfumatoError
from sfumato.training.config import TrainConfig
from sfumato.training.presets import preset_for
from sfumato.utils.filesystem import ON_WINDOWS
from sfumato.utils.flags import PARAGRAPHS
from sfumato.utils.signals import INTERRUPTED

USER_ERROR = 2
BROKEN_PIPE = 141
"""Exit code of a program ended by SIGPIPE (128 + 13)."""

Verb = Inspect | Train | Sample | Interpolate | Show | Eval | Explain

DESCRIPTION = """Train, sample and explain diffusion models on your own images:
  sfumato inspect photos/             inspect a data set
  sfumato train photos/ --size 64     train a model
  sfumato train digits                train on the built-in digits
  sfumato sample runs/photos          sample new images
  sfumato interpolate runs/photos     interpolate between images
  sfumato train --help                list all flags of a command
  sfumato --version
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


def _exit_without_cleanup(code: int) -> None:
    """Ends the process. After a device failure, PyTorch would abort when it frees pinned memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(arguments: list[str]) -> Verb:
    """Parses the verb and its flags. `train` starts from the given preset, or from the default one for the data."""
    check(arguments, get_args(Verb))
    for flag, example in (("--label", "cat dog"), ("--condition", "age=30 colour=red")):
        if sum(argument == flag or argument.startswith(f"{flag}=") for argument in arguments) > 1:
            raise ConfigError(f"{flag} was given more than once", f"Give it once with all values: {flag} {example}.")
    name = _preset_name(arguments)
    verb = _parse_with(arguments, preset_for("", name))
    if isinstance(verb, Train) and name is None:
        return _parse_with(arguments, preset_for(verb.config.source))
    return verb


def _preset_name(arguments: list[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset", nargs="?")
    known, _ = parser.parse_known_args(arguments)
    return None if known.preset is None else str(known.preset)


def _parse_with(arguments: list[str], preset: TrainConfig) -> Verb:
    described = partial(_described, arguments)
    verbs = (
        Annotated[Inspect, described(Inspect)]
        | Annotated[Train, described(Train, default=Train(replace(preset, source=tyro.MISSING)))]
        | Annotated[Sample, described(Sample)]
        | Annotated[Interpolate, described(Interpolate)]
        | Annotated[Show, described(Show)]
        | Annotated[Eval, described(Eval)]
        | Annotated[Explain, described(Explain)]
    )
    return tyro.cli(
        verbs,
        args=arguments,
        prog="sfumato",
        description=DESCRIPTION,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.PositionalRequiredArgs),
        registry=PARAGRAPHS,
    )


def _described(arguments: list[str], verb: type[Verb], default: object = MISSING_NONPROP) -> object:
    """The subcommand of a verb. Its description is the docstring in its own help, otherwise the first line."""
    name, text = verb.__name__.lower(), getdoc(verb) or ""
    description = text if arguments[:1] == [name] else text.partition("\n")[0]
    return tyro.conf.subcommand(name, default=default, description=description)
