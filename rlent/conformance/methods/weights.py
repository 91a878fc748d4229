"""Interventions that weight tokens."""

from dataclasses import replace

from torch import where

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import tokens_of
from rlent.interventions import Steer


def steer(case: Case) -> Outputs:
    given = case.hyperparameters
    linear = given["linear"]
    config = Steer(
        min_weight=given["w_min"],
        shape="linear" if linear else "exponential",
        max_weight=given["w_max"] if linear else 1.0,  # not read by its exponential weights
        estimator="released",
        scope="micro_batch",
    )
    tokens = replace(tokens_of(case), old_entropy=case.inputs["old_entropy"])
    signal, _ = config.build().on_tokens(tokens, verl_signal(case, tokens))
    outputs = verl_ppo(case, tokens, signal)
    return {
        "token_weights": where(tokens.mask, signal.weight, 0.0),
        **only(outputs, "loss", "grad_logp"),
    }


WEIGHT_METHODS: dict[str, Method] = {
    "steer_exp": Method(outputs=steer),
    "steer_linear": Method(outputs=steer),
}
