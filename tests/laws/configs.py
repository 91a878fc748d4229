"""Configurations under which every intervention of the table must obey the laws.

A new intervention adds its line: its default and one configuration for each branch of its code.
"""

from rlent.interventions import (
    ASPO,
    BAPO,
    ERC,
    AdaptiveEntropy,
    AdvantageReweighting,
    Archer,
    ClipCov,
    ClipHigher,
    ClipPreserve,
    DCPOClip,
    DynamicSampling,
    EdgeGRPO,
    EntropyAdvantage,
    EntropyBand,
    EntropyBonus,
    EntropyWeightedReward,
    ForkingOtsu,
    ForkingTokens,
    Intervention,
    KLAnchor,
    KLCov,
    MajorityVote,
    PositiveLikelihood,
    Steer,
    WReinforce,
)

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
    "forking_otsu": [
        ForkingOtsu(),
        ForkingOtsu(bins=10, denominator="kept"),
        ForkingOtsu(entropy="current"),
        ForkingOtsu(entropy="current", denominator="kept"),
    ],
    "entropy_weighted_reward": [
        EntropyWeightedReward(),
        EntropyWeightedReward(level="sequence", normalise="sum_over_all", mean="geometric"),
        EntropyWeightedReward(normalise="each_over_own", scope="batch", overlong_easy=0.75),
    ],
    "entropy_band": [
        EntropyBand(),
        EntropyBand(edges="mad", tokens="all", edges_from="old"),
        EntropyBand(edges="fixed", low=0.5, high=1.0),
    ],
    "kl_anchor": [
        KLAnchor(),
        KLAnchor(estimator="k1", tokens="all"),
        KLAnchor(estimator="k2", average="all"),
        KLAnchor(estimator="k3"),
    ],
    "majority_vote": [
        MajorityVote(),
        MajorityVote(leave_one_out=True, ties="none"),
        MajorityVote(count="text", unparsed="vote", train_on=2),
    ],
    "dynamic_sampling": [
        DynamicSampling(),
        DynamicSampling(zero_variance="drop", reward="right"),
    ],
    "clip_higher": [ClipHigher(), ClipHigher(epsilon_low=None, epsilon_high=0.5)],
    "clip_preserve": [
        ClipPreserve(),
        ClipPreserve(keep_low=0.0, schedule=((2, 0.5, 1.0), (9, 0.1, 0.2))),
    ],
    "positive_likelihood": [PositiveLikelihood()],
    "clip_cov": [
        ClipCov(),
        ClipCov(share=0.5, low=-1.0, high=1.0),
        ClipCov(share=0.5, low=-1.0, as_released=True),
    ],
    "kl_cov": [KLCov(), KLCov(share=0.3), KLCov(share=0.3, clip=True, as_released=True)],
    "erc": [ERC(), ERC(low=0.0, high=1.5)],
    "archer": [
        Archer(),
        Archer(epsilon_high_entropy=None, kl_high_entropy=0.1, as_released=True),
    ],
    "aspo": [ASPO(), ASPO(invert=False, cap=1.5, epsilon_low_entropy=None)],
    "dcpo_clip": [DCPOClip(), DCPOClip(epsilon_low=None, cap=2.0)],
    "bapo": [
        BAPO(),
        BAPO(target=0.9, low=None),
        BAPO(target=5.0, high=(1.2, 2.0), as_released=True),
    ],
    "advantage_reweighting": [AdvantageReweighting()],
    "steer": [
        Steer(),
        Steer(as_released=True),
        Steer(shape="linear", max_weight=1.2),
    ],
    "entropy_advantage": [EntropyAdvantage()],
    "edge_grpo": [EdgeGRPO()],
    "w_reinforce": [WReinforce(), WReinforce(positive=None, reward="right")],
    "entropy_bonus": [EntropyBonus(), EntropyBonus(weight=0.1, tokens="selected")],
    "adaptive_entropy": [AdaptiveEntropy(), AdaptiveEntropy(initial=0.003, tokens="selected")],
}

ALL = [config for configs in CONFIGS.values() for config in configs]


def of_a_micro_batch(config: Intervention) -> bool:
    """Takes a statistic of one micro-batch, so that the split matters."""
    if getattr(config, "scope", "global") in ("micro_batch", "rank"):
        return True
    return isinstance(config, BAPO | Steer) or (isinstance(config, Archer) and config.as_released)


SPLIT_INVARIANT = [config for config in ALL if not of_a_micro_batch(config)]
"""Those that promise the same result however a batch is split."""
