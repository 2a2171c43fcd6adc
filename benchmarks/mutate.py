"""Do the tests notice? Plants one bug at a time, and runs the tests.

    nice -n 10 python benchmarks/mutate.py                              # every room
    nice -n 10 python benchmarks/mutate.py --rooms solvers --sample 50  # some of one
    nice -n 10 python benchmarks/mutate.py --kinds structural           # faults of order, place and reuse alone

Small mutants change one constant, sign, index or comparison of the maths. Structural ones are written down in
`mutants_structural.toml` beside this script: a residual left out, a norm in another place, random numbers used twice.

A mutant is caught if a test of its room fails on it, or never ends. Those that survive are printed, as
`file:line: before -> after`, unless `mutants_explained.toml` beside this script says why no test can catch them.

Only copies of the checkout are changed. Torch and pytest are imported once; each mutant has a fork of that process,
which imports sfumato and the tests afresh, and runs those that enter the function it changes. Tests marked `slow` are
left out: the quick ones must catch the same bugs.
"""

import gc
import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

import beartype  # noqa: F401  (for the forks, as are the next three)
import diffusers.schedulers  # noqa: F401
import jaxtyping  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pytest
import tyro
from mutants import ROOMS, Mutant, Source, explanations, structural_mutants
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src" / "sfumato"
IMPORTING = ""
"""In the place of a test: what runs before any."""

Kind = Literal["small", "structural"]


def mutants_of(name: str, kinds: Collection[Kind]) -> list[Mutant]:
    """All mutants of a room: the small ones by file and place, then the structural ones."""
    files = ROOMS[name].source_files(SOURCES) if "small" in kinds else []
    small = [mutant for file in files for mutant in Source(file, (SOURCES / file).read_bytes()).mutants()]
    return small + (structural_mutants(name, SOURCES) if "structural" in kinds else [])


class Watch:
    """A pytest plugin: notes the seconds of each test, and the functions that it enters, by file and line."""

    def __init__(self, tree: Path) -> None:
        self.sources = f"{tree / 'src' / 'sfumato'}{os.sep}"
        self.seconds: dict[str, float] = {}
        self.now: set[tuple[str, int]] = set()
        self.entered = {IMPORTING: self.now}

    def pytest_configure(self) -> None:
        """Called by pytest first."""
        sys.settrace(self.note)

    def note(self, frame: FrameType, *_: object) -> None:
        """Called by Python at the entry of each function."""
        if frame.f_code.co_filename.startswith(self.sources):
            self.now.add((frame.f_code.co_filename.removeprefix(self.sources), frame.f_code.co_firstlineno))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Called by pytest before a test."""
        self.seconds[nodeid] = -time.process_time()
        self.now = self.entered[nodeid] = set()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Called by pytest after a test."""
        self.seconds[nodeid] += time.process_time()

    def result(self) -> object:
        """What `Baseline` is made of."""
        return {"seconds": self.seconds, "entered": {test: list(places) for test, places in self.entered.items()}}


@dataclass(frozen=True)
class Baseline:
    """The seconds of each test without a mutant, and the functions that it enters, by file and line."""

    seconds: dict[str, float]
    entered: dict[str, list[tuple[str, int]]]

    def reaching(self, mutant: Mutant) -> set[str]:
        """The tests that enter the function of a mutant; all of them if it is met without any test."""
        first, last = mutant.within or (0, 0)
        found = {
            test
            for test, places in self.entered.items()
            if any(file == mutant.file and first <= line <= last for file, line in places)
        }
        return set(self.seconds) if IMPORTING in found or not found else found


class Hunt:
    """A pytest plugin: of the tests that reach a mutant, runs first those that caught its neighbours, then the fast."""

    def __init__(self, baseline: Baseline, mutant: Mutant, recent: Collection[str]) -> None:
        self.baseline, self.reaching, self.recent = baseline, baseline.reaching(mutant), recent
        self.caught_by = "an error outside the tests"

    def pytest_configure(self) -> None:
        """Called by pytest first; the tests cannot be found in a minute if a loop has no end."""
        signal.setitimer(signal.ITIMER_PROF, 60)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Called by pytest before the tests; those that are new with this mutant stay."""
        known = self.baseline.seconds
        items[:] = [item for item in items if item.nodeid in self.reaching or item.nodeid not in known]
        items.sort(key=lambda item: (item.nodeid not in self.recent, known.get(item.nodeid, 0.0)))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Called by pytest before a test; ends the process where the test takes many times as long as it should."""
        signal.setitimer(signal.ITIMER_PROF, 5 + 10 * self.baseline.seconds.get(nodeid, 0.0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest after each part of a test."""
        if report.failed:
            self.caught_by = report.nodeid

    def result(self) -> object:
        """The test that failed, if any."""
        return self.caught_by


def run_tests(tree: Path, tests: Sequence[str], plugin: Watch | Hunt) -> int:
    """Starts pytest in a fork, on a copy of the checkout; the fork ends with pytest's exit code. Returns its id."""
    (tree / "result.json").unlink(missing_ok=True)
    process = os.fork()
    if process:
        return process
    code = int(pytest.ExitCode.INTERNAL_ERROR)
    try:
        os.chdir(tree)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, sys.stdout.fileno())
        os.dup2(output, sys.stderr.fileno())
        sys.path.insert(0, str(tree / "src"))
        spec = importlib.util.find_spec("sfumato")
        if spec is None or not Path(spec.origin or "").is_relative_to(tree):
            raise ImportError(f"sfumato would come from {spec}, not from the copy")
        options = ["-xq", "-m", "not slow", "--assert=plain", "-p", "no:cacheprovider"]
        code = int(pytest.main([*options, *tests], plugins=[plugin]))
        Path("result.json").write_text(json.dumps(plugin.result()))
    except BaseException:  # a fork must not go on as its parent
        traceback.print_exc()
    os._exit(code)


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the test that caught it, "time limit", or nothing."""

    mutant: Mutant
    caught_by: str

    @property
    def survived(self) -> bool:
        """Whether no test noticed."""
        return not self.caught_by


class Worker:
    """A copy of the checkout, in which one mutant at a time meets the tests of a room."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        for part in ("src", "tests", "examples"):
            shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", tree)

    def baseline(self, tests: Sequence[str]) -> Baseline:
        """The tests on the sources as they are.

        Raises:
            SystemExit: one fails there already.
        """
        _, status = os.waitpid(run_tests(self.tree, tests, Watch(self.tree)), 0)
        if status:
            sys.exit((self.tree / "output.txt").read_text() + "\nThe tests fail without any mutant.")
        return Baseline(**json.loads((self.tree / "result.json").read_text()))

    def begin(self, mutant: Mutant, tests: Sequence[str], baseline: Baseline, recent: Collection[str]) -> None:
        """Writes the mutant into the copy and starts the tests."""
        self.mutant, self.file = mutant, self.tree / "src" / "sfumato" / mutant.file
        self.original = self.file.read_bytes()
        self.file.write_bytes(mutant.applied_to(self.original))
        self.process = run_tests(self.tree, tests, Hunt(baseline, mutant, recent))

    def outcome(self) -> Outcome | None:
        """What became of the mutant, once that is known.

        Raises:
            SystemExit: no test was run at all.
        """
        process, status = os.waitpid(self.process, os.WNOHANG)
        if not process:
            return None
        self.file.write_bytes(self.original)
        if os.waitstatus_to_exitcode(status) in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
            sys.exit((self.tree / "output.txt").read_text() + "\nNo test was run.")
        result = self.tree / "result.json"
        caught_by = json.loads(result.read_text()) if result.exists() else "a crash, or its time limit"
        return Outcome(self.mutant, caught_by if status else "")


def try_all(
    mutants: Sequence[Mutant], tests: Sequence[str], baseline: Baseline, workers: Sequence[Worker]
) -> Iterator[Outcome]:
    """The outcome of each mutant, as they come."""
    recent = deque[str](maxlen=10)
    waiting, idle, busy = list(reversed(mutants)), list(workers), list[Worker]()
    while waiting or busy:
        while waiting and idle:
            idle[-1].begin(waiting.pop(), tests, baseline, recent)
            busy.append(idle.pop())
        time.sleep(0.01)
        for worker in list(busy):
            outcome = worker.outcome()
            if outcome:
                busy.remove(worker)
                idle.append(worker)
                recent += [outcome.caught_by] if outcome.caught_by else []
                yield outcome


def report(console: Console, outcomes: dict[str, list[Outcome]]) -> bool:
    """Prints the survivors and a markdown table of the rooms; whether just those that survive are explained."""
    why, tried, open_ones = explanations(), [one for room in outcomes.values() for one in room], 0
    for one in tried:
        if one.survived:
            console.print(f"{one.mutant}\n    {why.get(one.mutant.key, 'NOT EXPLAINED')}", markup=False)
    stale = [one.mutant for one in tried if one.mutant.key in why and not one.survived]
    for mutant in stale:
        console.print(f"{mutant}\n    EXPLAINED, YET CAUGHT", markup=False)
    console.print("\n| room | mutants | caught | explained | open |\n| --- | --- | --- | --- | --- |")
    for name, room in outcomes.items():
        alive = [one.mutant for one in room if one.survived]
        explained = sum(mutant.key in why for mutant in alive)
        open_ones += len(alive) - explained
        caught = f"{len(room) - len(alive)} ({1 - len(alive) / len(room):.1%})"
        console.print(f"| {name} | {len(room)} | {caught} | {explained} | {len(alive) - explained} |")
    return not (stale or open_ones)


def main(
    rooms: tuple[str, ...] = tuple(ROOMS),
    kinds: tuple[Kind, ...] = ("small", "structural"),
    workers: int = 2,
    sample: int | None = None,
    seed: int = 0,
    save: Path | None = None,
) -> None:
    """Prints the mutants that no test catches, and how many are caught in each room; fails if any is not explained.

    Args:
        rooms: where to change things.
        kinds: of changes; rooms that have none of them are left out.
        workers: mutants at a time.
        sample: mutants of each room, drawn at random; all of them if not given.
        seed: of that draw.
        save: a JSON file for all outcomes.
    """
    sys.dont_write_bytecode = True  # else the bytecode of one mutant could pass for that of another
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.freeze()  # pytest collects garbage at its end, and need not search what torch left
    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes: dict[str, list[Outcome]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="mutants-") as folder,
        Progress(*columns, console=console, auto_refresh=False) as bar,  # its thread would not survive a fork
    ):
        found = {name: mutants for name in rooms if (mutants := mutants_of(name, kinds))}
        tests = {name: ROOMS[name].test_files(ROOT) for name in found}
        crew = [Worker(Path(folder) / str(number)) for number in range(workers)]
        baselines = {name: crew[0].baseline(tests[name]) for name in found}
        for name, mutants in found.items():
            if sample is not None:
                mutants = random.Random(seed).sample(mutants, min(sample, len(mutants)))
            tried = try_all(mutants, tests[name], baselines[name], crew)
            outcomes[name] = list(bar.track(tried, total=len(mutants), description=name))
    if save:
        save.write_text(json.dumps({name: [asdict(one) for one in room] for name, room in outcomes.items()}, indent=1))
    if not report(console, outcomes):
        sys.exit(1)


if __name__ == "__main__":
    tyro.cli(main)
