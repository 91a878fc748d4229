"""The loop of the engine for a rule under which the model goes on from mixtures of embeddings."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Embedding

from rlent.errors import ConfigError
from rlent.rollout.decoding.swi_reasoning import Change, Mode, SwiReasoning, is_mixed, rising
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
        self.rule = rule
        self.embedding = _embedding(self.model)
        self.marks = rule.marks(tokenizer)
        self.own_inputs = rule.own_inputs(tokenizer)
        self.modes: dict[SequenceState, Mode] = {}
        self.mixtures: dict[SequenceState, int] = {}
        """Soft inputs so far."""

    def _inputs(self) -> dict[str, Tensor]:
        """Embeddings ``[b 1 d]``; the logits are still those that the last tokens were drawn from."""
        log_probs = self.logits.log_softmax(-1)
        probs = log_probs.exp()
        entropies = nats(probs, log_probs).tolist()
        tokens = torch.tensor([one.tokens[-1] for one in self.live]).to(self.logits.device)
        inputs = self.embedding(tokens)
        for row, (one, entropy) in enumerate(zip(self.live, entropies, strict=True)):
            change = self._advance(one, entropy)
            own = one.tokens[-1] in self.own_inputs
            if is_mixed(self.modes[one], change, own=own):
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
        rule, weight, step = self.rule, self.embedding.weight, one.step - 1
        soft = probs.to(weight.dtype) @ weight
        if change is not None:
            mark, share = ("begin", rule.alpha) if change == "soft" else ("end", rule.beta)
            share = rising(share, step / one.limit)
            return soft if share == 1 else torch.lerp(weight[self.marks[mark]], soft, share)
        if step == 0 and rule.first_share:
            return torch.lerp(soft, weight[self.marks["first"]], rule.first_share)
        return soft

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
