"""Solvers by name, and invalid solvers."""

import pytest

from sfumato.errors import SamplingError
from sfumato.sampling.solvers import (
    DDIM,
    DDPM,
    DEIS,
    IPNDM,
    SOLVERS,
    Adaptive,
    DPMSolver,
    Euler,
    Heun,
    UniPC,
    check_deterministic,
)


def test_every_solver_has_a_name_with_its_order() -> None:
    assert {
        "ddpm": DDPM("small"),
        "ddim": DDIM(0.0),
        "euler": Euler(0.0),
        "heun": Heun(0.0),
        **{f"dpm-{order}{'m' if order > 1 else ''}": DPMSolver(order, 0.0) for order in (1, 2, 3)},
        **{f"dpm-{order}{'m' if order > 1 else ''}-sde": DPMSolver(order, 1.0) for order in (1, 2, 3)},
        "unipc-2": UniPC(2, "bh2"),
        "unipc-3": UniPC(3, "bh2"),
        **{f"deis-{order}": DEIS(order) for order in (1, 2, 3, 4)},
        **{f"ipndm-{order}": IPNDM(order) for order in (1, 2, 3, 4)},
        "adaptive": Adaptive(1e-5, 1e-5),
    } == SOLVERS


def test_settings_are_given_by_name() -> None:
    assert SOLVERS.parse("ddpm:variance=large") == DDPM("large")
    assert SOLVERS.parse("heun:churn=0.1,churn_noise=1.003") == Heun(0.1, churn_noise=1.003)
    assert SOLVERS.parse("unipc-3:variant=bh1") == UniPC(3, "bh1")


def test_stochastic_solvers_are_rejected_for_retraceable_paths() -> None:
    random = {name for name, solver in SOLVERS.items() if not solver.deterministic}
    assert random == {"ddpm", "dpm-1-sde", "dpm-2m-sde", "dpm-3m-sde"}
    for solver in (*(SOLVERS[name] for name in random), DDIM(0.1), Euler(0.1), Heun(0.1)):
        with pytest.raises(
            SamplingError, match=r"is stochastic.*Choose among: ddim, euler, heun, dpm-1, dpm-2m"
        ) as caught:
            check_deterministic(solver)
        assert not random & set(caught.value.remedy.rstrip(".").removeprefix("Choose among: ").split(", "))
    for name in SOLVERS.keys() - random:
        check_deterministic(SOLVERS[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dpm", "solver 'dpm' is unknown.*ddpm, ddim, euler.*adaptive"),
        ("ddim:eta=2", "eta 2.0 is out of range"),
        ("ddim:steps=2", "'ddim' has no setting 'steps'.*eta=0.0"),
        ("dpm-2m:order=4", "DPMSolver of order 4 does not exist.*1 to 3"),
        ("dpm-2m:order=0", "DPMSolver of order 0 does not exist.*1 to 3"),
        ("deis-3:order=5", "DEIS of order 5 does not exist.*1 to 4"),
        ("ipndm-4:order=0", "IPNDM of order 0 does not exist.*1 to 4"),
        ("unipc-3:order=4", "UniPC of order 4 does not exist.*1 to 3"),
        ("unipc-3:order=0", "UniPC of order 0 does not exist.*1 to 3"),
        ("unipc-3:variant=bh3", "variant 'bh3'.*bh1 or bh2"),
        ("ddpm:variance=smal", "'smal'.*small or large"),
        ("adaptive:rtol=0", "rtol 0.0.*above 0"),
        ("adaptive:atol=-1", "atol -1.0.*above 0"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_invalid_solvers_are_rejected_with_the_valid_names(name: str, message: str) -> None:
    with pytest.raises(SamplingError, match=message):
        SOLVERS.parse(name)


def test_a_rule_keeps_the_states_that_it_combines() -> None:
    memories = {name: solver.memory for name, solver in SOLVERS.items()}
    assert memories == {
        **dict.fromkeys(("ddpm", "ddim", "euler", "heun", "dpm-1", "dpm-1-sde", "deis-1", "ipndm-1", "adaptive"), 0),
        **dict.fromkeys(("dpm-2m", "dpm-2m-sde", "deis-2", "ipndm-2"), 1),
        **dict.fromkeys(("dpm-3m", "dpm-3m-sde", "deis-3", "ipndm-3", "unipc-2"), 2),
        **dict.fromkeys(("deis-4", "ipndm-4", "unipc-3"), 3),
    }


@pytest.mark.parametrize("name", SOLVERS)
def test_the_fewest_steps_reach_the_order_and_one_less_does_not(name: str) -> None:
    """The last step ends on x0_hat, and the one before it is the first to combine `order` stops."""
    solver = SOLVERS[name]
    order = getattr(solver, "order", 1)
    assert solver.min_steps == (1 if order == 1 else order + 1)
    assert solver.default_steps == {"ddpm": 1000, "heun": 10, "adaptive": 1}.get(name, 20)


def test_multistep_rules_have_default_orders() -> None:
    assert (DPMSolver().order, DEIS().order, IPNDM().order, UniPC().order) == (2, 3, 4, 3)
    assert UniPC(1).min_steps == 1
