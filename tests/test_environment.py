"""The table of environment variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import megatron_fugaku
from megatron_fugaku import environment
from megatron_fugaku.environment import VARIABLES, check_environment, get, parse_flag
from megatron_fugaku.errors import EnvironmentError

PACKAGE = Path(megatron_fugaku.__file__).parent


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), (" yes ", True), ("on", True), ("0", False),
                                             ("False", False), ("no", False), ("off", False)])
def test_flags(text, value):
    assert parse_flag(text) is value


@pytest.mark.parametrize("text", ["", "2", "maybe"])
def test_flags_that_are_none(text):
    with pytest.raises(ValueError, match="neither true nor false"):
        parse_flag(text)


def test_variables_have_prefix_default_of_their_type_and_a_sentence():
    for name, variable in VARIABLES.items():
        assert name == variable.name
        assert name.startswith(environment.PREFIX)
        assert type(variable.default) is (bool if variable.parse is parse_flag else variable.parse)
        assert variable.doc.endswith(".")


def test_values_are_parsed_and_defaults_given():
    assert get("MFUGAKU_COMM_TIMEOUT_S", {}) == 1800.0
    assert get("MFUGAKU_COMM_TIMEOUT_S", {"MFUGAKU_COMM_TIMEOUT_S": "2.5"}) == 2.5
    assert get("MFUGAKU_STRICT_PATCHES", {"MFUGAKU_STRICT_PATCHES": "on"}) is True
    with pytest.raises(KeyError):
        get("MFUGAKU_NO_SUCH", {})


def test_the_process_environment_is_read(monkeypatch):
    monkeypatch.setenv("MFUGAKU_CACHE", "elsewhere")
    assert get("MFUGAKU_CACHE") == "elsewhere"


def test_rules_for_algorithms():
    rules = "all_reduce@288:65536=lanes:24x12l,all_reduce=doubling,reduce_scatter:9=hierarchical:4+swing:2x3,all=ring"
    assert get("MFUGAKU_COMM_ALGORITHM", {"MFUGAKU_COMM_ALGORITHM": rules}) == rules
    assert get("MFUGAKU_COMM_ALGORITHM", {}) == ""


def test_numbers_of_bytes():
    for text, num_bytes in (("0", 0), ("4096", 4096), ("512M", 512 << 20), (" 16G ", 16 << 30)):
        assert get("MFUGAKU_COMM_ARENA_BYTES", {"MFUGAKU_COMM_ARENA_BYTES": text}) == num_bytes


@pytest.mark.parametrize(("name", "value", "part"), [
    ("MFUGAKU_COMM_ARENA_BYTES", "16 GB", "'16 GB' is no number of bytes like 4096, 512M or 16G"),
    ("MFUGAKU_COMM_TIMEOUT_S", "soon", "MFUGAKU_COMM_TIMEOUT_S='soon' cannot be read as float"),
    ("MFUGAKU_COMM_TRACE", "perhaps", "neither true nor false"),
    ("MFUGAKU_COMM_ALGORITHM", "all=ring,all_reduce=fast", "'all_reduce=fast' is not COLLECTIVE[@RANKS]"),
    ("MFUGAKU_COMM_ALGORITHM", "all=lanes:2x0", "'all=lanes:2x0' is not"),
    ("MFUGAKU_COMM_ALGORITHM", "all=hierarchical+mpi", "'all=hierarchical+mpi' is not"),
    ("MFUGAKU_COMM_ALGORITHM", "all=hierarchical:1+ring", "'all=hierarchical:1+ring' is not"),
    ("MFUGAKU_COMM_WIRE", "tensor=bf8", "'tensor=bf8' is not GROUP=FORMAT"),
    ("MFUGAKU_COMM_RANKS_PER_NODE", "-2", "'-2' is no number of 0 or more"),
    ("MFUGAKU_COMM_TIMEOUT", "5", "Did you mean MFUGAKU_COMM_TIMEOUT_S? [MFUGAKU_COMM_TIMEOUT]"),
    ("MFUGAKU_ZZZZZZZZZZ", "5", "Known are: MFUGAKU_CACHE, "),
])
def test_unknown_variables_and_unreadable_values_are_errors(name, value, part):
    with pytest.raises(EnvironmentError, match=re.escape(part)):
        check_environment({"PATH": "/bin", name: value})


def test_others_are_left_alone():
    check_environment({"PATH": "", "MEGATRON": "x", "NOT_MFUGAKU_X": "1"})


def test_every_variable_in_the_sources_is_declared():
    csrc = PACKAGE.parent / "csrc"
    sources = [*PACKAGE.rglob("*.py"), *csrc.rglob("*.cpp"), *csrc.rglob("*.h")]
    used = {name for path in sources for name in re.findall(r"[\"']MFUGAKU_[A-Z_]+[\"']", path.read_text("utf-8"))}
    assert {name[1:-1] for name in used} <= set(VARIABLES) | {environment.PREFIX}
