"""The guidance checkpoint of a run, and the best model by quick evaluations."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sfumato.cli.sampling_options import GuidanceOptions, SamplerOptions
from sfumato.data import Batch
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree, WithinLevels
from sfumato.errors import RunError, SamplingError
from sfumato.models import BEST, GUIDANCE_WEIGHTS, images_seen, load, load_guidance_checkpoint
from sfumato.sampling.solvers import SOLVERS
from sfumato.training import engine, loop, monitor
from sfumato.training.checkpoints import BestModel
from sfumato.training.config import TrainConfig
from sfumato.training.measurements import best_of, read_metrics
from sfumato.training.quick_evaluation import QuickEvaluation
from sfumato.training.run_directory import kept_best
from sfumato.training.state import TrainingState
from sfumato.training.step import StepResult, training_step
from sfumato.training.validation import Validation, ValidationLoss
from sfumato.utils.files import read_tensors

from .conftest import Settings, Train, opened


def weights(model: PreconditionedDenoiser | None) -> torch.Tensor:
    """All weights of a model, one after the other."""
    assert model is not None
    return torch.cat([p.detach().flatten() for p in model.network.parameters()])


def guide_seen(run: Path) -> int:
    """The images that the guide of a run had seen."""
    return int(read_tensors(run / "model" / GUIDANCE_WEIGHTS, "sfumato-model")[1]["images_seen"])


@pytest.fixture
def guided(settings: Settings, go: Train, tmp_path: Path) -> Path:
    """A run of 80 images, whose guide is of a quarter of them."""
    go(settings(autoguidance_at=0.25), tmp_path / "run")
    return tmp_path / "run"


def test_the_guidance_checkpoint_is_the_ema_at_its_step(
    settings: Settings, go: Train, guided: Path, tmp_path: Path
) -> None:
    go(settings(), tmp_path / "stopped", steps=5)
    assert guide_seen(guided) == images_seen(tmp_path / "stopped") == 20
    assert torch.equal(weights(load_guidance_checkpoint(guided)), weights(load(tmp_path / "stopped")))
    copy = shutil.copytree(guided / "model", tmp_path / "copy")
    for same in (guided / "model", copy):
        assert torch.equal(weights(load_guidance_checkpoint(same)), weights(load_guidance_checkpoint(guided)))
    assert not torch.equal(weights(load_guidance_checkpoint(guided)), weights(load(guided)))


@pytest.mark.parametrize("pieces", [(4, 1), (5, 3), (6,)], ids=str)
@pytest.mark.slow
def test_the_guidance_checkpoint_is_the_same_after_a_resume(
    pieces: tuple[int, ...], settings: Settings, go: Train, guided: Path, tmp_path: Path
) -> None:
    for steps in (*pieces, 10**9):
        go(settings(autoguidance_at=0.25), tmp_path / "parts", steps=steps)
    assert torch.equal(weights(load_guidance_checkpoint(tmp_path / "parts")), weights(load_guidance_checkpoint(guided)))


def test_no_guidance_checkpoint_is_saved_by_default_or_too_early(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(), tmp_path / "never")
    assert load_guidance_checkpoint(tmp_path / "never") is None
    go(settings(autoguidance_at=0.25), tmp_path / "early", steps=4)
    assert load_guidance_checkpoint(tmp_path / "early") is None


@pytest.mark.parametrize(("least", "is_kept"), [(5, True), (6, False)])
def test_a_model_of_too_few_steps_has_no_guidance_checkpoint(
    least: int, is_kept: bool, settings: Settings, go: Train, tmp_path: Path
) -> None:
    """The guide's moment is after 5 steps."""
    go(settings(autoguidance_at=0.25, autoguidance_min_steps=least), tmp_path / "run")
    assert (load_guidance_checkpoint(tmp_path / "run") is not None) == is_kept


def test_a_guidance_checkpoint_due_during_a_save_is_saved(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a budget in minutes, time goes on until the steps that were launched are done."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(loop, "time", clock)

    def timed(state: TrainingState, batch: Batch, config: TrainConfig, parts: int) -> StepResult:
        clock.now += 6.0
        return training_step(state, batch, config, parts)

    def drained(_: engine.EagerEngine) -> list[object]:
        clock.now += 6.0
        return []

    monkeypatch.setattr(engine, "training_step", timed)
    monkeypatch.setattr(engine.EagerEngine, "drained", drained)
    go(settings(images=None, minutes=1.0, save_minutes=0.0, autoguidance_at=0.15), tmp_path / "run")
    assert guide_seen(tmp_path / "run") == 8


def test_a_restarted_run_has_no_previous_guidance_checkpoint(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            go(settings(images=8, autoguidance_at=0.5), run)
    assert (run / "model" / GUIDANCE_WEIGHTS).exists()
    go(settings(images=8, width=16), run)
    assert load_guidance_checkpoint(run) is None


def test_autoguidance_by_the_checkpoint_is_the_default(
    guided: Path, settings: Settings, go: Train, tmp_path: Path
) -> None:
    model = load(guided)
    by_itself = GuidanceOptions().guided(model, guided, "cpu")
    assert isinstance(by_itself, AutoGuided)
    assert by_itself.scale == 1.5
    assert isinstance(by_itself.guide, PreconditionedDenoiser)
    assert torch.equal(weights(by_itself.guide), weights(load_guidance_checkpoint(guided)))
    assert GuidanceOptions(guidance=1.0).guided(model, guided, "cpu") is model
    assert isinstance(GuidanceOptions(guidance=2.0).guided(model, guided, "cpu"), ClassifierFree)
    assert isinstance(GuidanceOptions(guidance_interval=(0.2, 5)).guided(model, guided, "cpu"), WithinLevels)
    go(settings(images=8), tmp_path / "plain")
    plain = load(tmp_path / "plain")
    assert GuidanceOptions().guided(plain, tmp_path / "plain", "cpu") is plain
    idle_settings = GuidanceOptions(guidance_rescale=0.5), GuidanceOptions(autoguidance=guided)
    for idle in (*idle_settings, GuidanceOptions(guidance=1.0, autoguidance=tmp_path / "nowhere")):
        with pytest.raises(SamplingError, match="guidance scale is 1"):
            idle.guided(plain, tmp_path / "plain", "cpu")


@pytest.mark.parametrize("part", ["", "model", BEST])
@pytest.mark.parametrize("named", ["", "model", BEST])
@pytest.mark.slow
def test_autoguidance_by_own_run_uses_the_guidance_checkpoint(
    part: str, named: str, guided: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(settings(autoguidance_at=0.25), guided) as run:
        run.save_best(BestModel(load(guided).network.state_dict(), 24))
    monkeypatch.chdir(guided.parent)
    asked = GuidanceOptions(guidance=3.0, autoguidance=Path("run") / named)
    by_name = asked.guided(load(guided / part), guided / part, "cpu")
    assert isinstance(by_name, AutoGuided)
    assert by_name.scale == 3
    assert isinstance(by_name.guide, PreconditionedDenoiser)
    assert torch.equal(weights(by_name.guide), weights(load_guidance_checkpoint(guided)))


def test_a_copy_or_link_of_a_model_has_its_guidance_checkpoint(guided: Path, tmp_path: Path) -> None:
    copy, link = tmp_path / "copy", tmp_path / "link"
    shutil.copytree(guided / "model", copy / "model")
    link.symlink_to(copy / "model")
    for part, named in ((copy, copy / "model"), (copy / "model", link), (link, copy)):
        by_name = GuidanceOptions(guidance=3.0, autoguidance=named).guided(load(part), part, "cpu")
        assert isinstance(by_name, AutoGuided)
        assert isinstance(by_name.guide, PreconditionedDenoiser)
        assert torch.equal(weights(by_name.guide), weights(load_guidance_checkpoint(guided)))


def test_autoguidance_by_own_run_needs_a_guidance_checkpoint(
    guided: Path, settings: Settings, go: Train, tmp_path: Path
) -> None:
    unnamed = GuidanceOptions(autoguidance=guided).guided(load(guided), guided, "cpu")
    assert isinstance(unnamed, AutoGuided)
    assert unnamed.scale == 1.5
    plain = tmp_path / "plain"
    go(settings(images=8), plain)
    with pytest.raises(RunError, match="has no guidance checkpoint"):
        GuidanceOptions(guidance=3.0, autoguidance=plain).guided(load(plain), plain, "cpu")


@pytest.mark.parametrize(("classes", "scale"), [(True, 1.5), (False, 2)])
def test_the_autoguidance_scale_is_smaller_for_class_models(
    classes: bool, scale: float, settings: Settings, go: Train, tmp_path: Path
) -> None:
    go(settings(autoguidance_at=0.25, labels=classes), tmp_path / "run")
    by_itself = GuidanceOptions().guided(load(tmp_path / "run"), tmp_path / "run", "cpu")
    assert isinstance(by_itself, AutoGuided)
    assert by_itself.scale == scale


def test_an_autoguided_model_has_another_default_sampler(guided: Path) -> None:
    model = load(guided)
    by_itself = GuidanceOptions().guided(model, guided, "cpu")
    limited = GuidanceOptions(guidance_interval=(0.2, 5)).guided(model, guided, "cpu")
    asked = SamplerOptions(solver="dpm-2m", time_grid="karras", steps=5).sampler(model)
    for denoiser in (by_itself, limited):
        taken = SamplerOptions(steps=5).sampler(denoiser)
        assert taken.solver == asked.solver
        assert torch.equal(taken.timesteps, asked.timesteps)
    assert SamplerOptions().sampler(model).solver == SOLVERS.parse("dpm-2m-sde")
    assert SamplerOptions(solver="heun").sampler(by_itself).solver == SOLVERS.parse("heun")
    logsnr = SamplerOptions(solver="dpm-2m", steps=5).sampler(model)
    for settings in (SamplerOptions(time_grid="logsnr", steps=5), SamplerOptions(solver="dpm-2m", steps=5)):
        assert torch.equal(settings.sampler(by_itself).timesteps, logsnr.timesteps)


@pytest.mark.parametrize(("best_at", "is_guided"), [(16, False), (20, False), (24, True)])
def test_the_best_model_uses_only_an_earlier_guidance_checkpoint(
    best_at: int, is_guided: bool, settings: Settings, guided: Path
) -> None:
    """The guide is of 20 images."""
    config = settings(autoguidance_at=0.25)
    with opened(config, guided) as run:
        run.save_best(BestModel(load(guided).network.state_dict(), best_at))
    guide = load_guidance_checkpoint(guided / BEST)
    assert (guide is not None) == is_guided
    if guide is not None:
        assert torch.equal(weights(guide), weights(load_guidance_checkpoint(guided)))


def test_a_guidance_checkpoint_later_than_the_resume_is_not_used(settings: Settings, go: Train, tmp_path: Path) -> None:
    run, config = tmp_path / "run", settings(autoguidance_at=0.25, save_minutes=0, keep=9)
    go(config, run, steps=6)
    assert load_guidance_checkpoint(run) is not None
    for images in (20, 24):
        (run / "checkpoints" / f"{images:012d}.safetensors").unlink()
    go(config, run, steps=0)
    assert images_seen(run) == 16
    assert load_guidance_checkpoint(run) is None


def test_evaluations_follow_eval_every_and_the_best_is_kept(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, distances = tmp_path / "run", iter([3.0, 1.0, 2.0, 4.0])
    taken: list[torch.Tensor] = []

    def measure(_: object, model: PreconditionedDenoiser, on_step: object) -> dict[str, object]:
        del on_step
        taken.append(weights(model))
        return {"distance": next(distances), "features": "pixels", "count": 4}

    monkeypatch.setattr(QuickEvaluation, "measure", measure)
    go(settings(eval_every=20, eval_count=4), run)
    lines = [m for m in read_metrics(run) if m["kind"] == "evaluation"]
    assert [(m["images"], m["distance"]) for m in lines] == [(20, 3.0), (40, 1.0), (60, 2.0), (80, 4.0)]
    assert images_seen(run / BEST) == 40
    assert torch.equal(weights(load(run / BEST)), taken[1])
    assert torch.equal(weights(load(run)), taken[3])


def test_evaluations_measure_the_requested_samples(settings: Settings, go: Train, tmp_path: Path) -> None:
    go(settings(images=40, eval_every=16, eval_count=3), tmp_path / "run")
    lines = [m for m in read_metrics(tmp_path / "run") if m["kind"] == "evaluation"]
    assert [(m["images"], m["features"], m["count"]) for m in lines] == [(i, "pixels", 3) for i in (16, 32, 40)]
    assert all(m["distance"] > 0 for m in lines)
    assert images_seen(tmp_path / "run" / BEST) == min(lines, key=lambda m: m["distance"])["images"]


def test_the_last_model_can_be_the_best(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = iter([3.0, 1.0])
    monkeypatch.setattr(
        QuickEvaluation,
        "measure",
        lambda *_, **__: {"distance": next(distances), "features": "pixels", "count": 4},
    )
    go(settings(images=16, eval_every=8, eval_count=4), tmp_path / "run")
    assert images_seen(tmp_path / "run" / BEST) == 16


def test_the_best_model_is_kept_after_a_stop_and_a_resume(settings: Settings, go: Train, tmp_path: Path) -> None:
    run, config = tmp_path / "run", settings(images=80, validate_every=8)
    go(config, run, steps=5)
    best = best_of(read_metrics(run))
    assert best is not None
    assert best.images in (8, 16)
    assert kept_best(run, best) == run / BEST
    go(config, run)
    best = best_of(read_metrics(run))
    assert best is not None
    assert images_seen(run / BEST) == best.images


@pytest.mark.parametrize("interruption", [monitor._Stopped, torch.OutOfMemoryError])
def test_a_best_model_is_kept_if_its_validation_is_interrupted(
    interruption: type[Exception], settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, losses, previews = tmp_path / "run", iter([3.0, 1.0]), iter([torch.zeros(1, 3, 4, 4)])

    def given_up_later(*_: object, **__: object) -> torch.Tensor:
        preview = next(previews, None)
        if preview is None:
            raise interruption
        return preview

    monkeypatch.setattr(Validation, "loss", lambda *_, **__: ValidationLoss(next(losses), {}))
    monkeypatch.setattr(monitor, "sample", given_up_later)
    go(settings(images=16, validate_every=8), run)
    assert kept_best(run, best_of(read_metrics(run))) == run / BEST
    assert images_seen(run / BEST) == 16


@pytest.mark.parametrize("given_up_in", ["validation", "sample"])
def test_an_interrupted_validation_is_repeated_after_a_resume(
    given_up_in: str, settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the second of four observations, by Ctrl-C."""

    def left(run: Path) -> tuple[list[dict[str, object]], list[str], int]:
        lines = [line for line in read_metrics(run) if line["kind"] != "train"]
        measured = [{name: value for name, value in line.items() if name != "seconds"} for line in lines]
        return measured, sorted(path.name for path in (run / "samples").iterdir()), images_seen(run / BEST)

    config = settings(images=40, validate_every=8, eval_every=16, eval_count=4)
    go(config, tmp_path / "whole")
    owner, name = (Validation, "loss") if given_up_in == "validation" else (monitor, "sample")
    original, calls = getattr(owner, name), iter(range(100))
    wish = [False]

    def interrupted(*arguments: object, **named: object) -> object:
        if next(calls) == 1:
            wish[0] = True
            raise monitor._Stopped
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupted)
        loop.run_training(config, tmp_path / "run", device="cpu", progress=False, should_stop=lambda: wish[0])
    assert images_seen(tmp_path / "run") == 16
    go(config, tmp_path / "run")
    assert left(tmp_path / "run") == left(tmp_path / "whole")


def test_monitoring_does_not_change_the_trained_weights(settings: Settings, go: Train, tmp_path: Path) -> None:
    plain = settings(images=40)
    watched = replace(
        plain,
        monitoring=replace(
            plain.monitoring, validate_every=8, eval_every=8, eval_count=4, autoguidance_at=0.3, save_minutes=0.0
        ),
    )
    one, other = (go(config, tmp_path / name) for config, name in ((plain, "plain"), (watched, "watched")))
    assert torch.equal(weights(one.model), weights(other.model))
    assert torch.equal(weights(one.average), weights(other.average))


def test_training_continues_after_an_out_of_memory_validation(
    settings: Settings, go: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(monitor, "sample", full)
    assert go(settings(images=16, validate_every=8), tmp_path / "run").counters.images_seen == 16
    assert (tmp_path / "run" / "log.txt").read_text().count("Validation does not fit into memory") == 2
