"""YAML as configurations need it: plain values, each key once, no anchors, aliases or tags.

An alias lets a page of text stand for gigabytes, a tag can ask for objects, and of a
key given twice YAML silently keeps the last; none of the three is ever needed here.
Knows nothing of keys and values.
"""

from typing import Any

import yaml

from collapse_lm.errors import UserError

_DEEPEST = 20  # levels; the configuration has three
_MOST_NODES = 2000  # keys and values; the configuration has about a hundred
_LONGEST_NUMBER = 100  # characters; arithmetic on longer ones takes time, printing them raises
_SHOWN = 200  # characters of an error or a value that a message repeats


def parse_yaml(where: str, text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        UserError: for anything but plain, well-formed YAML.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.MarkedYAMLError as error:
        raise _refused(where, _told(error)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused(where, " ".join(str(error).split())) from None


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without what a configuration never needs, and with bounds."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth, self._nodes = self._depth + 1, self._nodes + 1
        _refuse_if(isinstance(event, yaml.AliasEvent), "an alias (*name)", event)
        _refuse_if(getattr(event, "anchor", None) is not None, "an anchor (&name)", event)
        _refuse_if(getattr(event, "tag", None) is not None, "a tag (!name)", event)
        _refuse_if(self._depth > _DEEPEST, f"more than {_DEEPEST} levels", event)
        _refuse_if(self._nodes > _MOST_NODES, f"more than {_MOST_NODES} values", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            _refuse_if(name in seen, f"the key {str(key.value)[:_SHOWN]!r} twice", key)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> Any:
        _refuse_if(len(node.value) > _LONGEST_NUMBER, "a number of too many digits", node)
        is_whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if is_whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _PlainLoader.construct_number)


def _refuse_if(is_so: bool, what: str, place: Any) -> None:
    if is_so:
        raise yaml.MarkedYAMLError(problem=what, problem_mark=place.start_mark)


def _told(error: yaml.MarkedYAMLError) -> str:
    """One line: what is wrong, and where."""
    told = " ".join(f"{error.context or ''} {error.problem or ''}".split())[:_SHOWN]
    mark = error.problem_mark or error.context_mark
    return f"{told}, in line {mark.line + 1}, column {mark.column + 1}" if mark else told


def _refused(where: str, got: str) -> UserError:
    return UserError.single(
        where,
        got[: 2 * _SHOWN],
        "well-formed YAML: plain values, each key once, no anchors, aliases or tags",
        "write the value out where it is needed",
    )
