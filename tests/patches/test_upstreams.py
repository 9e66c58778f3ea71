"""Which upstream stands in a folder, and which of several a process imports."""

from __future__ import annotations

import sys

import pytest

from megatron_fugaku.patches import upstreams
from megatron_fugaku.patches.upstreams import UNKNOWN, find_version, read_commit, root_of_file, upstreams_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PACKAGE_INFO = 'MAJOR = 0\nMINOR = 16\nPATCH = 1\nPRE_RELEASE = "{}"\nVERSION = (MAJOR, MINOR, PATCH, PRE_RELEASE)\n'


@pytest.fixture(autouse=True)
def fresh():
    upstreams_at.cache_clear()
    yield
    upstreams_at.cache_clear()


def write(root, **files):
    for name, text in files.items():
        path = root / "megatron" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def write_head(root, head: str = f"{COMMIT}\n"):
    (root / ".git").mkdir(exist_ok=True)
    (root / ".git" / "HEAD").write_text(head)


def test_folders_are_told_apart_by_what_they_hold(tmp_path):
    assert upstreams_at(tmp_path) == {}
    core = write(tmp_path / "core", core__package_info=PACKAGE_INFO.format(""))
    assert upstreams_at(core) == {"megatron-core": "0.16.1"}
    lm = write(tmp_path / "lm", core__package_info=PACKAGE_INFO.format("rc2"), training__arguments="")
    assert upstreams_at(lm) == {"megatron-core": "0.16.1rc2", "Megatron-LM": "0.16.1rc2"}
    deepspeed = write(tmp_path / "ds", core__package_info=PACKAGE_INFO.format(""), global_vars="",
                      model__transformer="")
    assert upstreams_at(deepspeed) == {"Megatron-DeepSpeed": UNKNOWN}


def test_a_version_that_cannot_be_read(tmp_path):
    assert upstreams_at(write(tmp_path, core__package_info="MAJOR = x")) == {"megatron-core": UNKNOWN}


@pytest.mark.parametrize(("commit", "version"), [
    (COMMIT, COMMIT[:8]), ("4efb479d5317ce9b86096b9d8e3e8030b0b5263b", "2025.7.16")])
def test_a_commit_is_a_version_if_it_is_known(tmp_path, commit, version):
    write(tmp_path, global_vars="", model__transformer="")
    write_head(tmp_path, f"{commit}\n")
    assert upstreams_at(tmp_path) == {"Megatron-DeepSpeed": version}


def test_commits_are_read_without_git(tmp_path):
    assert read_commit(tmp_path) == ""
    write_head(tmp_path)
    assert read_commit(tmp_path) == COMMIT
    write_head(tmp_path, "ref: refs/heads/main\n")
    assert read_commit(tmp_path) == ""
    (tmp_path / ".git" / "packed-refs").write_text(
        f"# pack-refs\n{'f' * 40} refs/heads/other\n{COMMIT} refs/heads/main\n")
    assert read_commit(tmp_path) == COMMIT
    loose = tmp_path / ".git" / "refs" / "heads" / "main"
    loose.parent.mkdir(parents=True)
    loose.write_text(f"{'a' * 40}\n")
    assert read_commit(tmp_path) == "a" * 40


def test_commits_of_work_trees(tmp_path):
    git = tmp_path / "repository" / "worktrees" / "one"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/one\n")
    (git / "commondir").write_text("../..\n")
    (tmp_path / "repository" / "packed-refs").write_text(f"{COMMIT} refs/heads/one\n")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {git}\n")
    assert read_commit(tree) == COMMIT


def test_a_checkout_on_the_import_path_stands_before_what_is_installed(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "megatron"]:
        monkeypatch.delitem(sys.modules, name)
    installed = find_version("megatron-core")
    assert installed and find_version("Megatron-LM") is None
    write(tmp_path, core__package_info=PACKAGE_INFO.format("").replace("16", "15"), training__arguments="")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_version("megatron-core") == find_version("Megatron-LM") == "0.15.1"
    assert find_version("Megatron-DeepSpeed") is None
    sys.path.append(sys.path.pop(0))  # as its tools put it there: behind what is installed
    assert (find_version("megatron-core"), find_version("Megatron-LM")) == (installed, "0.15.1")


def test_other_distributions_are_asked_for_by_their_metadata():
    assert find_version("no-such-package-here") is None
    assert find_version("torch").count(".") == 2


@pytest.mark.parametrize(("module", "file", "root"), [
    ("megatron", "/x/megatron/__init__.py", "/x"), ("megatron.core.jit", "/x/megatron/core/jit.py", "/x"),
    ("megatron.core", "/x/megatron/core/__init__.py", "/x"), ("single", "/x/single.py", "/x")])
def test_the_folder_from_which_a_module_came(module, file, root):
    assert str(root_of_file(module, file)) == root


def test_every_known_commit_is_one():
    for checkout in upstreams.CHECKOUTS.values():
        assert checkout.repository.startswith("https://github.com/")
        assert all(len(commit) == 40 and int(commit, 16) for commit in checkout.commits)
