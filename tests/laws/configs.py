"""Configurations under which every intervention of the table must obey the laws.

A new intervention adds its line: its default and one configuration for each branch of its code.
"""

from rlent.interventions import ForkingTokens, Intervention

CONFIGS: dict[str, list[Intervention]] = {
    "forking_tokens": [
        ForkingTokens(),
        ForkingTokens(fraction=0.5, scope="rank"),
        ForkingTokens(fraction=0.3, scope="group", denominator="all"),
        ForkingTokens(fraction=0.3, scope="sequence"),
        ForkingTokens(fraction=0.3, scope="sequence", entropy="current"),
        ForkingTokens(fraction=0.8, keep="lowest"),
        ForkingTokens(scope="micro_batch"),
        ForkingTokens(as_released=True),
    ],
}

ALL = [config for configs in CONFIGS.values() for config in configs]

SPLIT_INVARIANT = [
    config for config in ALL if getattr(config, "scope", "global") not in ("micro_batch", "rank")
]
"""Those that promise the same result however a batch is split."""
