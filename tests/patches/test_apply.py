"""Applying patches: to a small upstream package of this test, so that nothing else in the process changes."""

from __future__ import annotations

import importlib
import sys

import pytest

from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches import patch as patching
from megatron_fugaku.patches.patch import Patch

# The package offers the function of that name.
applying = importlib.import_module("megatron_fugaku.patches.apply")
UPSTREAM = "upstream_of_this_test"
FILES = {
    "__init__.py": "",
    "core.py": '''
import functools
from os.path import basename

def answer():
    return "upstream"

def cached_source():
    return 1

cached = functools.lru_cache(cached_source)

class Thing:
    def method(self):
        return "upstream"

    @staticmethod
    def static():
        return "upstream"

    @classmethod
    def of_class(cls):
        return f"upstream {cls.__name__}"

FLAG = False
''',
    "early.py": '''
from upstream_of_this_test.core import answer, basename
from upstream_of_this_test.core import answer as renamed

def call():
    return answer(), renamed()
''',
}
MAKERS = '''
def build_answer(original):
    return lambda: "patched after " + original()

def build_method(original):
    return lambda self: "patched after " + original(self)

def build_true(original):
    return True

def build_basename(original):
    return lambda path: "patched"

def check_good():
    return None

def check_bad():
    return "it does not work"
'''


@pytest.fixture
def upstream(tmp_path, monkeypatch):
    """The package, importable and, by metadata, installed as version 1.2.3."""
    folder = tmp_path / UPSTREAM
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (tmp_path / "makers_of_this_test.py").write_text(MAKERS)
    information = tmp_path / f"{UPSTREAM}-1.2.3+local.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {UPSTREAM}\nVersion: 1.2.3+local\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(applying, "_ledger", {})
    monkeypatch.setattr(applying, "_originals", {})
    known: dict[str, dict[str, str]] = {}
    monkeypatch.setattr(patching, "DIGESTS", known)
    importlib.invalidate_caches()
    yield known
    for name in [name for name in sys.modules if name.startswith(UPSTREAM) or name == "makers_of_this_test"]:
        del sys.modules[name]


def make(target: str = "core:answer", maker: str = "build_answer", **changes) -> Patch:
    settings = {"id": "a-patch", "target": f"{UPSTREAM}.{target}", "kind": "replace",
                "make": f"makers_of_this_test:{maker}", "reason": "Nothing works", "distribution": UPSTREAM,
                "upstream": ">=1.2,<2", "upstream_ref": "core.py", "remove_when": "the test is over"}
    return Patch(**{**settings, **changes})


def know(known: dict, patch: Patch) -> Patch:
    """Record the digest of what is installed, as if a person had read it."""
    known[patch.id] = {"1.2.3": patch.current_digest()}
    return patch


def module(name: str):
    return importlib.import_module(f"{UPSTREAM}.{name}")


def test_a_patch_is_applied_once_and_stands_in_the_ledger(upstream):
    patch = know(upstream, make())
    [entry] = applying.apply([patch])
    assert module("core").answer() == "patched after upstream"
    assert applying.apply([patch]) == [entry]
    assert module("core").answer() == "patched after upstream"
    assert applying.ledger() == [{
        "id": "a-patch", "target": f"{UPSTREAM}.core:answer", "kind": "replace", "distribution": UPSTREAM,
        "version": "1.2.3", "digest": upstream["a-patch"]["1.2.3"], "drifted": False, "rebound": ()}]


def test_earlier_imports_of_the_name_are_rebound(upstream):
    early = module("early")
    [entry] = applying.apply([know(upstream, make())])
    assert early.call() == ("patched after upstream",) * 2
    assert set(entry.rebound) == {f"{UPSTREAM}.early:answer", f"{UPSTREAM}.early:renamed"}


def test_later_imports_get_it_too(upstream):
    applying.apply([know(upstream, make())])
    assert module("early").call() == ("patched after upstream",) * 2


def test_a_name_that_the_target_only_imported_stays_elsewhere(upstream):
    import os.path

    early, before = module("early"), os.path.basename
    patch = make("core:basename", "build_basename", digest_of=f"{UPSTREAM}.core")
    [entry] = applying.apply([know(upstream, patch)])
    assert module("core").basename("a/b") == "patched"
    assert entry.rebound == ()
    assert early.basename is before is os.path.basename


def test_class_methods_get_their_class(upstream):
    applying.apply([know(upstream, make("core:Thing.of_class", "build_method"))])
    assert module("core").Thing.of_class() == module("core").Thing().of_class() == "patched after upstream Thing"


@pytest.mark.parametrize("name", ["method", "static"])
def test_methods_and_static_methods(upstream, name):
    maker = "build_method" if name == "method" else "build_answer"
    applying.apply([know(upstream, make(f"core:Thing.{name}", maker))])
    thing = module("core").Thing()
    assert getattr(thing, name)() == "patched after upstream"


def test_a_flag_is_digested_by_its_module(upstream):
    patch = know(upstream, make("core:FLAG", "build_true", digest_of=f"{UPSTREAM}.core"))
    applying.apply([patch])
    assert module("core").FLAG is True
    assert applying.check([patch])[0].status == "fits"


def test_digests_look_through_wrappers_and_indentation(upstream):
    plain = make("core:answer").current_digest()
    assert plain == make("core:answer").current_digest()
    assert len(plain) == 64
    assert make("core:cached", "build_true").current_digest() != plain
    assert make("core:cached").current_digest() == patching.digest(module("core").cached_source)


@pytest.mark.parametrize("known", [{}, {"1.2.3": "0" * 64}, {"1.2.2": "right"}])
def test_drift_warns_and_is_an_error_in_strict_mode(upstream, monkeypatch, known):
    patch = make()
    upstream[patch.id] = {version: patch.current_digest() if digest == "right" else digest
                          for version, digest in known.items()}
    assert applying.check([patch])[0].status == "drifted"
    with monkeypatch.context() as strict:
        strict.setenv("MFUGAKU_STRICT_PATCHES", "1")
        with pytest.raises(PatchError, match="unknown digest"):
            applying.apply([patch])
    assert module("core").answer() == "upstream"
    assert applying.ledger() == []
    with pytest.warns(applying.PatchDriftWarning, match="a-patch"):
        [entry] = applying.apply([patch])
    assert entry.drifted
    assert module("core").answer() == "patched after upstream"


def test_unsupported_versions_are_refused(upstream):
    patch = know(upstream, make(upstream=">=1.3"))
    with pytest.raises(PatchError, match=r"1\.2\.3 is installed, patch a-patch is for >=1\.3\. Without it nothing"):
        applying.apply([patch])
    assert module("core").answer() == "upstream"
    assert applying.check([patch])[0].status == "broken"


@pytest.mark.parametrize("target", ["core:gone", "core:Thing.gone", "gone:answer"])
def test_a_target_that_is_gone(upstream, target):
    patch = make(target)
    with pytest.raises(PatchError, match="does not exist") as caught:
        applying.apply([patch])
    assert patch.target in str(caught.value)
    assert applying.check([patch])[0].status == "broken"


def test_a_package_that_is_not_installed(upstream):
    with pytest.raises(PatchError, match="no-such-package-here is not installed"):
        applying.apply([make(distribution="no-such-package-here")])


def test_checking_changes_nothing_and_knows_the_original_afterwards(upstream):
    patch = know(upstream, make())
    assert [status.status for status in applying.check([patch])] == ["fits"]
    assert module("core").answer() == "upstream"
    applying.apply([patch])
    assert [status.status for status in applying.check([patch])] == ["fits"]


def test_self_checks_report_what_is_wrong(upstream):
    good = know(upstream, make(check="makers_of_this_test:check_good"))
    bad = make("core:Thing.method", "build_method", id="b", check="makers_of_this_test:check_bad")
    know(upstream, bad)
    assert applying.run_checks([good, bad]) == {}, "only applied patches are checked"
    applying.apply([good, bad])
    assert applying.run_checks([good, bad]) == {"b": "it does not work"}


@pytest.mark.parametrize(("bounds", "applies", "span"), [
    ({}, True, ""), ({"since": "1.2"}, True, "from 1.2 on"), ({"since": "1.3"}, False, "from 1.3 on"),
    ({"before": "1.3"}, True, "before 1.3"), ({"before": "1.2"}, False, "before 1.2"),
    ({"since": "1.1", "before": "1.2.3"}, False, "from 1.1 on and before 1.2.3"),
])
def test_a_patch_for_some_versions(upstream, bounds, applies, span):
    patch = make(**bounds)
    assert (patch.is_applicable(), patch.is_needed(), patch.span) == (applies, applies, span)
    [status] = applying.check([patch])
    assert status.status == "absent" if not applies else status.status in ("fits", "drifted")
    assert applies or span in status.detail
