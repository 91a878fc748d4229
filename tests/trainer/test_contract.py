"""The private names of TRL that the trainer is built on."""

from typing import Any

import pytest
from trl import GRPOTrainer

from rlent.errors import ContractError
from rlent.trainer.trl_contract import PARAMETERS, check_contract


def test_the_installed_trl_fits() -> None:
    check_contract()


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_missing_method_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRPOTrainer, name, None)
    with pytest.raises(ContractError, match=f"{name}.*it is gone"):
        check_contract()


def test_a_changed_method_is_named_with_both_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(self: Any, model: Any, inputs: Any, extra: Any) -> None: ...

    monkeypatch.setattr(GRPOTrainer, "_compute_loss", changed)
    with pytest.raises(
        ContractError, match="self, model, inputs but takes self, model, inputs, extra"
    ):
        check_contract()


def test_a_lost_multimodal_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(
        self: Any,
        model: Any,
        input_ids: Any,
        attention_mask: Any,
        logits_to_keep: Any,
        batch_size: Any = None,
        compute_entropy: Any = False,
    ) -> None: ...

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", changed)
    with pytest.raises(ContractError, match="pixel_values"):
        check_contract()
