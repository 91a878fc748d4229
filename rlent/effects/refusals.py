"""Interventions that cannot be shown on completions alone."""

from rlent.errors import ConfigError
from rlent.interventions import NEEDS, Chain

UNMET: dict[str, str] = {
    "entropy_grad": "it acts through the gradient of the entropy, which only training has",
    "ref_logp": "nothing is known of a reference policy here",
    "ref_kl": "nothing is known of a reference policy here",
    "budgets": "the rows of a log do not say which thinking they share",
    "vocabulary": "the texts of the tokens are not known here",
    "statistics": "of the distributions, only log-probability and entropy are known here",
    "old_statistics": "of the distributions, only log-probability and entropy are known here",
    "prompts": "the rows of a log hold no prompt as tokens",
    "prompt_logp": "the rows of a log hold no prompt as tokens",
    "several_updates": "it acts from the second update on, and here every ratio is 1",
    "two_passes": "it learns from other tokens in each of two passes, and here there is one",
}
"""Needs that only training can meet, and why."""


def check_without_training(links: Chain) -> None:
    """Refuse interventions whose effect would be missing or invented.

    Raises:
        ConfigError: names the first of them and the reason.
    """
    for position, link in enumerate(links.links):
        key = f"interventions.{position}.{link.config.name}"
        for need in sorted(link.config.needs & UNMET.keys()):
            raise ConfigError(
                f"cannot be shown without training: {UNMET[need]}",
                key=key,
                expected=f"an intervention that does not need {NEEDS[need]}",
                remedy="leave it out, or train with it",
            )
        if getattr(link.config, "scope", None) in ("micro_batch", "rank"):
            raise ConfigError(
                "cannot be shown without training: which completions share a micro-batch or a rank is not known here",
                key=f"{key}.scope",
                expected="global, group or sequence, where it has them",
            )
