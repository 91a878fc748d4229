"""siren, lp_reg and aent: means, ranks and coefficients are those of all ranks together."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.interventions import AEnt, LpReg, Siren, StepStatistics, chain
from rlent.reduce import Reduce
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import rows
from tests.ranks import on_ranks

PARTS = [slice(0, 2), slice(2, 9), slice(9, 12)]
TOKENS = make_tokens(rows=12, length=9)
ROLLOUTS, SIGNAL = make_rollouts(TOKENS), make_signal(TOKENS)


def penalties(config: Any, part: slice, reduce: Reduce) -> tuple[Tensor, Any]:
    links = chain([config])
    links.on_advantages(replace(rows(ROLLOUTS, part), reduce=reduce), SIGNAL.advantage[part])
    signal, _ = links.on_tokens(rows(TOKENS, part), rows(SIGNAL, part))
    return signal.penalty.detach(), links.state_dict()


@pytest.mark.parametrize("config", [Siren(weight=1.0, anchor=0.1), LpReg(share=0.5)], ids=repr)
def test_the_penalty_is_the_same_on_any_number_of_ranks(config: Any) -> None:
    ((whole, _),) = on_ranks([slice(None)], lambda part, reduce: penalties(config, part, reduce))
    parts = on_ranks(PARTS, lambda part, reduce: penalties(config, part, reduce))
    assert whole.any()
    torch.testing.assert_close(torch.cat([penalty for penalty, _ in parts]), whole)


def test_ranks_agree_on_the_anchor() -> None:
    def state(part: slice, reduce: Reduce) -> float:
        return penalties(Siren(), part, reduce)[1]["siren"]["anchor"]

    (whole,) = on_ranks([slice(None)], state)
    assert on_ranks(PARTS, state) == pytest.approx([whole] * 3)


def test_ranks_agree_on_the_coefficient() -> None:
    def coefficient(part: slice, reduce: Reduce) -> float:
        stages = AEnt(weight=0.01, low=3.0, high=4.0).build()
        stages.on_tokens(replace(rows(TOKENS, part), reduce=reduce), rows(SIGNAL, part))
        stages.on_step(StepStatistics(step=0, tokens=1.0, entropy=0.0, selected=1.0))
        return stages.state_dict()["weight"]

    (whole,) = on_ranks([slice(None)], coefficient)
    assert not math.isclose(whole, 0.01)
    assert on_ranks(PARTS, coefficient) == pytest.approx([whole] * 3)
