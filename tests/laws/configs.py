"""Configurations under which every intervention of the table must obey the laws.

An intervention that has no line here is held to them with its defaults. A line is its default and one configuration for
each further branch of its code.
"""

from rlent.interventions import (
    ASPO,
    BAPO,
    BRPO,
    EMPO,
    ERC,
    HAPO,
    RENT,
    TABLE,
    AdaptiveEntropy,
    AdvantageReweighting,
    AEnt,
    Archer,
    AresKL,
    AresReward,
    ClipCov,
    ClipHigher,
    ClipPreserve,
    DCPOAdvantage,
    DCPOClip,
    DynamicSampling,
    EdgeGRPO,
    Entrocraft,
    EntropyAdvantage,
    EntropyBand,
    EntropyBonus,
    EntropyMinimisation,
    EntropyWeightedReward,
    ForkingOtsu,
    ForkingTokens,
    HAPOAdvantage,
    Intervention,
    KLAnchor,
    KLCov,
    Lopti,
    LpReg,
    MajorityVote,
    NextTokenLoss,
    PassKAdvantage,
    PositiveLikelihood,
    QuantileAdvantage,
    SelfCertainty,
    SimKO,
    Siren,
    Steer,
    TrajectoryGTPO,
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
    "self_certainty": [SelfCertainty()],
    "siren": [
        Siren(),
        Siren(anchor=0.3),
        Siren(anchor=0.3, as_released=True),
        Siren(as_released=True),
    ],
    "lp_reg": [LpReg(), LpReg(share=0.5), LpReg(share=0.5, as_released=True)],
    "simko": [SimKO(), SimKO(mix=0.5, boost=2.0, quantile=0.3, correct=0.0)],
    "aent": [AEnt(), AEnt(weight=0.01, low=0.1, high=0.5)],
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
    "next_token_loss": [NextTokenLoss()],
    "clip_cov": [
        ClipCov(),
        ClipCov(share=0.5, low=-1.0, high=1.0),
        ClipCov(share=0.5, low=-1.0, as_released=True),
    ],
    "kl_cov": [KLCov(), KLCov(share=0.3), KLCov(share=0.3, clip=True, as_released=True)],
    "erc": [ERC(), ERC(low=0.0, high=1.5)],
    "archer": [
        Archer(),
        Archer(epsilon_low_entropy=(0.2, 0.28), epsilon_high_entropy=(0.0, 2.0)),
        Archer(epsilon_high_entropy=None, kl_high_entropy=0.1, as_released=True),
    ],
    "aspo": [
        ASPO(),
        ASPO(invert=False, cap=1.5, epsilon_low_entropy=None),
        ASPO(epsilon_low_entropy=(0.1, 0.3), epsilon_high_entropy=(0.3, 5.0)),
    ],
    "dcpo_clip": [DCPOClip(), DCPOClip(epsilon_low=None, cap=2.0), DCPOClip(as_released=True)],
    "bapo": [
        BAPO(),
        BAPO(target=0.9, low=None),
        BAPO(target=5.0, high=(1.2, 2.0), as_released=True),
    ],
    "brpo": [
        BRPO(),
        BRPO(prior="linear", baseline="own"),
        BRPO(prior="base", baseline="group", summaries="last"),
        BRPO(baseline="none", summaries=None),
    ],
    "advantage_reweighting": [AdvantageReweighting()],
    "lopti": [Lopti(), Lopti(first="likely", threshold=0.2)],
    "steer": [
        Steer(),
        Steer(estimator="exact", shape="linear", max_weight=1.2),
        Steer(estimator="released"),
        Steer(scope="group", shape="linear", min_weight=0.2),
        Steer(scope="sequence", estimator="exact"),
        Steer(scope="rank"),
        Steer(scope="micro_batch", shape="linear", max_weight=1.2),
        Steer(as_released=True),
        Steer(as_released=True, shape="linear"),
    ],
    "ares_reward": [
        AresReward(),
        AresReward(strength=0.5, target="batch", momentum=0.5),
        AresReward(strength=0.1, window=1, quantile=0.5, triggers=("wait", "but")),
        AresReward(as_released=True),
    ],
    "ares_kl": [
        AresKL(),
        AresKL(relaxed=0.0, window=2, momentum=0.9, rate=0.0),
        AresKL(relaxed=1.0, initial=2.0),
        AresKL(as_released=True),
    ],
    "entropy_advantage": [EntropyAdvantage()],
    "edge_grpo": [EdgeGRPO(), EdgeGRPO(as_released=True)],
    "w_reinforce": [
        WReinforce(),
        WReinforce(positive=None, reward="right"),
        WReinforce(positive=0.0, zero_weight="drop"),
        WReinforce(positive=1.0, negative=0.0, zero_weight="drop"),
    ],
    "entropy_bonus": [EntropyBonus(), EntropyBonus(weight=0.1, tokens="selected")],
    "adaptive_entropy": [
        AdaptiveEntropy(),
        AdaptiveEntropy(initial=0.003, tokens="selected"),
        AdaptiveEntropy(initial=0.003, as_released="skywork"),
        AdaptiveEntropy(initial=0.003, as_released="trl"),
    ],
    "hapo": [HAPO(), HAPO(pivot=0.5, clip=0.5), HAPO(advantage=0.0, as_released=True)],
    "hapo_advantage": [HAPOAdvantage(), HAPOAdvantage(scale="none", limit=0.4)],
    "dcpo_advantage": [DCPOAdvantage(), DCPOAdvantage(scale="none")],
    "rent": [RENT(), RENT(without_answer=-7.0)],
    "empo": [EMPO(), EMPO(count="text", low=0.1, high=0.6), EMPO(unparsed="share")],
    "passk_advantage": [PassKAdvantage(k=2), PassKAdvantage(k=1, reward="right")],
    "quantile_advantage": [QuantileAdvantage(), QuantileAdvantage(quantile=0.7, scale="none")],
    "trajectory_gtpo": [
        TrajectoryGTPO(),
        TrajectoryGTPO(threshold=1.5, conflicts=False),
        TrajectoryGTPO(charge=0.0, reward_conflict=3.0, as_released=True),
        TrajectoryGTPO(threshold=None, charge=0.0),
    ],
    "entrocraft": [
        Entrocraft(),
        Entrocraft(lower=(2.0, 2.0), upper=None, shape="cosine"),
        Entrocraft(lower=None, upper=(0.1, 0.1), reward="right"),
    ],
    "entropy_minimisation": [
        EntropyMinimisation(),
        EntropyMinimisation(weight=0.1),
        EntropyMinimisation(as_released=True),
    ],
}
CONFIGS |= {name: [cls()] for name, cls in TABLE.items() if name not in CONFIGS}

ALL = [config for configs in CONFIGS.values() for config in configs]


def of_a_micro_batch(config: Intervention) -> bool:
    """Takes a statistic of one micro-batch, so that the split matters."""
    if getattr(config, "scope", "global") in ("micro_batch", "rank"):
        return True
    if isinstance(config, AdaptiveEntropy):
        return config.as_released == "trl"
    return isinstance(config, BAPO | HAPO) or (
        isinstance(config, Archer | EdgeGRPO) and config.as_released
    )


SPLIT_INVARIANT = [config for config in ALL if not of_a_micro_batch(config)]
"""Those that promise the same result however a batch is split."""
