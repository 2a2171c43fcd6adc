"""The facts of an evaluation on the model and its sampling."""

from exchange.conftest import build, unet
from sfumato.diffusion.guidance import ClassifierFree
from sfumato.evaluation.from_model import SamplePlan
from sfumato.sampling.sampler import default_sampler
from sfumato.sampling.solvers import SOLVERS, DPMSolver, solver_name


def test_the_facts_name_the_model_and_the_sampling() -> None:
    base = build(unet(classes=2))
    guided = ClassifierFree(base, 2.0)
    plan = SamplePlan(base, guided, default_sampler(guided, steps=3), 4, 0, ())
    expected = {"images_seen": 640, "solver": "dpm-2m-sde", "steps": 3, "guidance": [["ClassifierFree", 2.0]]}
    assert plan.facts() == expected


def test_solvers_have_their_names() -> None:
    assert all(solver_name(solver) == name for name, solver in SOLVERS.items())
    assert solver_name(DPMSolver(order=2, eta=0.5)) == "DPMSolver(order=2, eta=0.5)"
