"""One token per word; a conversation reads exactly as the plain text of its messages."""

from typing import TYPE_CHECKING

from rlent.small.task import WORDS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<eos>", "<unk>")
VOCABULARY = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }}{{ '' if loop.last else ' ' }}{% endfor %}"
)


def small_tokenizer() -> "PreTrainedTokenizerFast":
    """The tokenizer of the task's words; any other word is ``<unk>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
