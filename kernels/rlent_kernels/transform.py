"""From raw logits to the logits of the distribution: scale, softcap, temperature."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class LogitTransform:
    """``z = logit_scale * raw / temperature``, or with a softcap
    ``z = softcap * tanh(logit_scale * raw / softcap) / temperature``.

    Tanh soft-capping is that of Gemma 2 (Gemma Team, 2024, section 2, "Logit soft-capping").

    The map is done in two steps: ``u = scale * raw``, which a matrix product does in passing, and
    ``z = bend(u)``, which is the identity without a softcap.

    Attributes:
        temperature: positive; the sampling temperature.
        logit_scale: positive; the model's own multiplier of its logits.
        softcap: positive, or None for no cap.
    """

    temperature: float = 1.0
    logit_scale: float = 1.0
    softcap: float | None = None

    @property
    def scale(self) -> float:
        """The factor of the raw logits in u."""
        return self.logit_scale / (self.temperature if self.softcap is None else self.softcap)

    @property
    def cap(self) -> float | None:
        """The bound of z, or None."""
        return None if self.softcap is None else self.softcap / self.temperature

    @property
    def slope(self) -> float:
        """``dz/draw`` at 0, where it is largest."""
        return self.logit_scale / self.temperature

    def bend(self, u: Tensor) -> Tensor:
        """z of u, elementwise; u itself without a softcap."""
        return u if self.cap is None else torch.tanh(u) * self.cap

    def flattening(self, z: Tensor) -> Tensor:
        """``dz/draw / slope = 1 - (z / cap)^2``, elementwise, with a softcap.

        It is read off the output, so that a raw logit of -inf gives 0 and not ``inf - inf``.
        """
        assert self.cap is not None
        return 1.0 - (z / self.cap).square()
