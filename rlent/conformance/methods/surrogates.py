"""Plain surrogates: verl's policy losses and TRL's loss types."""

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import (
    leave_out_empty_rows,
    verl_aggregate,
    verl_objective,
    verl_outputs,
    verl_ppo,
    verl_signal,
)
from rlent.conformance.records import signal_of, tokens_of
from rlent.conformance.trl_loss import trl_loss


def verl_vanilla(case: Case) -> Outputs:
    tokens = tokens_of(case)
    return verl_ppo(case, tokens, verl_signal(case, tokens))


def verl_cispo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    objective = verl_objective("cispo", verl_aggregate(case))
    return verl_outputs(tokens, verl_signal(case, tokens), objective)


def verl_gspo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    signal = leave_out_empty_rows(verl_signal(case, tokens), tokens.mask)
    return verl_outputs(tokens, signal, verl_objective("ppo", "sequence_mean", level="sequence"))


def verl_sapo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    positive, negative = case.hyperparameters["tau_pos"], case.hyperparameters["tau_neg"]
    signal = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    return verl_outputs(
        tokens,
        leave_out_empty_rows(signal, tokens.mask),
        verl_objective(
            "sapo",
            "sequence_mean",
            temperature_positive=positive,
            temperature_negative=negative,
        ),
    )


SURROGATE_METHODS: dict[str, Method] = {
    "verl_vanilla": Method(outputs=verl_vanilla),
    "verl_cispo": Method(outputs=verl_cispo),
    "verl_gspo": Method(outputs=verl_gspo),
    "verl_sapo": Method(outputs=verl_sapo),
    "trl_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_bnpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dr_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dapo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_luspo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_cispo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_sapo": Method(outputs=trl_loss, tolerance=FLOAT64),
}
