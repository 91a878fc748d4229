"""The private names of TRL that the trainer is built on, in one place.

TRL's trainer has no public seam below ``_compute_loss``, so rlent pins TRL's minor version and checks here that each
method it overrides or calls exists with the parameters it expects. An upgrade that moves one fails with one message.
"""

import inspect
from importlib.metadata import version

import trl
from trl.trainer import grpo_trainer, utils

from rlent.errors import ContractError

PARAMETERS: dict[str, tuple[str, ...]] = {
    "_compute_loss": ("self", "model", "inputs"),
    "_generate_and_score_completions": ("self", "inputs"),
    "_calculate_rewards": ("self", "inputs", "prompts", "completions", "completion_ids_list"),
    "_prepare_inputs": ("self", "generation_batch"),
    "_generate_single_turn": (
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ),
    "_save_checkpoint": ("self", "model", "trial"),
    "_load_from_checkpoint": ("self", "resume_from_checkpoint", "model"),
    "_load_optimizer_and_scheduler": ("self", "checkpoint"),
    "_load_rng_state": ("self", "checkpoint"),
    "_get_train_sampler": ("self", "dataset"),
    "_get_output_dir": ("self", "trial"),
    "_get_grad_norm": ("self", "model", "grad_norm"),
    "compute_loss": ("self", "model", "inputs", "return_outputs", "num_items_in_batch"),
    "log": ("self", "logs", "start_time"),
    "get_off_policy_mask": (
        "advantages",
        "per_token_logps",
        "sampling_per_token_logps",
        "mask",
        "off_policy_threshold",
    ),
}
"""Methods of ``trl.GRPOTrainer`` and all their parameters."""

SCORING_PARAMETERS = (
    "self",
    "model",
    "input_ids",
    "attention_mask",
    "logits_to_keep",
    "batch_size",
    "compute_entropy",
)
"""First parameters of ``_get_per_token_logps_and_entropies``; the multimodal ones follow."""

MULTIMODAL = (
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
)
"""Inputs that TRL hands from a generation batch to the scoring forward."""

FUSED_HEAD = ("model", "temperature", "cast_lm_head_to_fp32", "outputs")
"""Parameters of TRL's ``add_fused_lm_head``, whose calling convention rlent's own head takes over."""


def check_contract() -> None:
    """Compare the installed TRL with what the trainer relies on.

    Raises:
        ContractError: a name is gone or has other parameters; names it and both lists.
    """
    trainer = grpo_trainer.GRPOTrainer
    expected = {
        **{f"GRPOTrainer.{name}": parameters for name, parameters in PARAMETERS.items()},
        "GRPOTrainer._get_per_token_logps_and_entropies": SCORING_PARAMETERS,
        "utils.add_fused_lm_head": FUSED_HEAD,
        "utils.use_adapter": ("model", "adapter_name"),
        "utils.RepeatSampler": (
            "data_source",
            "mini_repeat_count",
            "batch_size",
            "repeat_count",
            "shuffle",
            "seed",
        ),
    }
    for path, parameters in expected.items():
        owner, name = path.split(".")
        function = getattr(trainer if owner == "GRPOTrainer" else utils, name, None)
        found = tuple(inspect.signature(function).parameters) if function is not None else ()
        if found[: len(parameters)] != parameters or (name in PARAMETERS and found != parameters):
            raise ContractError(
                f"trl {trl.__version__} does not fit rlent {version('rlent')}: {path} should take "
                f"{', '.join(parameters)} but takes {', '.join(found) or 'nothing: it is gone'}. "
                "Install the trl version that rlent's pyproject.toml names."
            )
    scoring = inspect.signature(trainer._get_per_token_logps_and_entropies).parameters
    missing = [name for name in MULTIMODAL if name not in scoring]
    if missing:
        raise ContractError(
            f"trl {trl.__version__} scores without {', '.join(missing)}, which rlent passes on"
        )
