"""Shapes of policies, the work of an optimiser step, and the hardware."""

from dataclasses import dataclass

GB = 1e9
BFLOAT16, FLOAT32 = 2, 4


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder with grouped queries, gated feed-forward layers and RMS norms; no biases."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Width of the feed-forward layer, or of one expert."""
    vocabulary: int
    experts: int = 0
    experts_per_token: int = 0
    qk_norm: bool = True

    @property
    def queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def head(self) -> int:
        """Weights of the head; the embedding is another matrix of that size."""
        return self.vocabulary * self.hidden

    @property
    def expert(self) -> int:
        return 3 * self.hidden * self.intermediate

    @property
    def attention(self) -> int:
        return 2 * self.hidden * (self.queries + self.keys)

    @property
    def norms(self) -> int:
        return 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)

    @property
    def layer(self) -> int:
        router = self.experts * self.hidden
        return self.attention + self.norms + max(self.experts, 1) * self.expert + router

    @property
    def parameters(self) -> int:
        return self.layers * self.layer + 2 * self.head + self.hidden

    @property
    def active(self) -> int:
        """Weights that a token meets in a matrix product."""
        router = self.experts * self.hidden
        experts = self.experts_per_token or 1
        return self.layers * (self.attention + experts * self.expert + router) + self.head


POLICIES = (
    Shape(
        name="8B",
        layers=36,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        intermediate=12288,
        vocabulary=151936,
    ),
    Shape(
        name="32B",
        layers=64,
        hidden=5120,
        heads=64,
        kv_heads=8,
        head_dim=128,
        intermediate=25600,
        vocabulary=151936,
    ),
    Shape(
        name="235B-A22B",
        layers=94,
        hidden=4096,
        heads=64,
        kv_heads=4,
        head_dim=128,
        intermediate=1536,
        vocabulary=151936,
        experts=128,
        experts_per_token=8,
    ),
)
RANKS = (8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class Work:
    """An optimiser step. Lengths of completions are spread evenly from 0 to the longest."""

    completions: int = 1024
    prompt: int = 512
    longest: int = 8192

    @property
    def mean(self) -> float:
        return self.longest / 2

    @property
    def width(self) -> int:
        return self.prompt + self.longest


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """An H100 by its data sheet, and shares of it that are assumed; none was measured."""

    memory: float = 72e9
    """80 GB less a tenth for the CUDA context, NCCL and fragmentation."""
    flops: float = 0.4 * 989e12
    bandwidth: float = 0.6 * 3.35e12
    inside_node: float = 0.8 * 450e9
    between_nodes: float = 0.8 * 50e9
    per_operator: float = 8e-6
    """Seconds until Python has started one operator."""
    operators: int = 56
    """Of a dense layer in a decode step, views left out; `check` counts them."""
    expert_operators: int = 73
    """Of a layer with experts."""

    def network(self, ranks: int) -> float:
        return self.inside_node if ranks <= 8 else self.between_nodes

    def launch(self, shape: Shape) -> float:
        """Seconds that Python takes to start a decode step."""
        operators = self.expert_operators if shape.experts else self.operators
        return shape.layers * operators * self.per_operator


WORK, HARDWARE = Work(), Hardware()
