"""From raw logits to the logits of the distribution: scale, softcap, temperature."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitTransform:
    """``T(z) = cap(logit_scale * z) / temperature`` with ``cap(u) = softcap * tanh(u / softcap)``.

    Without a softcap ``cap`` is the identity. Tanh soft-capping is that of Gemma 2 (Gemma Team,
    2024, section 2, "Logit soft-capping").

    Attributes:
        temperature: positive; the sampling temperature.
        logit_scale: positive; the model's own multiplier of its logits.
        softcap: positive, or None for no cap.
    """

    temperature: float = 1.0
    logit_scale: float = 1.0
    softcap: float | None = None

    def apply(self, raw: Tensor) -> Tensor:
        """``T(raw)``, elementwise; ``raw`` itself when T is the identity."""
        if self.softcap is None:
            return _scaled(raw, self.logit_scale / self.temperature)
        capped = torch.tanh(_scaled(raw, self.logit_scale / self.softcap))
        return _scaled(capped, self.softcap / self.temperature)

    def pull_back(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Gradient in raw logits: ``gradient * T'(raw)``, elementwise, with ``logits = T(raw)``.

        ``T' = logit_scale / temperature * (1 - tanh^2)``, and the tanh is read off the output, so
        that a raw logit of -inf gives 0 and not ``inf - inf``.
        """
        slope = self.logit_scale / self.temperature
        if self.softcap is None:
            return _scaled(gradient, slope)
        tanh = logits * (self.temperature / self.softcap)
        return gradient * (slope - slope * tanh.square())


def _scaled(values: Tensor, factor: float) -> Tensor:
    """``values * factor`` without a pass over memory when the factor is 1."""
    return values if factor == 1.0 else values * factor
