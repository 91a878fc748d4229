"""YAML 1.2 text to plain values and the line on which each key stands.

The node tree is walked here and not left to a YAML constructor, because constructors drop what an
error message needs (the line of every key, also of merged ones), turn dates into objects, and lose
unknown tags and anchors that contain themselves.
"""

import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from rlent.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_TEXT = (f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}merge")
_BASES = {"0x": 16, "0o": 8, "0b": 2}


def read_yaml(text: str, file: str) -> tuple[Any, dict[str, str]]:
    """Value of the only document in ``text``, and ``file:line`` of every dotted key in it.

    Values are mappings with text keys, lists, text, integers, floats, booleans and null. The key
    ``""`` is the document itself. An empty text is null.

    Raises:
        ConfigError: the text is not YAML 1.2, repeats a key, or holds anything else than the above.
    """
    root = _compose(text, file)
    if root is None:
        return None, {"": f"{file}:1"}
    tree = _Tree(file=file)
    value = tree.value(root, "", ())
    return value, tree.places


def forget(places: dict[str, str], key: str) -> None:
    """Remove what is known of the keys below ``key``, whose value is being replaced."""
    for stale in [other for other in places if other.startswith(f"{key}.")]:
        del places[stale]


def below(key: str, part: object) -> str:
    """Dotted key of ``part`` inside ``key``."""
    return f"{key}.{part}" if key else str(part)


def _compose(text: str, file: str) -> Node | None:
    yaml = YAML(typ="safe", pure=True)
    try:
        with warnings.catch_warnings():
            # It warns of an anchor that is defined twice, which YAML allows.
            warnings.simplefilter("ignore", YAMLWarning)
            root = yaml.compose(text)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character #x{ord(text[error.position]):04x} is not allowed in YAML"
        raise ConfigError(problem, where=f"{file}:{line}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"not valid YAML: {problem}", where=place) from error
    except YAMLError as error:
        problem = " ".join(str(error).split())
        raise ConfigError(f"not valid YAML: {problem}", where=file) from error
    if yaml.version == (1, 1):
        raise ConfigError(
            "the directive %YAML 1.1 is not supported: `on` would be a boolean and `1e-5` text",
            where=f"{file}:1",
            remedy="remove the directive; recipes are YAML 1.2",
        )
    return root


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tree:
    """One document on its way to plain values; ``places`` fills up while they are built."""

    file: str
    places: dict[str, str] = field(default_factory=dict)

    def value(self, node: Node, key: str, above: tuple[Node, ...]) -> Any:
        self.places.setdefault(key, self.place(node))
        if any(node is other for other in above):
            where = self.places[key]
            raise ConfigError("an anchor must not contain itself", key=key, where=where)
        match node:
            case MappingNode(tag="tag:yaml.org,2002:map"):
                return self.mapping(node, key, (*above, node))
            case SequenceNode(tag="tag:yaml.org,2002:seq"):
                return [
                    self.value(item, below(key, index), (*above, node))
                    for index, item in enumerate(node.value)
                ]
            case ScalarNode():
                return self.scalar(node, key)
            case _:
                raise self.unknown_tag(node, key)

    def mapping(self, node: MappingNode, key: str, above: tuple[Node, ...]) -> dict[str, Any]:
        pairs = self.pairs(node, key)
        result: dict[str, Any] = {}
        if "<<" in pairs:
            for source in self.merged(pairs.pop("<<")[1], key):
                result |= self.value(source, key, above)
        for name, (name_node, value_node) in pairs.items():
            path = below(key, name)
            forget(self.places, path)
            self.places[path] = self.place(name_node)
            result[name] = self.value(value_node, path, above)
        return result

    def pairs(self, node: MappingNode, key: str) -> dict[str, tuple[Node, Node]]:
        """Nodes of key and value, by the text of the key."""
        pairs: dict[str, tuple[Node, Node]] = {}
        for name_node, value_node in node.value:
            name = self.name(name_node, key)
            if name in pairs:
                raise self.error(
                    "the key stands twice in one mapping",
                    name_node,
                    below(key, name),
                    remedy=f"keep one of the two; the first is at {self.place(pairs[name][0])}",
                )
            pairs[name] = name_node, value_node
        return pairs

    def merged(self, node: Node, key: str) -> Iterator[Node]:
        """Mappings behind ``<<``, the one that wins last; in YAML it is written first."""
        for source in reversed(node.value) if isinstance(node, SequenceNode) else [node]:
            if not isinstance(source, MappingNode):
                raise self.error("<< takes a mapping or a list of them", node, key)
            yield source

    def name(self, node: Node, key: str) -> str:
        if isinstance(node, ScalarNode) and node.tag in _TEXT:
            return str(node.value)
        given = node.value if isinstance(node, ScalarNode) else None
        raise self.error("keys must be text", node, key, given=given, remedy="put it in quotes")

    def scalar(self, node: ScalarNode, key: str) -> Any:
        convert = _SCALARS.get(node.tag.removeprefix(_TAG))
        if convert is None:
            raise self.unknown_tag(node, key)
        try:
            return convert(str(node.value))
        except ValueError as error:
            raise self.error(str(error), node, key, given=node.value) from error

    def unknown_tag(self, node: Node, key: str) -> ConfigError:
        tag = node.tag.replace(_TAG, "!!")
        return self.error(f"the tag {tag} has no meaning here", node, key, remedy="remove the tag")

    def place(self, node: Node) -> str:
        return f"{self.file}:{node.start_mark.line + 1}"

    def error(self, problem: str, node: Node, key: str, **details: Any) -> ConfigError:
        return ConfigError(problem, key=key or None, where=self.place(node), **details)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("a boolean is true or false")
    return text.lower() == "true"


def _integer(text: str) -> int:
    digits = text.replace("_", "")
    return int(digits, _BASES.get(digits.lstrip("+-")[:2].lower(), 10))


def _number(text: str) -> float:
    number = float(re.sub(r"\.(?=[in])", "", text.lower().replace("_", "")))
    if math.isnan(number):
        raise ValueError("not-a-number is the value of no setting")
    if math.isinf(number) and "inf" not in text.lower():
        raise ValueError("the number is too large for a float")
    return number


_SCALARS: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "bool": _boolean,
    "int": _integer,
    "float": _number,
    "str": str,
    # YAML 1.2 knows no dates: an unquoted one is text, as is a lone `=`.
    "timestamp": str,
    "value": str,
}
