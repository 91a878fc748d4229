"""The loop of the engine for a rule under which the model goes on from mixtures of embeddings."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Embedding

from rlent.errors import ConfigError
from rlent.rollout.decoding.swi_reasoning import Change, Mode, SwiReasoning
from rlent.rollout.records import FinishReason, Tally
from rlent.rollout.run import Run
from rlent.rollout.sequence import SequenceState
from rlent.rollout.truncation import nats

SOFT = "soft_inputs"
"""Name of the tally of tokens after which the input was a mixture."""


class SoftRun(Run):
    """One call under a ``SwiReasoning`` rule."""

    def __init__(self, *args: Any, rule: SwiReasoning, tokenizer: Any) -> None:
        super().__init__(*args)
        if self.branching is not None:
            raise ConfigError("a sequence with soft inputs cannot fork", key="rollout.branching")
        self.rule, self.tokenizer = rule, tokenizer
        self.embedding = _embedding(self.model)
        self.marks = rule.marks(tokenizer)
        self.modes: dict[SequenceState, Mode] = {}
        self.mixtures: dict[SequenceState, int] = {}
        """Soft inputs so far."""
        self._own: dict[int, bool] = {}

    def _inputs(self) -> dict[str, Tensor]:
        """Embeddings ``[b 1 d]``; the logits are still those that the last tokens were drawn from."""
        log_probs = self.logits.log_softmax(-1)
        probs = log_probs.exp()
        entropies = nats(probs, log_probs).tolist()
        tokens = torch.tensor([one.tokens[-1] for one in self.live]).to(self.logits.device)
        inputs = self.embedding(tokens)
        for row, (one, entropy) in enumerate(zip(self.live, entropies, strict=True)):
            change = self._advance(one, entropy)
            soft = self.modes[one].soft or change is not None
            if soft and not self._is_own_input(one.tokens[-1]):
                inputs[row] = self._mixture(one, probs[row], change)
                self.mixtures[one] = self.mixtures.get(one, 0) + 1
        return {"inputs_embeds": inputs.unsqueeze(1)}

    def _advance(self, one: SequenceState, entropy: float) -> Change | None:
        ended = one.tokens[-1] == self.marks.get("end")
        self.modes[one], change = self.rule.advance(self.modes.get(one), entropy, ended=ended)
        return change

    def _mixture(
        self, one: SequenceState, probs: Float[Tensor, " v"], change: Change | None
    ) -> Float[Tensor, " d"]:
        weight, step = self.embedding.weight, one.step - 1
        soft = probs.to(weight.dtype) @ weight
        alpha = self.rule.alpha
        if change == "soft" and alpha < 1:
            return torch.lerp(
                weight[self.marks["begin"]], soft, alpha + (1 - alpha) * step / one.limit
            )
        if change == "explicit" and self.rule.beta < 1:
            return torch.lerp(weight[self.marks["end"]], soft, self.rule.beta)
        if step == 0 and self.rule.first_share:
            return torch.lerp(soft, weight[self.marks["first"]], self.rule.first_share)
        return soft

    def _is_own_input(self, token: int) -> bool:
        if token not in self._own:
            text = str(self.tokenizer.decode([token])).strip()
            self._own[token] = len(text) == 1 and text in self.rule.own_input
        return self._own[token]

    def _ended(self, one: SequenceState, reason: FinishReason) -> None:
        tally = Tally(name=SOFT, count=self.mixtures.pop(one, 0), of=one.step)
        self.modes.pop(one, None)
        self.done.append(replace(one.completion(reason), tallies=(tally,)))


def _embedding(model: Any) -> Embedding:
    """Raises ConfigError unless an input is a row of one matrix."""
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, Embedding) or type(embedding).forward is not Embedding.forward:
        raise ConfigError(
            f"the input embeddings are no plain matrix but {type(embedding).__name__}",
            key=f"decoding.{SwiReasoning.name}",
        )
    return embedding
