"""The command line: each verb is a few lines over the Python API."""

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
from sfumato.cli.looking import Eval, Explain, Inspect, Show
from sfumato.cli.making import Interpolate, Sample, Train
from sfumato.cli.suggestions import check
from sfumato.errors import ConfigError, DeviceError, SfumatoError
from sfumato.training.config import TrainConfig
from sfumato.training.presets import preset_for
from sfumato.utils.filesystem import ON_WINDOWS
from sfumato.utils.flags import PARAGRAPHS

USER_ERROR = 2
READER_LEFT = 141
"""What a shell tells of a program that SIGPIPE ended."""

Verb = Inspect | Train | Sample | Interpolate | Show | Eval | Explain

DESCRIPTION = """Train, sample and explain diffusion models on your own images:
  sfumato inspect photos/             look at the images first
  sfumato train photos/ --size 64     learn from images (or the word: digits)
  sfumato sample runs/photos          draw new ones
  sfumato interpolate runs/photos     go from one to the next
  sfumato train --help                all flags of a command
  sfumato --version
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code.

    It is 0 if done, 2 after a mistake that the message explains, 130 if interrupted, 141 if nobody reads the output any
    more (1 where rich notices it first). After a failure of the device it leaves the process with code 2 at once.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")  # idle threads soon sleep; see benchmarks/idle_threads.py
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except OSError as error:
        if not _is_reader_gone(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes as it ends
        return READER_LEFT


def _is_reader_gone(error: OSError) -> bool:
    """Whether the output was closed by its reader; Windows reports that as an invalid argument, without a file name."""
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
            _leave_at_once(USER_ERROR)
        return USER_ERROR
    except KeyboardInterrupt as interruption:
        print("sfumato: interrupted", *interruption.args, sep=". ", file=sys.stderr)
        return 130
    finally:
        if sys.stdout is not None:  # as it is where a program closed it
            sys.stdout.flush()


def _leave_at_once(code: int) -> None:
    """Ends the process and frees nothing: once a device has failed, PyTorch aborts where it frees pinned memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def parse(arguments: list[str]) -> Verb:
    """The verb with its flags; `train` begins from the preset that is named, or else that suits the data."""
    check(arguments, get_args(Verb))
    for flag, example in (("--label", "cat dog"), ("--condition", "age=30 colour=red")):
        if sum(argument == flag or argument.startswith(f"{flag}=") for argument in arguments) > 1:
            raise ConfigError(f"{flag} was given more than once", f"Give all names after one: {flag} {example}.")
    named = _named_preset(arguments)
    verb = _parse_with(arguments, preset_for("", named))
    if isinstance(verb, Train) and named is None:
        suited = preset_for(verb.config.source)
        return _parse_with(arguments, suited)
    return verb


def _named_preset(arguments: list[str]) -> str | None:
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
    """A verb under its name: told by its whole docstring if it is the one that is called, else by the first line."""
    name, text = verb.__name__.lower(), getdoc(verb) or ""
    told = text if arguments[:1] == [name] else text.partition("\n")[0]
    return tyro.conf.subcommand(name, default=default, description=told)
