"""What the processor can execute, and the refusal of one that torch's wheels do not run on."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from megatron_fugaku import processor
from megatron_fugaku.errors import EnvironmentError

# An A64FX's words of the auxiliary vector, AT_HWCAP (16) and AT_HWCAP2 (26), as Linux's arm64 hwcap.h numbers the bits.
A64FX = {16: 1 << 1 | 1 << 8 | 1 << 10 | 1 << 22, 26: 0}


def pretend(monkeypatch, words: dict[int, int]) -> None:
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(processor, "_has", lambda word, bit: bool(words[word] >> bit & 1))


def test_instruction_sets_come_from_the_auxiliary_vector_on_arm(monkeypatch):
    words = dict(A64FX)
    pretend(monkeypatch, words)
    assert processor.find_instruction_sets("aarch64", {"avx2"}) == ["asimd", "asimdhp", "sve"]
    words[26] = 1 << 1 | 1 << 12 | 1 << 13 | 1 << 14
    assert processor.find_instruction_sets("aarch64", set()) == ["asimd", "asimdhp", "sve", "sve2", "bf16", "i8mm",
                                                                         "svebf16"]
    assert processor.find_instruction_sets("x86_64", {"sse2", "fma", "avx2"}) == ["avx2", "fma"]


def test_bfloat16_products_are_those_of_arm(monkeypatch):
    words = dict(A64FX)
    pretend(monkeypatch, words)
    assert not processor.has_bfloat16_products()
    for words[16], words[26], has in ((1 << 1, 1 << 14, True), (1 << 22, 1 << 14, False),
                                      (1 << 22, 1 << 12 | 1 << 14, True)):
        assert processor.has_bfloat16_products() is has


def test_float16_arithmetic_is_that_of_sve_or_of_neon(monkeypatch):
    words = dict(A64FX)
    pretend(monkeypatch, words)
    for bits, has in ((1 << 1, False), (1 << 1 | 1 << 10, True), (1 << 1 | 1 << 22, True)):
        words[16] = bits
        assert processor.has_float16_arithmetic() is has
    monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
    assert not processor.has_float16_arithmetic()


def test_features_are_flags_and_vendor_of_the_first_cpu(monkeypatch, tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fma avx2\n\nprocessor\t: 1\nflags\t: mmx\n")
    assert processor.read_cpu_facts(tmp_path / "none") == {}
    facts = processor.read_cpu_facts(path)
    assert facts == {"processor": "0", "vendor_id": "AuthenticAMD", "flags": "fma avx2"}
    monkeypatch.setattr(processor, "read_cpu_facts", lambda: facts)
    assert processor.read_cpu_features() == {"AuthenticAMD", "fma", "avx2"}


def test_the_kernel_is_asked():
    """AT_PAGESZ (6) is a word of the auxiliary vector whose value is known from elsewhere."""
    size = os.sysconf("SC_PAGE_SIZE")
    assert [bit for bit in range(32) if processor._has(6, bit)] == [size.bit_length() - 1]


def test_torch_is_tried_only_where_the_atomics_are_missing(monkeypatch):
    def run(command, **options):
        raise AssertionError(f"{command} was started")

    monkeypatch.setattr(processor.subprocess, "run", run)
    processor.check_processor()
    pretend(monkeypatch, A64FX)
    processor.check_processor()


@pytest.mark.parametrize("status", [0, 1])
def test_a_torch_that_runs_without_them_is_let_through(monkeypatch, status):
    pretend(monkeypatch, {16: 1 << 1, 26: 0})
    monkeypatch.setattr(processor.sys, "executable", "/bin/false" if status else "/bin/true")
    processor.check_processor()


def test_a_torch_that_stops_is_refused(monkeypatch, tmp_path):
    """A process that ends as one does on an illegal instruction."""
    stops = tmp_path / "python"
    stops.write_text(f"#!/bin/sh\nkill -{int(signal.SIGILL)} $$\n")
    stops.chmod(0o755)
    assert subprocess.run([stops], check=False).returncode == -signal.SIGILL
    pretend(monkeypatch, {16: 1 << 1, 26: 0})
    monkeypatch.setattr(processor.sys, "executable", str(stops))
    with pytest.raises(EnvironmentError, match=r"older than Armv8\.1.*nothing runs without torch.*A64FX"):
        processor.check_processor()
