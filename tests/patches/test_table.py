"""The declared patches: how many, that each is complete, and that all fit the installed versions."""

from __future__ import annotations

import re
import types

import pytest

from megatron_fugaku.cli import main
from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches import PATCHES, TRAINING_PATCHES, check
from megatron_fugaku.patches.digests import DIGESTS
from megatron_fugaku.patches.patch import resolve
from megatron_fugaku.patches.upstreams import is_checkout

# Another patch is a decision: change the number knowingly.
NUM_TRAINING_PATCHES = 28
NUM_PATCHES = 93


def test_the_number_of_patches_is_a_decision():
    assert len(PATCHES) == NUM_PATCHES
    assert len({patch.id for patch in PATCHES}) == NUM_PATCHES
    assert len({(patch.distribution, patch.target) for patch in PATCHES}) == NUM_PATCHES
    assert len(TRAINING_PATCHES) == NUM_TRAINING_PATCHES
    assert PATCHES[:NUM_TRAINING_PATCHES] == TRAINING_PATCHES
    assert {patch.group for patch in TRAINING_PATCHES} == {"training"}
    assert {patch.group for patch in PATCHES[NUM_TRAINING_PATCHES:]} == {"scripts"}
    assert not any(is_checkout(patch.distribution) for patch in TRAINING_PATCHES)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.id)
def test_a_patch_is_complete(patch):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", patch.id)
    assert patch.kind in ("replace", "wrap", "shim")
    for field in ("target", "make", "reason", "distribution", "upstream", "upstream_ref", "remove_when"):
        assert getattr(patch, field).strip(), field
    assert len(patch.reason.split()) >= 4
    assert patch.reason[-1] != "."
    assert "<" in patch.upstream, "a patch needs an upper bound"
    if patch.is_applicable():
        assert patch.is_supported()
        if not patch.makes_module:
            resolve(patch.target)
    else:
        assert is_checkout(patch.distribution) or patch.span
        assert all(patch.supports(version) for version in patch.source)
    owner, name = resolve(patch.make)
    assert isinstance(getattr(owner, name), types.FunctionType)
    assert getattr(owner, name).__doc__
    if patch.check:
        resolve(patch.check)
    module = (patch.digest_of or patch.target).partition(":")[0].replace(".", "/")
    assert patch.upstream_ref in (f"{module}.py", f"{module}/__init__.py") or patch.upstream_ref.startswith(module)
    if patch.unless:
        assert patch.makes_module


def test_digests_belong_to_patches_and_are_digests():
    assert set(DIGESTS) == {patch.id for patch in PATCHES}
    for patch in PATCHES:
        assert patch.source
        for version, digest in patch.source.items():
            assert re.fullmatch(r"[0-9a-f]{64}", digest)
            assert re.fullmatch(r"\d+\.\d+\.\d+", version)


def test_every_supported_torch_is_known():
    for patch in PATCHES:
        if patch.distribution == "torch":
            assert {version.rpartition(".")[0] for version in patch.source} == {"2.10", "2.11", "2.12", "2.13"}


def test_all_fit_what_is_installed():
    assert [status for status in check() if status.status not in ("fits", "absent")] == []
    assert [status.id for status in check() if status.status == "absent"] == [
        patch.id for patch in PATCHES if not patch.is_applicable()]


def test_nothing_forbidden_is_patched():
    for patch in PATCHES:
        assert not patch.target.startswith(("torch:Tensor", "torch._tensor", "torch:compile", "importlib", "builtins"))


def test_list_names_every_patch(capsys):
    assert main(["patches", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [patch.id for patch in PATCHES]


def test_explain_says_everything(capsys):
    assert main(["patches", "explain", "rng-fork"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    [patch] = [patch for patch in PATCHES if patch.id == "rng-fork"]
    for words in (patch.reason, patch.target, patch.make, patch.upstream, patch.remove_when, *patch.source.values()):
        assert words in text


def test_explain_of_no_patch(capsys):
    assert main(["patches", "explain", "x"]) == PatchError.exit_code
    assert "there is no patch 'x'" in capsys.readouterr().err


def test_check_counts(capsys):
    assert main(["patches", "check"]) == 0
    absent = sum(not patch.is_applicable() for patch in PATCHES)
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"{NUM_PATCHES - absent} of {NUM_PATCHES - absent} patches fit, {absent} are for what is not there, as "
        "checkouts: --against PATH")


def test_digests_prints_the_lines_of_the_table(capsys):
    assert main(["patches", "digests"]) == 0
    printed = eval("{" + capsys.readouterr().out + "}")
    for name, versions in printed.items():
        assert versions.items() <= DIGESTS[name].items()
