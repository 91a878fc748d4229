"""Words to numbers and back."""

import random
from pathlib import Path

from transformers import AutoTokenizer

from rlent.data import prompt_ids
from rlent.small import draw_question, small_tokenizer, work


def test_texts_come_back() -> None:
    tokenizer = small_tokenizer()
    rng = random.Random(0)
    for _ in range(100):
        question = draw_question(rng, 4)
        for text in (question.text, work(question, rng)):
            ids = tokenizer(text)["input_ids"]
            assert len(ids) == len(text.split())
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids) == text
            ended = [*ids, tokenizer.eos_token_id, tokenizer.pad_token_id]
            assert tokenizer.decode(ended, skip_special_tokens=True) == text


def test_special_tokens_differ() -> None:
    tokenizer = small_tokenizer()
    special = [tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]
    assert len(set(special)) == 3
    assert tokenizer("7 + eleven")["input_ids"][-1] == tokenizer.unk_token_id


def test_prompts_are_padded_on_the_left() -> None:
    batch = small_tokenizer()(["7 =", "7 + 5 ="], padding=True)["input_ids"]
    pad = small_tokenizer().pad_token_id
    assert [ids.count(pad) for ids in batch] == [2, 0]
    assert batch[0][:2] == [pad, pad]


def test_a_conversation_reads_as_plain_text() -> None:
    tokenizer = small_tokenizer()
    question, working = "7 + 5 * 3 =", "so 7 + 5 = 2 so 2 * 3 = 6"
    asked = [{"role": "user", "content": question}]
    assert prompt_ids(asked, tokenizer) == prompt_ids(question, tokenizer)
    answered = [*asked, {"role": "assistant", "content": working}]
    text = tokenizer.apply_chat_template(answered, tokenize=False)
    assert text == f"{question} {working}"


def test_it_survives_saving(tmp_path: Path) -> None:
    tokenizer = small_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "7 + 5 * 3 - 4 = so 7 + 5 gives 2 check 2"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.eos_token_id == tokenizer.eos_token_id
