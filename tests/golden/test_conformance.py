"""rlent gives the numbers of the methods' released code, and the comparison notices when it does not."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.conformance.cases import Case, load_case, load_cases
from rlent.conformance.methods import KNOWN, METHODS
from rlent.conformance.run import difference, judge, run_conformance
from rlent.errors import ConfigError
from rlent.launch.cli import main

FOLDER = Path(__file__).parent / "cases"
COVERED = [case for case in load_cases(FOLDER) if case.method in METHODS]


def name_of(case: Case) -> str:
    return f"{case.method}_{case.number}"


def copy_case(
    folder: Path, name: str, change: Callable[[dict[str, Any]], object] = lambda entries: None
) -> Path:
    """A copy of a golden file in ``folder``, after ``change`` has edited it."""
    entries = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    change(entries)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.mark.parametrize("case", COVERED, ids=name_of)
def test_rlent_agrees_with_the_released_code(case: Case) -> None:
    verdict = judge(case)
    assert verdict.status == "agrees", verdict


def test_every_method_has_its_three_cases() -> None:
    numbers = {method: [c.number for c in COVERED if c.method == method] for method in METHODS}
    assert numbers == {method: [0, 1, 2] for method in METHODS}


@pytest.mark.parametrize(
    ("method", "setting", "value"),
    [
        ("eighty_twenty", "rho", 0.9),
        ("eighty_twenty", "clip_c", 1.5),
        ("gppo", "clip_c", 1.5),
        ("gppo", "clip_low", 0.5),
        ("ce_gppo", "beta1", 0.9),
        ("ce_gppo", "beta2", 0.9),
        ("verl_vanilla", "clip_high", 0.01),
        ("verl_cispo", "clip_low", 0.01),
        ("verl_gspo", "clip_high", 0.5),
        ("verl_sapo", "tau_pos", 2.0),
        ("verl_geo_mean", "clip_low", 0.1),
        ("verl_geo_mean", "clip_high", 0.1),
        ("verl_dppo_tv", "clip_low", 0.01),
        ("verl_dppo_tv", "clip_high", 0.01),
        ("verl_dppo_tv", "clip_c", 1.0),
        ("verl_dppo_kl", "clip_low", 0.001),
        ("verl_dppo_kl", "clip_high", 0.001),
        ("verl_dro", "dro_beta", 0.2),
        ("verl_agg_loss", "global_batch_info", {"dp_size": 2}),
        ("trl_grpo", "delta", 1.5),
        ("trl_grpo", "beta", 0.5),
        ("trl_bnpo", "grad_accum", 3),
        ("trl_bnpo", "entropy_coef", 0.5),
        ("trl_dr_grpo", "max_completion_length", 3),
        ("trl_dapo", "steps_per_generation", 5),
        ("trl_cispo", "epsilon_high", 1.1),
        ("trl_sapo", "tau_neg", 2.0),
        ("trl_luspo", "importance_sampling_level", "token"),
        ("trl_luspo", "use_bias_correction_kl", True),
        ("erc_grpo", "erc_low", 0.5),
        ("erc_gppo", "erc_high", 1.5),
        ("erc_gppo", "clip_c", 1.1),
        ("archer", "quantile", 0.3),
        ("archer", "high_H_clip_low", 0.2),
        ("archer", "high_H_clip_high", 0.1),
        ("archer", "kl_coef", 0.002),
        ("aspo", "neg_c", 1.1),
        ("aspo", "neg_high_H", 0.0),
        ("aspo", "pos_high_H", 0.1),
        ("dcpo", "clip_low", 0.1),
        ("dcpo", "clip_high", 0.3),
        ("dcpo", "clip_c", 1.01),
        ("dcpo", "batch_response_len", 39.0),
        ("bapo", "target", 0.01),
        ("bapo", "high_step", 0.3),
        ("bapo", "low_max", 0.9),
        ("ar_lopti", "alpha", 0.1),
        ("ar_lopti", "eta", 0.1),
        ("steer_exp", "w_min", 0.5),
        ("steer_exp", "linear", True),
        ("steer_linear", "w_max", 1.5),
        ("entropy_advantage", "adv_alpha", 0.1),
        ("entropy_advantage", "kappa", 2),
        ("w_reinforce", "lam", 0.2),
        ("hapo", "pivot", 0.5),
        ("hapo", "clip_alpha", 0.5),
        ("hapo", "adv_beta", 0.5),
        ("hapo", "tau", 0.06),
        ("brpo", "A", 1),
        ("brpo", "budget", "base"),
        ("brpo", "vr", "v1only"),
        ("brpo", "sm", "grpo"),
        ("entropy_from_logits", "temperature", 1.1),
        ("lpreg_8020_baseline", "clip_high", 0.01),
        ("hapo_advantage", "norm_adv_by_std_in_grpo", False),
        ("epo", "entropy_coeff", 0.002),
        ("skywork_controller", "target", 0.6),
        ("skywork_controller", "init", 0.0002),
        ("trl_adaptive_entropy", "entropy_coef_delta", 0.01),
        ("trl_adaptive_entropy", "grad_accum", 3),
        ("trl_adaptive_entropy", "top_entropy_quantile", 0.7),
        ("trl_adaptive_entropy", "last_world_entropy", 2.0),
        ("one_shot_em", "loss_temperature", 1.0),
        ("one_shot_em", "pad_token_id", 6),
        ("edge_grpo", "beta", 0.1),
        ("edge_grpo", "loss_type", "dapo"),
        ("edge_grpo", "clip_low", 0.01),
        ("clip_cov", "clip_cov_ratio", 0.5),
        ("clip_cov", "lb", 0.0),
        ("clip_cov", "ub", 1.2),
        ("verl_clip_cov", "clip_low", 0.5),
        ("kl_cov", "k_percent", 30.0),
        ("verl_kl_cov", "kl_coef", 0.3),
        ("siren", "top_p", 0.5),
        ("siren", "mask_ratio", 0.3),
        ("siren", "coef", 0.01),
        ("siren", "anchor", 0.1),
        ("siren", "temperature", 2.0),
        ("simko", "mix_topk_coef", 0.5),
        ("simko", "tau", 0.2),
        ("simko", "neg_scale", 1.5),
        ("simko", "clip", 0.01),
        ("lp_reg", "min_p", 0.3),
        ("lp_reg", "neg_share", 0.9),
        ("lp_reg", "kl_coef", 2.0),
        ("lp_reg", "clip_low", 0.2),
    ],
)
def test_a_wrong_setting_is_noticed(method: str, setting: str, value: object) -> None:
    cases = [case for case in COVERED if case.method == method]
    wrong = [replace(c, hyperparameters={**c.hyperparameters, setting: value}) for c in cases]
    assert "differs" in {judge(case).status for case in wrong}


@pytest.mark.parametrize("name", [name_of(case) for case in COVERED if "grad_logp" in case.outputs])
def test_a_corrupted_number_is_noticed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def corrupt(entries: dict[str, Any]) -> None:
        first = entries["outputs"]["grad_logp"]["data"][0]
        first[0] += 1e-5 * max(1.0, abs(first[0]))

    copy_case(tmp_path, name, corrupt)
    assert run_conformance(tmp_path) == 1
    first, summary = capsys.readouterr().out.splitlines()
    assert first.split()[:3] == [*name.rsplit("_", 1), "differs:"]
    assert "grad_logp by 1.0e-05" in first
    assert summary == "0 agree, 1 differ, 0 known to differ, 0 not implemented"


@pytest.mark.parametrize(
    ("output", "value"), [("label", "12"), ("rewards", [0.0] * 4), ("majority_count", 5)]
)
def test_a_corrupted_vote_is_noticed(output: str, value: object, tmp_path: Path) -> None:
    def corrupt(entries: dict[str, Any]) -> None:
        entries["outputs"][output] = value

    verdict = judge(load_case(copy_case(tmp_path, "ttrl_vote_0", corrupt)))
    assert verdict.status == "differs"
    assert verdict.detail.startswith(output)


@pytest.mark.parametrize(
    ("output", "value"), [("token_level_advantage", 0.5), ("trainable_mask", 0)]
)
def test_a_corrupted_token_of_a_trace_is_noticed(output: str, value: float, tmp_path: Path) -> None:
    def corrupt(entries: dict[str, Any]) -> None:
        traces = entries["outputs"][output]
        assert [len(trace) for trace in traces] == [56, 56, 56, 52]
        traces[3][51] = value

    verdict = judge(load_case(copy_case(tmp_path, "brpo_1", corrupt)))
    assert verdict.status == "differs"
    assert verdict.detail.startswith(output)


def test_a_number_that_became_nan_is_noticed(tmp_path: Path) -> None:
    def corrupt(entries: dict[str, Any]) -> None:
        entries["outputs"]["loss"]["data"] = "NaN"

    verdict = judge(load_case(copy_case(tmp_path, "gppo_0", corrupt)))
    assert verdict.detail.startswith("loss by inf")


@pytest.mark.parametrize(("position", "status"), [(6, "agrees"), (0, "differs")])
def test_per_token_losses_are_compared_under_the_mask(
    position: int, status: str, tmp_path: Path
) -> None:
    def corrupt(entries: dict[str, Any]) -> None:
        assert entries["inputs"]["mask"]["data"][1] == [1, 1, 1, 1, 1, 0, 0]
        entries["outputs"]["per_token_loss"]["data"][1][position] += 1.0

    assert judge(load_case(copy_case(tmp_path, "gppo_0", corrupt))).status == status


def test_a_tie_may_be_broken_either_way_but_a_smaller_entropy_may_not_be_kept(
    tmp_path: Path,
) -> None:
    def keep_a_smaller_entropy(entries: dict[str, Any]) -> None:
        entries["outputs"]["entropy_top_mask"]["data"][0][1] = 0  # 1.75, tied at the threshold
        entries["outputs"]["entropy_top_mask"]["data"][0][2] = 1  # 1.5

    tied = load_case(FOLDER / "eighty_twenty_1.json")
    assert len(tied.remarks["positions_tied_at_threshold"]) == 4
    assert judge(tied).status == "agrees"
    path = copy_case(tmp_path, "eighty_twenty_1", keep_a_smaller_entropy)
    assert judge(load_case(path)).status == "differs"


def test_methods_that_are_not_implemented_are_listed_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(entries: dict[str, Any]) -> None:
        entries["method"] = "a_later_method"

    copy_case(tmp_path, "gppo_0")
    copy_case(tmp_path, "gppo_1", rename)
    copy_case(tmp_path, "trl_high_entropy_mask_0")
    assert run_conformance(tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a_later_method            1  not implemented",
        "gppo                      0  agrees",
        f"trl_high_entropy_mask     0  known difference: {KNOWN['trl_high_entropy_mask']}",
        "1 agree, 0 differ, 1 known to differ, 1 not implemented",
    ]


def test_no_method_is_both_compared_and_excused() -> None:
    assert not METHODS.keys() & KNOWN.keys()


def test_the_command_passes_the_exit_status_on(tmp_path: Path) -> None:
    copy_case(tmp_path, "gppo_0")
    assert main(["conformance", str(tmp_path)]) == 0
    copy_case(tmp_path, "gppo_1", lambda entries: entries["hyperparameters"].update(clip_low=0.9))
    assert main(["conformance", str(tmp_path)]) == 1


def test_a_missing_or_empty_folder_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        run_conformance(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no golden case"):
        run_conformance(tmp_path)
    assert main(["conformance", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "not a JSON file"), ("{}", "not a golden case"), ('{"method": "gppo"}', "not a golden")],
)
def test_a_file_that_is_no_case_is_an_error(text: str, problem: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / "gppo_0.json", tmp_path)
    (tmp_path / "other.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        run_conformance(tmp_path)
    assert "other.json" in str(caught.value)


def test_a_case_that_lacks_an_output_is_an_error(tmp_path: Path) -> None:
    path = copy_case(tmp_path, "gppo_0", lambda entries: entries["outputs"].pop("grad_logp"))
    with pytest.raises(ConfigError, match="lacks outputs"):
        judge(load_case(path))


def test_an_aggregation_that_rlent_does_not_have_is_an_error(tmp_path: Path) -> None:
    def change(entries: dict[str, Any]) -> None:
        entries["hyperparameters"]["agg"] = "seq-mean-token-median"

    with pytest.raises(ConfigError, match="averages its loss"):
        judge(load_case(copy_case(tmp_path, "verl_vanilla_0", change)))


def test_tensors_are_read_as_the_format_says(tmp_path: Path) -> None:
    def change(entries: dict[str, Any]) -> None:
        data = [["NaN", "Infinity"], ["-Infinity", 0.1]]
        entries["outputs"]["odd"] = {"shape": [2, 2], "dtype": "float64", "data": data}
        entries["outputs"]["empty"] = {"shape": [0, 3], "dtype": "float32", "data": []}
        entries["outputs"]["plain"] = "text"

    case = load_case(copy_case(tmp_path, "gppo_0", change))
    odd = torch.tensor([[math.nan, math.inf], [-math.inf, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(case.outputs["odd"], odd, rtol=0, atol=0, equal_nan=True)
    assert case.outputs["empty"].shape == (0, 3)
    assert case.outputs["empty"].dtype == torch.float64
    assert case.outputs["plain"] == "text"
    assert case.mask.dtype == torch.bool


@pytest.mark.parametrize(
    ("given", "expected", "largest"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([0.0, 0.25], [0.0, 0.5], 0.25),
        ([300.0], [200.0], 0.5),
        ([math.nan, math.inf], [math.nan, math.inf], 0.0),
        ([math.nan], [0.0], math.inf),
        ([0.0], [math.nan], math.inf),
        ([math.inf], [-math.inf], math.inf),
        ([1.0], [math.inf], math.inf),
        ([1.0, 1.0], [1.0], math.inf),
        ([], [], 0.0),
    ],
)
def test_difference(given: list[float], expected: list[float], largest: float) -> None:
    assert difference(torch.tensor(given), torch.tensor(expected)) == largest


def test_conformance_needs_no_trl() -> None:
    code = (
        f"import sys; from rlent.launch.cli import main; status = main(['conformance', {str(FOLDER)!r}]);"
        "sys.exit(status or 'trl' in sys.modules or 'transformers' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr
