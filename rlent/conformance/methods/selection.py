"""Interventions that choose the tokens that learn."""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, inf

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import signal_of, tokens_of
from rlent.interventions import ClipCov, ForkingTokens, KLCov
from rlent.numerics import top_count


def eighty_twenty(case: Case) -> Outputs:
    tokens = tokens_of(case, entropy=_break_ties_as_recorded(case))
    forking = ForkingTokens(fraction=case.hyperparameters["rho"], as_released=True)
    signal, _ = forking.on_tokens(tokens, verl_signal(case, tokens))
    return {"entropy_top_mask": signal.select, **verl_ppo(case, tokens, signal)}


def lpreg_8020_baseline(case: Case) -> Outputs:
    """The 80/20 of Lp-Reg's authors keeps a fifth of the tokens rounded down, where rlent rounds up."""
    total = int(case.mask.sum())
    forking = ForkingTokens(fraction=max(1, total // 5) / total, as_released=True)
    tokens = tokens_of(case, entropy=case.inputs["entropy"])
    signal, _ = forking.on_tokens(tokens, verl_signal(case, tokens))
    return {
        "mask_after": signal.select,
        **only(verl_ppo(case, tokens, signal), "loss", "grad_logp"),
    }


def clip_cov(case: Case) -> Outputs:
    given = case.hyperparameters
    config = ClipCov(
        share=given["clip_cov_ratio"], low=given["lb"], high=given["ub"], as_released=True
    )
    tokens = tokens_of(case)
    signal = verl_signal(case, tokens)
    eligible = config.eligible(tokens, signal)
    # The recorded draw stands in for the random order, so that the number drawn is still rlent's.
    order = case.outputs["dropped"].double()
    dropped = top_count(order, eligible, config.number(tokens.mask.sum()))
    outputs = verl_ppo(case, tokens, replace(signal, select=signal.select & ~dropped))
    return {"eligible": eligible, "dropped": dropped, **only(outputs, "loss", "grad_logp")}


def kl_cov(case: Case) -> Outputs:
    return _kl_cov(case, share=case.hyperparameters["k_percent"] / 100)


def verl_kl_cov(case: Case) -> Outputs:
    return _kl_cov(case, share=case.hyperparameters["kl_cov_ratio"])


def _kl_cov(case: Case, share: float) -> Outputs:
    config = KLCov(share=share, weight=case.hyperparameters["kl_coef"], as_released=True)
    tokens = tokens_of(case)
    plain = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    signal, _ = config.build().on_tokens(tokens, plain)
    outputs = verl_ppo(case, tokens, signal)
    return {"selected": config.selected(tokens, plain), **only(outputs, "loss", "grad_logp")}


def _break_ties_as_recorded(case: Case) -> Float[Tensor, "b t"]:
    """Entropies, one bit higher at those tied positions at the threshold that the released code happened to keep.

    Which of several equal entropies is kept is ``torch.topk``'s accident there and the position's order in rlent.
    """
    entropy = case.inputs["entropy"].clone()
    kept = case.outputs["entropy_top_mask"].bool()
    for row, column in case.remarks["positions_tied_at_threshold"]:
        if kept[row, column]:
            entropy[row, column] = entropy[row, column].nextafter(entropy.new_tensor(inf))
    return entropy


SELECTION_METHODS: dict[str, Method] = {
    "eighty_twenty": Method(outputs=eighty_twenty),
    "lpreg_8020_baseline": Method(
        outputs=lpreg_8020_baseline, remark="with its number of tokens, which is rounded down"
    ),
    "clip_cov": Method(outputs=clip_cov, remark="the recorded draw stands in for the random one"),
    "verl_clip_cov": Method(
        outputs=clip_cov, remark="the recorded draw stands in for the random one"
    ),
    "kl_cov": Method(outputs=kl_cov),
    "verl_kl_cov": Method(outputs=verl_kl_cov),
}
