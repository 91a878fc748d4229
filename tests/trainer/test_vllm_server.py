"""vLLM in server mode, up to the border that needs a GPU: a fake of the server's HTTP interface.

Real are TRL's client, every request and answer, and what rlent makes of them. Not real are the GPU's part: the weights
come to the server by a function call in place of NCCL, and its completions from rlent's engine.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl.generation import vllm_client, vllm_generation

from rlent.rollout import RolloutEngine, Sampling
from rlent.tracking import RolloutLog, read_rollouts
from rlent.trainer import EntropyGRPOTrainer
from tests.tiny import tiny_tokenizer
from tests.trainer.helpers import make_trainer


class Server:
    """What a vLLM server does for TRL: serve a model, and take its weights."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append((path, body))
        match path.partition("?")[0]:
            case "/v1/models":
                return {"data": [{"id": "tiny"}]}
            case "/server_info":
                return {"vllm_config": {"model_config": {"logprobs_mode": "processed_logprobs"}}}
            case "/v1/completions":
                return {"choices": self._complete(body)}
            case _:
                return {}

    def take(self, iterator: Iterator[tuple[str, torch.Tensor]], **_: Any) -> None:
        """The place of the NCCL broadcast."""
        self.model.load_state_dict({name: value.clone() for name, value in iterator}, strict=False)

    def of(self, path: str) -> list[dict[str, Any]]:
        """Bodies of the requests to a path."""
        return [body for asked, body in self.requests if asked == path]

    def _complete(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        sampling = Sampling(
            temperature=body["temperature"], max_new_tokens=body["max_tokens"], eos_token_ids=(1,)
        )
        engine = RolloutEngine(model=self.model, sampling=sampling)
        seed = len(self.of("/v1/completions"))
        done = engine.generate(body["prompt"], body["n"], seed=seed).completions
        return [
            {
                "prompt_token_ids": body["prompt"][place // body["n"]],
                "token_ids": one.token_ids.tolist(),
                "logprobs": {
                    "tokens": [f"token_id:{token}" for token in one.token_ids.tolist()],
                    "token_logprobs": one.log_probs.tolist(),
                    "top_logprobs": [None] * len(one.token_ids),
                },
            }
            for place, one in enumerate(done)
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(server.answer(self.path, {}))

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                self._send(server.answer(self.path, json.loads(self.rfile.read(length) or b"{}")))

            def _send(self, answer: dict[str, Any]) -> None:
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                """Nothing is printed."""

        return Handler


@pytest.fixture
def server(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # Other weights than the policy's: completions that fit the policy come from weights that were sent.
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    server = Server(model.eval())
    for module in (vllm_client, vllm_generation):
        monkeypatch.setattr(module, "is_vllm_available", lambda: True)
    monkeypatch.setattr(vllm_client, "_HAS_STATEFUL_TRAINER_ENGINE", True, raising=False)
    monkeypatch.setattr(vllm_client, "packed_nccl_broadcast_producer", server.take, raising=False)
    monkeypatch.setattr(vllm_client.VLLMClient, "communicator", None, raising=False)
    monkeypatch.setattr(vllm_client.VLLMClient, "_updating_weights", False, raising=False)
    monkeypatch.setattr(vllm_client.VLLMClient, "init_communicator", lambda *_, **__: None)
    server.thread.start()
    yield server
    server.http.shutdown()
    server.thread.join()
    server.http.server_close()


def test_a_server_generates_with_the_policys_own_weights(
    server: Server, tiny_folder: Path, tmp_path: Path
) -> None:
    log = RolloutLog(tmp_path / "rollouts", tiny_tokenizer(), ["digits_reward"])
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        use_vllm=True,
        vllm_mode="server",
        vllm_server_base_url=server.url,
        interventions=[{"forking_tokens": {"fraction": 0.3}}],
        temperature=0.9,
        max_steps=3,
        learning_rate=1e-2,
        rollout_log=log,
    )
    trainer.train()
    trainer.rollout_log.flush()

    rows = [row for row in trainer.state.log_history if "reward" in row]
    assert len(rows) == len(server.of("/v1/completions")) == 3
    asked = server.of("/v1/completions")[0]
    assert (asked["n"], asked["temperature"], asked["max_tokens"]) == (4, 0.9, 8)
    assert len(asked["prompt"]) == 2
    announced = server.of("/update_weights")
    assert len(announced) == 3
    names = {name for name, _ in trainer.model.named_parameters()}
    assert set(announced[0]["update_info"]["names"]) == names
    for row in rows:
        # The log-probabilities of the server are those of the policy: it has the weights of this very step.
        assert row["sampling/importance_sampling_ratio/mean"] == pytest.approx(1, abs=1e-4)
        assert row["sampling/sampling_logp_difference/max"] < 1e-4
        assert row["forking_tokens/kept_share"] == pytest.approx(0.3, abs=0.02)
    read = read_rollouts(tmp_path / "rollouts")
    assert len(read) == 24
    assert all(min(row["entropy"]) > 0 for row in read)


def test_old_weights_on_the_server_show_in_the_importance_ratio(
    server: Server, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "take", lambda iterator, **_: [None for _ in iterator])
    monkeypatch.setattr(vllm_client, "packed_nccl_broadcast_producer", server.take, raising=False)
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        use_vllm=True,
        vllm_mode="server",
        vllm_server_base_url=server.url,
        max_steps=1,
    )
    trainer.train()
    row = next(row for row in trainer.state.log_history if "reward" in row)
    assert row["sampling/sampling_logp_difference/max"] > 0.1
