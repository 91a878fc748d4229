"""The statistics that are asked for by name or by number, against their definitions in float64."""

import math

import pytest
import torch

from rlent_kernels import IGNORE_INDEX, token_stats
from rlent_kernels.types import FURTHER
from tests.kernels.conftest import IMPLEMENTATIONS

OPTIONS = [{}, {"temperature": 0.6, "logit_scale": 1.5}, {"softcap": 1.5, "temperature": 1.7}]


def logits(problem):
    """``z`` as lists of floats."""
    scale, cap = problem.options.get("logit_scale", 1.0), problem.options.get("softcap")
    rows = []
    for hidden in problem.hidden.tolist():
        row = []
        for j, weight in enumerate(problem.weight.tolist()):
            u = sum(a * b for a, b in zip(hidden, weight, strict=True))
            u = scale * (u + (0.0 if problem.bias is None else problem.bias[j].item()))
            u = u if cap is None else cap * math.tanh(u / cap)
            row.append(u / problem.options.get("temperature", 1.0))
        rows.append(row)
    return rows


def defined(z, target, top_p, min_p=0.1):
    """Every statistic of one row from its definition, in plain Python."""
    top = max(z)
    logsumexp = top + math.log(math.fsum(math.exp(x - top) for x in z))
    p = [math.exp(x - logsumexp) for x in z]
    log_p = [max(x - logsumexp, -1e300) for x in z]
    entropy = -math.fsum(a * b for a, b in zip(p, log_p, strict=True) if a > 0)
    pairs = [(a, b + entropy) for a, b in zip(p, log_p, strict=True) if a > 0]
    nucleus, mass = [], 0.0
    for a in sorted(p, reverse=True):
        if mass >= top_p:
            break
        nucleus.append(a)
        mass += a
    kept = [a for a in p if a >= min_p * max(p)]
    return {
        "kept_log_probs": math.log(p[target] / math.fsum(kept)) if p[target] in kept else -math.inf,
        "logsumexp": logsumexp,
        "varentropy": math.fsum(a * s * s for a, s in pairs),
        "log_sum_sq_probs": math.log(math.fsum(a * a for a in p)),
        "mean_logits": sum(z) / len(z),
        "entropy_change": p[target] * (log_p[target] + entropy if p[target] > 0 else 0.0)
        - math.fsum(a * a * s for a, s in pairs),
        "argmax": z.index(top),
        "is_top1": z.index(top) == target,
        "nucleus_entropy": -math.fsum(a / mass * math.log(a / mass) for a in nucleus),
    }


def assert_defined(problem, stats, top_p):
    for row, (z, target) in enumerate(zip(logits(problem), problem.targets.tolist(), strict=True)):
        if target == IGNORE_INDEX:
            continue
        for name, expected in defined(z, target, top_p).items():
            given = getattr(stats, name)[row].item()
            assert given == pytest.approx(expected, rel=1e-9, abs=1e-9), (name, row)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_they_are_those_of_the_definition(make, options, bias, calls):
    problem = make(bias=bias, ignored=(2,), spread=3.0, **options)
    stats = problem.run(also=FURTHER, top_p=0.8, min_p=0.1, **calls)
    assert_defined(problem, stats, top_p=0.8)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.999, 1.0])
def test_the_nucleus_is_the_smallest_set_that_reaches_its_mass(make, top_p, calls):
    problem = make(20, 5, 300, spread=2.0)
    if "tile" in calls:
        calls = {**calls, "tile": (7, 128)}
    stats = problem.run(also=FURTHER, top_p=top_p, min_p=0.1, **calls)
    assert_defined(problem, stats, top_p=top_p)
    assert stats.kept_log_probs.isinf().any()
    assert stats.kept_log_probs.isfinite().any()


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
@pytest.mark.parametrize("k", [1, 4, 11])
def test_the_most_probable_tokens(make, k, calls):
    problem = make(ignored=(2,), spread=3.0)
    stats = problem.run(top_k=k, **calls)
    assert stats.top_ids.shape == stats.top_log_probs.shape == (7, k)
    for row, z in enumerate(logits(problem)):
        if row == 2:
            assert stats.top_ids[row].tolist() == [IGNORE_INDEX] * k
            assert stats.top_log_probs[row].tolist() == [0.0] * k
            continue
        order = sorted(range(11), key=lambda j: -z[j])[:k]
        assert stats.top_ids[row].tolist() == order
        logsumexp = math.log(math.fsum(map(math.exp, z)))
        assert stats.top_log_probs[row].tolist() == pytest.approx([z[j] - logsumexp for j in order])


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_ignored_rows_hold_nothing(make, calls):
    stats = make(ignored=(1,)).run(also=FURTHER, top_p=0.5, min_p=0.5, **calls)
    blank = {"argmax": IGNORE_INDEX, "is_top1": False}
    for name in (*FURTHER, "nucleus_entropy", "kept_log_probs"):
        assert getattr(stats, name)[1].item() == blank.get(name, 0.0)


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_a_min_p_of_one_keeps_the_most_probable_token(make, calls):
    problem = make(spread=3.0)
    stats = problem.run(also=["is_top1"], min_p=1.0, **calls)
    expected = [0.0 if top else -math.inf for top in stats.is_top1.tolist()]
    assert stats.kept_log_probs.tolist() == pytest.approx(expected)
    assert not problem.trained().run(min_p=1.0, **calls).kept_log_probs.requires_grad


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_the_lowest_of_equal_ids_is_the_largest(make, calls):
    problem = make(3, 4, 11, bias=False)
    problem = problem.with_(weight=torch.zeros_like(problem.weight))
    assert problem.run(also=["argmax"], **calls).argmax.tolist() == [0, 0, 0]


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_banned_tokens_are_as_if_absent(make, calls):
    problem = make(7, 5, 11, spread=3.0)
    left = [0, 2, 3, 5, 6, 7, 8, 9]
    bias = problem.bias.index_fill(0, torch.tensor([1, 4, 10]), -torch.inf)
    targets = torch.arange(7) % len(left)
    masked = problem.with_(bias=bias, targets=torch.tensor(left)[targets])
    smaller = problem.with_(weight=problem.weight[left], bias=problem.bias[left], targets=targets)
    names = ("logsumexp", "varentropy", "log_sum_sq_probs", "entropy_change", "is_top1")
    given = masked.run(also=(*names, "mean_logits"), top_p=0.9, min_p=0.02, **calls)
    expected = smaller.run(also=names, top_p=0.9, min_p=0.02, impl="reference")
    for name in (*names, "nucleus_entropy", "kept_log_probs"):
        torch.testing.assert_close(getattr(given, name), getattr(expected, name))
    assert given.mean_logits.eq(-torch.inf).all()


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_only_what_is_asked_for_is_there(make, calls):
    problem = make().trained()
    stats = problem.run(also=["varentropy"], **calls)
    others = {"top_log_probs", "top_ids", "nucleus_entropy", "kept_log_probs"}
    for name in {*FURTHER, *others} - {"varentropy"}:
        assert getattr(stats, name) is None
    assert not stats.varentropy.requires_grad
    assert stats.entropy.requires_grad


@pytest.mark.parametrize("calls", IMPLEMENTATIONS)
def test_leading_shape_and_no_rows(make, calls):
    flat = make(6)
    shaped = flat.with_(hidden=flat.hidden.reshape(2, 3, -1), targets=flat.targets.reshape(2, 3))
    stats = shaped.run(also=FURTHER, top_k=2, top_p=0.5, **calls)
    assert stats.varentropy.shape == stats.argmax.shape == stats.nucleus_entropy.shape == (2, 3)
    assert stats.top_ids.shape == (2, 3, 2)
    empty = make(0).run(also=FURTHER, top_k=2, top_p=0.5, **calls)
    assert empty.varentropy.shape == empty.nucleus_entropy.shape == (0,)
    assert empty.top_log_probs.shape == (0, 2)


def test_entropy_change_predicts_a_step_of_a_softmax():
    """dH / d eta of logits moved by eta * dlog p_a / dz, by finite differences."""
    generator = torch.Generator().manual_seed(3)
    z = 2.0 * torch.randn(9, generator=generator, dtype=torch.float64)
    for a in range(9):
        stats = token_stats(
            torch.ones(1, 1).double(), z[:, None], torch.tensor([a]), also=["entropy_change"]
        )
        direction = torch.nn.functional.one_hot(torch.tensor(a), 9) - z.softmax(0)
        step = 1e-6

        def entropy(logits):
            return -(logits.softmax(0) * logits.log_softmax(0)).sum()

        slope = (entropy(z + step * direction) - entropy(z - step * direction)) / (2 * step)
        assert -stats.entropy_change.item() == pytest.approx(slope.item(), abs=1e-9)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"also": ["varentropi"]},
            r"also: expected names out of .*; got 'varentropi'; .* 'varentropy'",
        ),
        ({"also": ["top_ids"]}, r"also: expected top_k=\.\.\. in place of 'top_ids'"),
        (
            {"also": ["nucleus_entropy"]},
            r"also: expected top_p=\.\.\. in place of 'nucleus_entropy'",
        ),
        ({"top_k": 0}, r"top_k: expected an integer in \[1, 11\], the vocabulary; got 0"),
        ({"top_k": 12}, r"top_k: expected an integer in \[1, 11\].*; got 12"),
        ({"top_p": 0.0}, r"top_p: expected a number in \(0, 1\]; got 0.0"),
        ({"top_p": float("nan")}, r"top_p: expected a number in \(0, 1\]; got nan"),
        ({"min_p": 0.0}, r"min_p: expected a number in \(0, 1\]; got 0.0"),
        ({"min_p": 1.5}, r"min_p: expected a number in \(0, 1\]; got 1.5"),
        ({"also": ["kept_log_probs"]}, r"also: expected min_p=\.\.\. in place of"),
    ],
)
@pytest.mark.parametrize("impl", ["torch", "triton", "reference"])
def test_what_cannot_be_asked_for(make, impl, asked, message):
    with pytest.raises(ValueError, match=message):
        make().run(impl=impl, **asked)
