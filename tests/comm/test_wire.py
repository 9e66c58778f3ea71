"""Which groups' sums travel in 16 bits. What then travels, real ranks say in test_schedules.py."""

from __future__ import annotations

import pytest

from megatron_fugaku.comm import wire


@pytest.fixture(autouse=True)
def no_rules(monkeypatch):
    monkeypatch.delenv("MFUGAKU_COMM_WIRE", raising=False)
    yield
    wire.set_wire_rules("")


def test_float32_unless_asked_for():
    assert wire.format_for("DATA_PARALLEL_GROUP") == wire.format_for("") == "fp32"


def test_dimensions_stand_for_groups_of_megatron_core():
    wire.set_wire_rules("tensor=bf16,data=fp16")
    assert wire.format_for("TENSOR_MODEL_PARALLEL_GROUP") == "bf16"
    assert wire.format_for("DATA_PARALLEL_GROUP_WITH_CP") == "fp16"
    assert wire.format_for("EMBEDDING_GROUP") == wire.format_for("MODEL_PARALLEL_GROUP") == "fp32"


def test_the_environment_wins_and_the_first_rule_that_fits_decides(monkeypatch):
    wire.set_wire_rules("tensor=bf16,all=fp16")
    monkeypatch.setenv("MFUGAKU_COMM_WIRE", "MINE=fp32,data=bf16,DATA_PARALLEL_GROUP=fp16")
    assert [wire.format_for(name) for name in ("MINE", "DATA_PARALLEL_GROUP", "TENSOR_MODEL_PARALLEL_GROUP", "")] == [
        "fp32", "bf16", "bf16", "fp16"]


def test_descriptions_are_those_of_the_installed_megatron_core():
    from pathlib import Path

    from megatron.core import parallel_state

    source = Path(parallel_state.__file__).read_text()
    for descriptions in wire._DESCRIPTIONS.values():
        for description in descriptions:
            assert f'group_desc="{description}"' in source


def test_rules_that_are_none():
    with pytest.raises(ValueError, match="GROUP=FORMAT"):
        wire.set_wire_rules("tensor:bf16")
