"""Comparing with sources that nobody imports: as text, with the same digests as of what is imported."""

from __future__ import annotations

from pathlib import Path

import megatron.core
import pytest
import torch

from megatron_fugaku.cli import main
from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches import PATCHES, TRAINING_PATCHES
from megatron_fugaku.patches.against import check_against, digest_at, source_of
from megatron_fugaku.patches.cuda_scan import scan_cuda_names

SITE_PACKAGES = Path(torch.__file__).parents[1]
FILES = {
    "package/__init__.py": "from .inner import *\nfrom .inner import moved as renamed\n",
    "package/inner.py": '''import functools

@functools.lru_cache
def cached(x):
    return 1  # the end

class Thing:
    @staticmethod
    def method():
        def nested():
            return 2
        return nested

try:
    import nothing
except ImportError:
    def fallback():
        return 3

def moved():
    return 4
''',
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("path", "source"), [
    ("package.inner:cached", "@functools.lru_cache\ndef cached(x):\n    return 1  # the end\n"),
    ("package.inner:Thing.method", "    @staticmethod\n    def method():\n        def nested():\n            return 2\n"
     "        return nested\n"),
    ("package.inner:fallback", "    def fallback():\n        return 3\n"),
    ("package:cached", "@functools.lru_cache\ndef cached(x):\n    return 1  # the end\n"),
    ("package:renamed", "def moved():\n    return 4\n"),
    ("package", FILES["package/__init__.py"]),
    ("package.inner:gone", None), ("package.gone:x", None), ("package.inner:Thing.gone", None),
])
def test_sources_are_found_by_name(root, path, source):
    assert source_of(root, path) == source


@pytest.mark.parametrize("patch", [patch for patch in PATCHES if patch.is_applicable()], ids=lambda patch: patch.id)
def test_the_digest_of_text_is_that_of_what_is_imported(patch):
    assert digest_at(SITE_PACKAGES, patch) == patch.source[patch.installed_version()]


def test_what_is_installed_fits():
    assert Path(megatron.core.__file__).parents[2] == SITE_PACKAGES
    statuses = check_against(SITE_PACKAGES, PATCHES)
    assert {status.id for status in statuses} >= {patch.id for patch in TRAINING_PATCHES if patch.is_applicable()}
    assert {status.status for status in statuses} == {"fits"}


def test_a_changed_and_a_missing_source(tmp_path):
    core = tmp_path / "megatron" / "core"
    core.mkdir(parents=True)
    (core / "package_info.py").write_text("MAJOR = 0\nMINOR = 16\nPATCH = 1\nPRE_RELEASE = ''\n")
    (core / "jit.py").write_text("def jit_fuser(function):\n    return function\n")
    statuses = {status.id: status for status in check_against(tmp_path, TRAINING_PATCHES)}
    assert statuses["jit-fuser"].status == "drifted"
    assert statuses["rng-fork"].status == "broken"
    assert "CudaRNGStatesTracker.fork does not exist" in statuses["rng-fork"].detail
    assert "cuda-synchronize" not in statuses
    (core / "package_info.py").write_text("MAJOR = 9\nMINOR = 16\nPATCH = 1\nPRE_RELEASE = ''\n")
    from megatron_fugaku.patches.upstreams import upstreams_at

    upstreams_at.cache_clear()
    assert {status.status for status in check_against(tmp_path, TRAINING_PATCHES)} == {"broken"}


def test_a_folder_without_upstreams(tmp_path, capsys):
    with pytest.raises(PatchError, match="has none of"):
        check_against(tmp_path, PATCHES)
    assert main(["patches", "check", "--against", str(tmp_path / "no")]) == PatchError.exit_code
    assert "there is no folder" in capsys.readouterr().err


def test_the_report_is_a_table(capsys):
    assert main(["patches", "check", "--against", str(SITE_PACKAGES)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "megatron-core" in lines[0]
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0].split() == ["|", "patch", "|", "status", "|", "version", "|", "digest", "|", "detail", "|"]
    assert set(rows[1]) <= set("|- ")
    assert any(row.startswith("| rng-fork ") for row in rows)
    assert any(row.startswith("| torch.cuda.get_device_properties ") for row in rows), "nothing answers it"


def test_cuda_names_and_what_answers_them(tmp_path):
    (tmp_path / "needs.py").write_text("import torch\nimport apex.optimizers\nfrom torch.cuda import nothing_like_it\n"
                                       "torch.cuda.synchronize()\ntorch.cuda.synchronize()\n")
    (tmp_path / "optional.py").write_text(
        "try:\n    import triton.language\nexcept ImportError:\n    pass\n"
        "def f():\n    import fused_thing_cuda, torch\n    torch.cuda.empty_cache()\n    return torch.cuda.memory.x\n")
    found = {name.name: name for name in scan_cuda_names(tmp_path.glob("*.py"), PATCHES, tmp_path)}
    assert {name: cuda.answer for name, cuda in found.items()} == {
        "apex": "none", "torch.cuda.nothing_like_it": "none", "torch.cuda.synchronize": "cuda-synchronize",
        "triton": "optional", "fused_thing_cuda": "optional", "torch.cuda.empty_cache": "torch",
        "torch.cuda.memory": "torch"}
    assert (found["torch.cuda.synchronize"].num_uses, found["torch.cuda.synchronize"].first_use) == (2, "needs.py:4")
