import math

import pytest

from rlent.config.reader import read_yaml
from rlent.errors import ConfigError


def read(text: str) -> object:
    return read_yaml(text, "r.yaml")[0]


def places(text: str) -> dict[str, str]:
    return read_yaml(text, "r.yaml")[1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        ("5e-6", 5e-6),
        ("1E5", 1e5),
        ("1e+5", 1e5),
        ("-2.5", -2.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1_000.5", 1000.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("7", 7),
        ("-7", -7),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-0o7", -7),
        ("1_000", 1000),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("on", "on"),
        ("no", "no"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1e-5'", "1e-5"),
        ("=", "="),
        ("é☃", "é☃"),
        ("|\n  two\n  lines", "two\nlines\n"),
    ],
)
def test_scalars_have_the_value_and_type_of_yaml_1_2(text: str, value: object) -> None:
    result = read(f"a: {text}\n")
    assert result == {"a": value}
    assert isinstance(result, dict)
    assert type(result["a"]) is type(value)


def test_every_key_and_list_entry_has_its_line() -> None:
    text = "# comment\na: 1\nb:\n  - x\n  - y: {p: 1,\n       q: 2}\n\nc:\n  d:\n    e: 3\n"
    assert places(text) == {
        "": "r.yaml:2",
        "a": "r.yaml:2",
        "b": "r.yaml:3",
        "b.0": "r.yaml:4",
        "b.1": "r.yaml:5",
        "b.1.y": "r.yaml:5",
        "b.1.y.p": "r.yaml:5",
        "b.1.y.q": "r.yaml:6",
        "c": "r.yaml:8",
        "c.d": "r.yaml:9",
        "c.d.e": "r.yaml:10",
    }


def test_anchors_and_merge_keys() -> None:
    text = """\
one: &one {a: 1, b: {x: 1}}
two: &two {a: 2, c: 2}
both:
  c: 3
  <<: [*one, *two]
  b: {y: 4}
same: *one
"""
    value = read(text)
    assert isinstance(value, dict)
    assert value["both"] == {"a": 1, "b": {"y": 4}, "c": 3}
    assert value["same"] == value["one"] == {"a": 1, "b": {"x": 1}}
    assert value["same"] is not value["one"]
    found = places(text)
    assert found["both.a"] == "r.yaml:1"
    assert found["both.c"] == "r.yaml:4"
    assert found["both.b.y"] == "r.yaml:6"
    assert "both.b.x" not in found


def test_an_anchor_may_be_defined_again() -> None:
    assert read("a: &x 1\nb: &x 2\nc: *x") == {"a": 1, "b": 2, "c": 2}


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n...\n"])
def test_an_empty_document_is_null(text: str) -> None:
    assert read(text) is None


def test_byte_order_mark_and_dos_line_ends_are_accepted() -> None:
    assert read_yaml("\ufeffa: 1\r\nb: 2\r\n", "r.yaml") == (
        {"a": 1, "b": 2},
        {"": "r.yaml:1", "a": "r.yaml:1", "b": "r.yaml:2"},
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb: [1, 2\n",
            "r.yaml:3:1: not valid YAML: while parsing a flow sequence, "
            "expected ',' or ']', but got '<stream end>'",
        ),
        ("a: 1\n b: 2\n", "r.yaml:2:3: not valid YAML: mapping values are not allowed here"),
        (
            "a:\n\t- 1\n",
            "r.yaml:2:1: not valid YAML: while scanning for the next token, "
            "found character '\\t' that cannot start any token",
        ),
        ("a: *b\n", "r.yaml:1:4: not valid YAML: found undefined alias 'b'"),
        (
            "a: 1\n---\nb: 2\n",
            "r.yaml:2:1: not valid YAML: expected a single document in the stream, "
            "but found another document",
        ),
        ("a: 1\n" * 900 + "b: \x07\n", "r.yaml:901: the character #x0007 is not allowed in YAML"),
        (
            "a: 1\nb: 2\na: {c: 1}\n",
            "r.yaml:3: a: the key stands twice in one mapping\n"
            "  change: keep one of the two; the first is at r.yaml:1",
        ),
        (
            "a:\n  - b: 1\n    b: 2\n",
            "r.yaml:3: a.0.b: the key stands twice in one mapping\n"
            "  change: keep one of the two; the first is at r.yaml:2",
        ),
        (
            "a:\n  <<: {x: 1}\n  <<: {y: 1}\n",
            "r.yaml:3: a.<<: the key stands twice in one mapping\n"
            "  change: keep one of the two; the first is at r.yaml:2",
        ),
        ("a:\n  <<: 3\n", "r.yaml:2: a: << takes a mapping or a list of them"),
        ("a: &a\n  b: *a\n", "r.yaml:2: a.b: an anchor must not contain itself"),
        ("a: &a [1, *a]\n", "r.yaml:1: a.1: an anchor must not contain itself"),
        (
            "a:\n  1: x\n",
            "r.yaml:2: a: keys must be text\n  given: '1'\n  change: put it in quotes",
        ),
        (
            "? [a]\n: x\n",
            "r.yaml:1: keys must be text\n  change: put it in quotes",
        ),
        (
            "a: .nan\n",
            "r.yaml:1: a: not-a-number is the value of no setting\n  given: '.nan'",
        ),
        (
            "a: 1e400\n",
            "r.yaml:1: a: the number is too large for a float\n  given: '1e400'",
        ),
        ("a: !!bool x\n", "r.yaml:1: a: a boolean is true or false\n  given: 'x'"),
        (
            "a: !mine x\n",
            "r.yaml:1: a: the tag !mine has no meaning here\n  change: remove the tag",
        ),
        (
            "a: !!set {x}\n",
            "r.yaml:1: a: the tag !!set has no meaning here\n  change: remove the tag",
        ),
        (
            "%YAML 1.1\n---\na: on\n",
            "r.yaml:1: the directive %YAML 1.1 is not supported: "
            "`on` would be a boolean and `1e-5` text\n"
            "  change: remove the directive; recipes are YAML 1.2",
        ),
    ],
)
def test_what_is_refused_and_in_which_words(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == message
