import pytest

from rlent_rewards import LanguageConsistency


def share(text: str, *scripts: str) -> float:
    return LanguageConsistency(scripts=scripts)([text])[0]


# One word of each script, as it is written.
WORDS = {
    "arabic": "سلام",
    "armenian": "բարեւ",
    "bengali": "নম",
    "bopomofo": "ㄅㄆ",
    "cyrillic": "привет",
    "devanagari": "नम",
    "ethiopic": "ሰላም",
    "georgian": "გამარჯობა",
    "greek": "γειά",
    "gujarati": "નમ",
    "gurmukhi": "ਸਤ",
    "han": "你好",
    "hangul": "안녕",
    "hebrew": "שלום",
    "hiragana": "こんにちは",
    "kannada": "ನಮ",
    "katakana": "カタカナ",
    "khmer": "សល",
    "lao": "ສບ",
    "latin": "hello",
    "malayalam": "നമ",
    "mongolian": "ᠰᠠᠢ",
    "myanmar": "မဂ",
    "oriya": "ନମ",
    "sinhala": "ආය",
    "syriac": "ܫܠܡ",
    "tamil": "வண",
    "telugu": "నమ",
    "thaana": "ހލ",
    "thai": "สวย",
    "tibetan": "བཀ",
}


@pytest.mark.parametrize("script", WORDS)
def test_a_word_is_of_its_script_and_of_no_other(script: str) -> None:
    for other, word in WORDS.items():
        assert share(f"{word} 12!", script) == float(other == script)


@pytest.mark.parametrize(
    ("text", "scripts", "expected"),
    [
        ("abcжд", ["latin"], 3 / 5),
        ("abcжд", ["cyrillic"], 2 / 5),
        ("abcжд", ["latin", "cyrillic"], 1.0),
        ("abcжд", ["greek"], 0.0),
        ("aaaa你", ["latin"], 4 / 5),
        ("日本語はカナ", ["han", "hiragana", "katakana"], 1.0),
        ("日本語はカナ", ["han"], 3 / 6),
        ("123 + 4 = ? \u200f", ["latin"], 0.0),
        ("", ["latin"], 0.0),
        ("7a", ["latin"], 1.0),
        ("na\u00efve Stra\u00dfe", ["latin"], 1.0),
        ("e\u0301te\u0301", ["latin"], 1.0),
        ("\uff46\uff55\uff4c\uff4c \uff76\uff85", ["latin"], 4 / 6),
        ("a \u211d\u2115 \U0001d400 \u212b \u00b5 \u02b0", ["latin"], 1.0),
        ("a\u30fc", ["latin"], 1.0),
        ("aᏣ", ["latin"], 1 / 2),
        ("a\U00017000", ["latin"], 1 / 2),
        ("a\ud800\x00\u202e", ["latin"], 1.0),
        (r"\frac{你}{好}", ["han"], 2 / 6),
    ],
)
def test_it_is_the_share_of_the_letters(text: str, scripts: list[str], expected: float) -> None:
    assert share(text, *scripts) == expected


def test_the_last_message_of_a_conversation_counts() -> None:
    conversation = [{"role": "user", "content": "你"}, {"role": "assistant", "content": "a你"}]
    assert LanguageConsistency(scripts=("latin",))([conversation]) == [0.5]


@pytest.mark.parametrize(
    ("scripts", "message"),
    [
        ((), "scripts must be one or more different names"),
        (("latin", "latin"), "scripts must be one or more different names"),
        (("Latin",), "scripts must be one of arabic, .* did you mean 'latin'"),
        (("latin", "chinese"), "scripts must be one of arabic, .*given: 'chinese'"),
        (("mathematical",), "scripts must be one of"),
    ],
)
def test_scripts_must_be_known_and_different(scripts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"language_consistency: {message}"):
        LanguageConsistency(scripts=scripts)


def test_scripts_must_be_given() -> None:
    with pytest.raises(TypeError, match="scripts"):
        LanguageConsistency()  # pyright: ignore[reportCallIssue]
