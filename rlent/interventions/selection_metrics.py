"""What an intervention that selects tokens by entropy reports."""

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.interventions.stages import Mean, Metrics
from rlent.numerics import fill


def selection_metrics(
    chosen: Bool[Tensor, "b t"], entropy: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> Metrics:
    """Share of the tokens that is kept, and mean entropy (nats) of those kept and of those dropped."""
    dropped = mask & ~chosen
    return {
        "kept_share": Mean(chosen.sum(), mask.sum()),
        "entropy_kept": Mean(fill(entropy, chosen).sum(), chosen.sum()),
        "entropy_dropped": Mean(fill(entropy, dropped).sum(), dropped.sum()),
    }
