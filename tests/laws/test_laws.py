"""What every intervention of the table must obey. Entering the table enters the laws."""

import copy
import json
import math
from dataclasses import asdict, replace

import pytest
import torch
from hypothesis import given

from rlent.aggregate import Step
from rlent.config import parse_interventions
from rlent.errors import ConfigError
from rlent.interventions import NEEDS, TABLE, Intervention, Mean, chain, implemented_stages
from rlent.interventions.stages import Stateful
from rlent.objective import build_objective
from rlent.types import Signal, Tokens
from tests.interventions.examples import (
    OLD_STATISTICS,
    STATISTICS,
    everything,
    make_rollouts,
    make_signal,
    make_tokens,
)
from tests.laws.configs import ALL, CONFIGS, SPLIT_INVARIANT
from tests.laws.pipeline import JUNK, begin, number, rows, run_chain, signal_tensors, with_junk
from tests.laws.strategies import LAW, batches

NO_GRADIENT = (
    "select",
    "count",
    "advantage",
    "weight",
    "clip_low",
    "clip_high",
    "keep_low",
    "keep_high",
)


def loss_of(signal: Signal, tokens: Tokens) -> torch.Tensor:
    step = Step(micro_batches=1, tokens=torch.tensor(10.0, dtype=tokens.logp.dtype), max_length=7)
    return build_objective("dapo")(tokens, signal, counted=step, everything=step)


def name_of(config: Intervention) -> str:
    return repr(config)


def test_every_intervention_of_the_table_is_under_the_laws() -> None:
    assert CONFIGS.keys() == TABLE.keys()
    for name, configs in CONFIGS.items():
        assert configs
        assert all(type(config) is TABLE[name] for config in configs)


@pytest.mark.parametrize("cls", TABLE.values(), ids=TABLE)
def test_table_entries_describe_themselves(cls: type[Intervention]) -> None:
    assert TABLE[cls.name] is cls
    assert cls.paper
    assert implemented_stages(cls())
    assert cls().needs <= NEEDS.keys()
    assert cls.overwrites <= cls.writes
    assert cls.writes <= {"reward", *Signal.__dataclass_fields__}


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_statistics_are_asked_for_as_needs(config: Intervention) -> None:
    asked = {"statistics": config.statistics, "old_statistics": config.old_statistics}
    assert config.needs & asked.keys() == {need for need, names in asked.items() if names}
    assert config.statistics <= set(STATISTICS)
    assert config.old_statistics <= set(OLD_STATISTICS)


@pytest.mark.parametrize("cls", TABLE.values(), ids=TABLE)
@given(tokens=batches())
@LAW
def test_neutral_settings_are_the_identity(cls: type[Intervention], tokens: Tokens) -> None:
    links = chain([cls.neutral()])
    rollouts, before = make_rollouts(tokens), make_signal(tokens)
    begun, _, _ = begin(links, rollouts, tokens)
    assert torch.equal(begun.reward, rollouts.reward)
    assert torch.equal(begun.mask, rollouts.mask)
    after, _ = run_chain(links, tokens, rollouts=rollouts, signal=before)
    for name, values in signal_tensors(before).items():
        assert torch.equal(signal_tensors(after)[name], values), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_shapes_and_dtypes_are_kept(config: Intervention, dtype: torch.dtype) -> None:
    tokens = make_tokens(dtype=dtype)
    before = make_signal(tokens)
    after, _ = run_chain(chain([config]), tokens, signal=before)
    for name, values in signal_tensors(before).items():
        assert signal_tensors(after)[name].shape == values.shape, name
        assert signal_tensors(after)[name].dtype == values.dtype, name


@pytest.mark.parametrize("config", ALL, ids=name_of)
@given(tokens=batches())
@LAW
def test_inputs_are_not_changed(config: Intervention, tokens: Tokens) -> None:
    rollouts, signal = make_rollouts(tokens), make_signal(tokens)
    records = (tokens, rollouts, signal)
    tensors = [
        v
        for r in records
        for n in r.__dataclass_fields__
        if isinstance(v := getattr(r, n), torch.Tensor)
    ]
    copies = [tensor.detach().clone() for tensor in tensors]
    run_chain(chain([config]), tokens, rollouts=rollouts, signal=signal)
    for tensor, original in zip(tensors, copies, strict=True):
        assert torch.equal(tensor, original)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("config", ALL, ids=name_of)
@given(clean=batches())
@LAW
def test_masked_positions_never_leak(config: Intervention, junk: str, clean: Tokens) -> None:
    spoiled = with_junk(clean, JUNK[junk])
    results = []
    for tokens in (clean, spoiled):
        signal, metrics = run_chain(
            chain([config]), tokens, rollouts=make_rollouts(tokens), signal=make_signal(clean)
        )
        loss = loss_of(signal, tokens)
        own = (tokens.logp, tokens.entropy, tokens.ref_kl, tokens.prompt_logp)
        leaves = [leaf for leaf in own if leaf is not None]
        leaves += [values for values in tokens.statistics.values() if values.requires_grad]
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
        results.append((loss, gradients, {k: number(v) for k, v in metrics.items()}))
    (loss, gradients, metrics), (spoiled_loss, spoiled_gradients, spoiled_metrics) = results
    assert torch.equal(loss, spoiled_loss)
    for gradient, spoiled_gradient in zip(gradients, spoiled_gradients, strict=True):
        assert torch.equal(gradient, spoiled_gradient)
    assert metrics == spoiled_metrics


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("config", SPLIT_INVARIANT, ids=name_of)
@given(tokens=batches(rows=8))
@LAW
def test_micro_batches_see_what_the_whole_batch_sees(
    config: Intervention, parts: int, tokens: Tokens
) -> None:
    rollouts, signal = make_rollouts(tokens), make_signal(tokens)
    whole, _ = run_chain(chain([config]), tokens, rollouts=rollouts, signal=signal)
    links = chain([config])
    rollouts, tokens, _ = begin(links, rollouts, tokens)
    advantage, _ = links.on_advantages(rollouts, signal.advantage)
    signal = replace(signal, advantage=advantage)
    selection, _ = links.on_select(rollouts, everything(rollouts.mask))
    size = 8 // parts
    for start in range(0, 8, size):
        part = slice(start, start + size)
        start_signal = replace(
            rows(signal, part), select=selection.select[part], count=selection.count[part]
        )
        after, _ = links.on_tokens(rows(tokens, part), start_signal)
        for name, values in signal_tensors(whole).items():
            torch.testing.assert_close(
                signal_tensors(after)[name], values[part], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_an_evaluation_before_the_update_changes_nothing(config: Intervention) -> None:
    tokens, other = make_tokens(rows=8), make_tokens(rows=8, length=5, seed=1)
    rollouts, asked = make_rollouts(tokens), replace(make_rollouts(other, seed=1), train=False)

    def after(*, evaluated: bool) -> tuple[Signal, object]:
        links = chain([config])
        begun, left, _ = begin(links, rollouts, tokens)
        advantage, _ = links.on_advantages(begun, make_signal(tokens).advantage)
        selection, _ = links.on_select(begun, everything(begun.mask))
        if evaluated:
            run_chain(links, replace(other, train=False), rollouts=asked)
        signal = replace(
            make_signal(tokens),
            advantage=advantage,
            select=selection.select,
            count=selection.count,
        )
        return links.on_tokens(left, signal)[0], links.state_dict()

    (plain, state), (disturbed, disturbed_state) = after(evaluated=False), after(evaluated=True)
    for name, values in signal_tensors(plain).items():
        assert torch.equal(signal_tensors(disturbed)[name], values), name
    assert disturbed_state == state


EDGE_MASKS = {
    "one_token": torch.tensor([[True, False, False]]),
    "all_padded": torch.zeros(2, 3, dtype=torch.bool),
    "one_row_padded": torch.tensor([[True, True, False], [False, False, False]]),
    "no_rows": torch.zeros(0, 3, dtype=torch.bool),
}


@pytest.mark.parametrize("edge", EDGE_MASKS)
@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_edge_batches_stay_finite(config: Intervention, edge: str) -> None:
    mask = EDGE_MASKS[edge]
    tokens = make_tokens(rows=mask.shape[0], length=mask.shape[1], mask=mask)
    check_finite(config, tokens)


@pytest.mark.parametrize("config", ALL, ids=name_of)
@given(tokens=batches())
@LAW
def test_any_batch_stays_finite(config: Intervention, tokens: Tokens) -> None:
    check_finite(config, tokens)


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_equal_entropies_and_extreme_ratios_stay_finite(config: Intervention) -> None:
    plain = make_tokens()
    zero = torch.zeros_like(plain.logp)
    check_finite(config, replace(plain, old_entropy=zero, entropy=zero.clone().requires_grad_()))
    check_finite(config, replace(plain, old_logp=plain.old_logp - 300))
    check_finite(config, replace(plain, old_logp=(plain.old_logp + 300)))


def check_finite(config: Intervention, tokens: Tokens) -> None:
    signal, metrics = run_chain(chain([config]), tokens)
    loss = loss_of(signal, tokens)
    loss.backward()
    assert loss.isfinite()
    assert tokens.logp.grad is not None
    assert tokens.logp.grad.isfinite().all()
    assert all(math.isfinite(number(metric)) for metric in metrics.values())


@pytest.mark.parametrize("config", ALL, ids=name_of)
@given(tokens=batches())
@LAW
def test_only_the_penalty_may_carry_gradient(config: Intervention, tokens: Tokens) -> None:
    signal, _ = run_chain(chain([config]), tokens)
    assert not [name for name in NO_GRADIENT if getattr(signal, name).requires_grad]


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_config_survives_a_recipe(config: Intervention) -> None:
    written = json.loads(json.dumps({config.name: asdict(config)}))
    assert parse_interventions([written]) == (config,)


@pytest.mark.parametrize("config", ALL, ids=name_of)
def test_state_survives_a_checkpoint(config: Intervention) -> None:
    links = chain([config])
    state = copy.deepcopy(links.state_dict())
    again = chain([config])
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert bool(state) == any(isinstance(link.stages, Stateful) for link in links.links)


@pytest.mark.parametrize("config", ALL, ids=name_of)
@given(tokens=batches())
@LAW
def test_metrics_are_finite_scalars_under_the_interventions_name(
    config: Intervention, tokens: Tokens
) -> None:
    _, metrics = run_chain(chain([config]), tokens)
    assert metrics
    for name, metric in metrics.items():
        assert name.startswith(f"{config.name}/")
        assert math.isfinite(number(metric))
        if isinstance(metric, Mean) and isinstance(metric.total, torch.Tensor):
            assert not metric.total.requires_grad


@pytest.mark.parametrize("first", ALL, ids=name_of)
def test_it_composes_with_every_other_or_is_refused(first: Intervention) -> None:
    """All pairs; a test each would take longer than the pairs do."""
    tokens = make_tokens()
    for second in ALL:
        refusal = refusal_of(first, second)
        if refusal is None:
            assert first.name != second.name
            run_chain(chain([first, second]), tokens)
        else:
            reasons = (
                "the intervention is listed",
                f"{second.name} replaces",
                f"{second.name} changes",
            )
            assert refusal.problem.startswith(reasons), second
            assert refusal.remedy, second


def refusal_of(first: Intervention, second: Intervention) -> ConfigError | None:
    try:
        chain([first, second])
    except ConfigError as error:
        return error
    return None
