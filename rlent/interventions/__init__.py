"""Interventions on single tokens: one file per published idea, one line per idea in ``TABLE``.

To add one, write ``rlent/interventions/<name>.py`` after the pattern of ``forking_tokens.py`` (the contract is in
``stages.py``) and add its config class to ``TABLE``. Being in the table enters it into the recipes, ``rlent
interventions``, and the laws of ``tests/laws``. ``docs/adding-an-intervention.md`` walks through it.
"""

from rlent.interventions.adaptive_entropy import AdaptiveEntropy
from rlent.interventions.advantage_reweighting import AdvantageReweighting
from rlent.interventions.aent import AEnt
from rlent.interventions.archer import Archer
from rlent.interventions.ares import AresKL, AresReward
from rlent.interventions.aspo import ASPO
from rlent.interventions.bapo import BAPO
from rlent.interventions.brpo import BRPO
from rlent.interventions.chain import Chain, chain
from rlent.interventions.clip_cov import ClipCov
from rlent.interventions.clip_higher import ClipHigher
from rlent.interventions.clip_preserve import ClipPreserve
from rlent.interventions.dcpo_advantage import DCPOAdvantage
from rlent.interventions.dcpo_clip import DCPOClip
from rlent.interventions.dynamic_sampling import DynamicSampling
from rlent.interventions.edge_grpo import EdgeGRPO
from rlent.interventions.empo import EMPO
from rlent.interventions.entrocraft import Entrocraft
from rlent.interventions.entropy_advantage import EntropyAdvantage
from rlent.interventions.entropy_band import EntropyBand
from rlent.interventions.entropy_bonus import EntropyBonus
from rlent.interventions.entropy_minimisation import EntropyMinimisation
from rlent.interventions.entropy_weighted_reward import EntropyWeightedReward
from rlent.interventions.erc import ERC
from rlent.interventions.forking_otsu import ForkingOtsu
from rlent.interventions.forking_tokens import ForkingTokens
from rlent.interventions.hapo import HAPO
from rlent.interventions.hapo_advantage import HAPOAdvantage
from rlent.interventions.kl_anchor import KLAnchor
from rlent.interventions.kl_cov import KLCov
from rlent.interventions.lopti import Lopti
from rlent.interventions.lp_reg import LpReg
from rlent.interventions.majority_vote import MajorityVote
from rlent.interventions.next_token_loss import NextTokenLoss
from rlent.interventions.passk_advantage import PassKAdvantage
from rlent.interventions.positive_likelihood import PositiveLikelihood
from rlent.interventions.quantile_advantage import QuantileAdvantage
from rlent.interventions.rent import RENT
from rlent.interventions.self_certainty import SelfCertainty
from rlent.interventions.simko import SimKO
from rlent.interventions.siren import Siren
from rlent.interventions.stages import (
    NEEDS,
    STAGES,
    Intervention,
    Mean,
    Metrics,
    StepStatistics,
    implemented_stages,
)
from rlent.interventions.steer import Steer
from rlent.interventions.trajectory_gtpo import TrajectoryGTPO
from rlent.interventions.w_reinforce import WReinforce

TABLE: dict[str, type[Intervention]] = {
    cls.name: cls
    for cls in (
        # which tokens and completions learn
        ForkingTokens,
        ForkingOtsu,
        DynamicSampling,
        # what is rewarded
        MajorityVote,
        SelfCertainty,
        RENT,
        EMPO,
        AresReward,
        EntropyMinimisation,
        # whose advantage, and how much of it
        EntropyWeightedReward,
        EntropyAdvantage,
        EdgeGRPO,
        HAPOAdvantage,
        HAPO,
        TrajectoryGTPO,
        WReinforce,
        Entrocraft,
        PassKAdvantage,
        QuantileAdvantage,
        DCPOAdvantage,
        BRPO,
        AdvantageReweighting,
        Lopti,
        Steer,
        SimKO,
        PositiveLikelihood,
        NextTokenLoss,
        # how far the ratio may go
        ClipHigher,
        ClipPreserve,
        ClipCov,
        KLCov,
        ERC,
        Archer,
        ASPO,
        DCPOClip,
        BAPO,
        # what is paid for entropy and distance
        EntropyBand,
        EntropyBonus,
        AdaptiveEntropy,
        Siren,
        AEnt,
        KLAnchor,
        AresKL,
        LpReg,
    )
}

__all__ = [
    "ASPO",
    "BAPO",
    "BRPO",
    "EMPO",
    "ERC",
    "HAPO",
    "NEEDS",
    "RENT",
    "STAGES",
    "TABLE",
    "AEnt",
    "AdaptiveEntropy",
    "AdvantageReweighting",
    "Archer",
    "AresKL",
    "AresReward",
    "Chain",
    "ClipCov",
    "ClipHigher",
    "ClipPreserve",
    "DCPOAdvantage",
    "DCPOClip",
    "DynamicSampling",
    "EdgeGRPO",
    "Entrocraft",
    "EntropyAdvantage",
    "EntropyBand",
    "EntropyBonus",
    "EntropyMinimisation",
    "EntropyWeightedReward",
    "ForkingOtsu",
    "ForkingTokens",
    "HAPOAdvantage",
    "Intervention",
    "KLAnchor",
    "KLCov",
    "Lopti",
    "LpReg",
    "MajorityVote",
    "Mean",
    "Metrics",
    "NextTokenLoss",
    "PassKAdvantage",
    "PositiveLikelihood",
    "QuantileAdvantage",
    "SelfCertainty",
    "SimKO",
    "Siren",
    "Steer",
    "StepStatistics",
    "TrajectoryGTPO",
    "WReinforce",
    "chain",
    "implemented_stages",
]
