"""What a decoding rule is."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.errors import ConfigError
from rlent.reduce import Reduce
from rlent.rollout.sampling import Sampling, Step


class DecodingRule:
    """How the next token is drawn, beyond what ``Sampling`` can say.

    A rule changes what a token is drawn from, and nothing that is noted of the full distribution:
    ``Completion.log_probs`` and ``entropies`` are those of ``softmax(logits / temperature)`` under every rule, and
    ``truncated_log_probs`` are those of the distribution drawn from. A row sees itself alone, so a completion still
    depends on nothing but the model, its prompt, the settings and the seed.

    Subclasses are frozen dataclasses whose fields are the options of a recipe.
    """

    name: ClassVar[str]
    """In recipes."""
    paper: ClassVar[str]
    trains: ClassVar[bool] = True
    """Whether completions may be trained on: each token is drawn from a distribution over the vocabulary that its
    prefix determines."""
    evaluates: ClassVar[bool] = True
    """Whether the rule means something without training."""
    summarises: ClassVar[bool] = True
    """Whether thinking may be cut at budgets, and summaries written from tokens alone."""
    remembers: ClassVar[bool] = False
    """Whether ``observe`` changes the rule: every rank must then make the same calls."""

    def check(self, sampling: Sampling) -> None:
        """Raise ConfigError if the rule says nothing under these settings, or contradicts them."""
        if sampling.greedy:
            raise ConfigError(
                f"greedy decoding takes the most probable token, and {self.name} is about drawing",
                key=f"decoding.{self.name}",
                remedy="set a temperature above 0",
            )
        if sampling.temperatures is not None:
            raise ConfigError(
                f"{self.name} draws at one temperature for all completions",
                key=f"decoding.{self.name}",
                remedy="remove it, or the temperatures of the completions",
            )

    def check_tokenizer(self, tokenizer: Any | None) -> None:
        """Raise ConfigError if the rule needs a tokenizer, or texts that its vocabulary cannot write."""

    def build(self) -> "DecodingRule":
        """The rule with a memory of its own, where it has one."""
        return self

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        """Log-probabilities that the tokens are drawn from, -inf where they cannot be."""
        raise NotImplementedError

    def observe(self, entropies: Float[Tensor, " n"], reduce: Reduce) -> None:
        """Look at the entropies of all tokens of a generation batch; a collective if the rule ``remembers``."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""


def refuse_twice(rule: DecodingRule, sampling: Sampling, name: str) -> None:
    """Raise ConfigError if ``Sampling`` truncates in the way that the rule does itself."""
    if getattr(sampling, name) != type(sampling).__dataclass_fields__[name].default:
        raise ConfigError(
            f"{rule.name} sets {name} itself",
            key=f"decoding.{rule.name}",
            given=getattr(sampling, name),
            remedy=f"remove {name} from the sampling settings",
        )
