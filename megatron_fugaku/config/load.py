"""YAML files to :class:`RunConfig`: ``extends:``, ``scale:`` and dotted overrides, with errors that name the key."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from megatron_fugaku.config.schema import RunConfig
from megatron_fugaku.errors import ConfigError

_TAG = "tag:yaml.org,2002:"
_NUMBERS = {
    "int": r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)",
    "float": r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-4`` as text, ``24:00:00`` as a number of base 60 and a date as an object, and silently
    keeps the last of two equal keys; all of them surprise people."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers
                if tag not in (_TAG + "int", _TAG + "float", _TAG + "timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would take for a number."""


for _name, _pattern in _NUMBERS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), list("-+0123456789."))


def _construct_mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == _TAG + "merge":
            continue
        key = loader.construct_object(key_node, deep=deep)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is not a name", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML text; ``where`` names it in errors.

    Raises:
        ConfigError: the text is not YAML, or a key stands twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{where} is not valid YAML: {' '.join(str(error).split())}", "nothing can be read from it",
            "correct the line that the message names", where) from error


def merge(base: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated by ``update``, mapping by mapping; lists and values are replaced whole."""
    merged = dict(base)
    for key, value in update.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _read(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in chain:
        loop = " -> ".join(str(p) for p in (*chain, path.resolve()))
        raise ConfigError(f"{path} extends itself: {loop}", "the files would be read forever",
                          "remove one `extends:`", "extends")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path} cannot be read: {reason}", "a run is described by one YAML file",
                          "give the path of an existing file", str(path)) from error
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}, not a mapping of sections",
                          "a run is described by sections such as model: and train:", "see examples/", str(path))
    parent = content.pop("extends", None)
    if parent is None:
        return content
    if not isinstance(parent, str):
        raise ConfigError(f"{path}: extends is {parent!r}, not the path of a file", "it names the file to start from",
                          "give one path, relative to this file", "extends")
    return merge(_read(path.parent / parent, (*chain, path.resolve())), content)


def parse_override(text: str) -> dict[str, Any]:
    """Turn ``train.train_iters=20`` into ``{"train": {"train_iters": 20}}``; the value is read as YAML.

    Raises:
        ConfigError: there is no ``=`` or no key.
    """
    key, separator, value = text.partition("=")
    if not separator or not all(key.split(".")):
        raise ConfigError(f"override {text!r} is not of the form section.key=value", "it would change nothing",
                          "write for example train.train_iters=20", text)
    nested: Any = parse_yaml(value, key)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return nested


def _model_at(location: Sequence[str | int]) -> type[BaseModel] | None:
    model: Any = RunConfig
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is None:
            return None
        candidates = [field.annotation, *get_args(field.annotation)]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return None
    return model


def _explain(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    location = first["loc"]
    if len(location) > 1 and isinstance(location[-2], int):
        location = location[:-1]  # of a list's item that may have several types, pydantic names the one it tried
    key = ".".join(str(part) for part in location)
    more = f" ({error.error_count() - 1} more like it)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        section = _model_at(location[:-1])
        known = list(section.model_fields) if section else []
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        fix = f"did you mean {near[0]}?" if near else f"known here are: {', '.join(known)}"
        return ConfigError(f"{where}: unknown key {key}{more}", "a misspelt setting would silently do nothing", fix,
                           key)
    if first["type"] == "missing":
        return ConfigError(f"{where}: {key} is missing{more}", "it has no default that would be right for every run",
                           f"add {key}", key)
    return ConfigError(f"{where}: {key} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}{more}",
                       "the run cannot be built from it", "correct the value", key)


def load_config(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run configuration.

    Args:
        path: YAML file; its ``extends:`` is relative to it.
        overrides: ``section.key=value`` texts, applied last (``scale=NAME`` picks one of the file's ``scales:``).

    Raises:
        ConfigError: naming the file and key at fault.
    """
    content = _read(Path(path), ())
    scales = content.pop("scales", None) or {}
    if not isinstance(scales, dict) or not all(isinstance(changes, dict) for changes in scales.values()):
        raise ConfigError(f"{path}: scales is {scales!r}", "it holds sets of changes by name", "write for example "
                          "scales: {toy: {train: {train_iters: 20}}}", "scales")
    changes: dict[str, Any] = {}
    for text in overrides:
        changes = merge(changes, parse_override(text))
    scale = changes.get("scale", content.get("scale"))
    if scale is not None:
        if not isinstance(scale, str) or scale not in scales:
            raise ConfigError(f"{path}: scale {scale!r} is not one of {sorted(scales)}", "its overrides are unknown",
                              "choose one of them or define it under scales:", "scale")
        content = merge(content, scales[scale])
    return build_config(merge(content, changes), str(path))


def build_config(content: dict[str, Any], where: str = "config") -> RunConfig:
    """Validate an already merged mapping.

    Raises:
        ConfigError: naming ``where`` and the key at fault.
    """
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise _explain(error, where) from None


def dump_config(config: RunConfig) -> str:
    """Return the resolved configuration as YAML, readable by :func:`load_config`."""
    content = config.model_dump(mode="json", by_alias=True, exclude={"scale"})
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
