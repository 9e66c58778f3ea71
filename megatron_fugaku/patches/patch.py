"""What a patch is: a small declared object that says what it changes upstream, why, and when it may go."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import inspect
import re
import textwrap
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches.digests import DIGESTS
from megatron_fugaku.patches.upstreams import CHECKOUTS, UNKNOWN, find_version, is_checkout


def resolve(path: str) -> tuple[Any, str]:
    """Return (owner, attribute name) of ``"module:qualname"``, importing the module.

    Raises:
        PatchError: the module or a part of the qualname does not exist.
    """
    module_name, _, qualname = path.partition(":")
    try:
        owner: Any = importlib.import_module(module_name)
        *parents, name = qualname.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        inspect.getattr_static(owner, name)
    except (ImportError, AttributeError) as error:
        raise PatchError(f"patch target {path} does not exist: {error}", "the upstream it was written for has changed",
                         "install a supported version, see `mfugaku doctor`", path) from error
    return owner, name


def digest_text(text: str) -> str:
    """Return the SHA-256 of a source text, indentation aside."""
    return hashlib.sha256(textwrap.dedent(text).encode()).hexdigest()


def digest(thing: Any) -> str:
    """Return the digest of the source of a function, class or module."""
    return digest_text(inspect.getsource(thing))


def find_file(module: str) -> str | None:
    """Return the file of a module on the import path, importing neither it nor its packages; None where there is none.
    """
    parts, locations = module.split("."), None
    for index in range(len(parts)):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:index + 1]), locations)
        if spec is None:
            return None
        locations = spec.submodule_search_locations
    return spec.origin


def is_findable(module: str) -> bool:
    """Say whether a module can be found on the import path."""
    return find_file(module) is not None


def digest_file(module: str) -> str:
    """Return the SHA-256 of the text of a module's file.

    Raises:
        PatchError: there is no such file.
    """
    file = find_file(module)
    if file is None:
        raise PatchError(f"{module} does not exist", "the upstream it was written for has changed",
                         "run `mfugaku patches check`", module)
    with tokenize.open(file) as text:
        return digest_text(text.read())


@dataclass(frozen=True)
class Patch:
    """One change to upstream.

    Attributes:
        id: short name, unique.
        target: ``"module:qualname"`` of what changes; ``"module"`` alone is a module that upstream imports and that
            cannot be loaded here.
        kind: ``replace`` puts another implementation there, ``wrap`` runs the original inside something,
            ``shim`` answers a CUDA name on a machine without CUDA.
        make: ``"module:function"``; called with the original, it returns the replacement. For a module that cannot be
            loaded it is called with None.
        reason: what breaks without the patch.
        distribution: the package patched, as pip names it, or the checkout, as :mod:`.upstreams` names it.
        upstream: PEP 440 range of versions the patch was written for.
        digest_of: ``"module"`` or ``"module:qualname"`` whose source is digested; empty means the target.
        upstream_ref: file of upstream.
        remove_when: the condition under which the patch can go.
        phase: ``import`` patches take effect while the module is first loaded (:mod:`.on_import`), because upstream
            uses the target right then; ``loaded`` ones at any time.
        check: ``"module:function"``; called without arguments after application, it returns None or what is wrong.
        unless: a module whose presence makes the patch unnecessary; empty for none.
        since: the first version that has the target; older ones of :attr:`upstream` do without the patch. Empty: all.
        before: the first version that no longer has it; that and newer ones do without the patch. Empty: none.
        group: ``training`` patches are what :mod:`megatron_fugaku.train` needs; ``scripts`` come in addition where
            programs of others run.
    """

    id: str
    target: str
    kind: Literal["replace", "wrap", "shim"]
    make: str
    reason: str
    distribution: str
    upstream: str
    upstream_ref: str
    remove_when: str
    digest_of: str = ""
    phase: Literal["import", "loaded"] = "loaded"
    check: str = ""
    unless: str = ""
    since: str = ""
    before: str = ""
    group: Literal["training", "scripts"] = "training"

    @property
    def target_module(self) -> str:
        """The module in which something changes, or which is made."""
        return self.target.partition(":")[0]

    @property
    def makes_module(self) -> bool:
        """Whether the target is a whole module that cannot be loaded."""
        return ":" not in self.target

    @property
    def source(self) -> Mapping[str, str]:
        """SHA-256 of the patched source by version, for the versions it was read in; see :func:`digest`."""
        return DIGESTS.get(self.id, {})

    def installed_version(self) -> str:
        """Return the version of the patched upstream that this process imports, without a local suffix.

        Raises:
            PatchError: it is not there.
        """
        version = find_version(self.distribution)
        if version is not None:
            return version
        if is_checkout(self.distribution):
            raise PatchError(f"there is no {self.distribution} on the import path", f"patch {self.id} changes it",
                             f"git clone {CHECKOUTS[self.distribution].repository}, and start a program of it by "
                             "`mfugaku run`", self.id)
        raise PatchError(f"{self.distribution} is not installed", f"patch {self.id} changes it",
                         f"pip install '{self.distribution}{self.upstream}'", self.id)

    def is_present(self) -> bool:
        """Say whether this process can import the patched upstream."""
        return find_version(self.distribution) is not None

    def is_applicable(self) -> bool:
        """Say whether this process can import the patched upstream, and in a version that the patch concerns."""
        return self.is_present() and self.concerns(self.installed_version())

    def is_needed(self) -> bool:
        """Say whether nothing makes the patch unnecessary; see :attr:`unless`, :attr:`since` and :attr:`before`."""
        if self.unless and is_findable(self.unless):
            return False
        version = find_version(self.distribution) if self.since or self.before else None
        return version is None or self.concerns(version)

    def concerns(self, version: str) -> bool:
        """Say whether a version has the target, or is to have it; see :attr:`since` and :attr:`before`."""
        if version == UNKNOWN:
            return True
        return ((not self.since or Version(version) >= Version(self.since))
                and (not self.before or Version(version) < Version(self.before)))

    @property
    def span(self) -> str:
        """The versions that the patch is for, in words; empty where it is for all of :attr:`upstream`."""
        bounds = (self.since and f"from {self.since} on", self.before and f"before {self.before}")
        return " and ".join(bound for bound in bounds if bound)

    def supports(self, version: str) -> bool:
        """Say whether a version lies in :attr:`upstream`. Of a commit that nobody has read, its sources decide."""
        if is_checkout(self.distribution) and not re.fullmatch(r"\d+\.\d+.*", version):
            return True
        return version != UNKNOWN and SpecifierSet(self.upstream, prereleases=True).contains(version)

    def is_supported(self) -> bool:
        """Say whether the installed version lies in :attr:`upstream`."""
        return self.supports(self.installed_version())

    def knows(self, version: str, found: str) -> bool:
        """Say whether a person has read the source of digest ``found``: in that version or, in a checkout of a commit
        that is not in the table, in any."""
        if version in self.source or not is_checkout(self.distribution):
            return self.source.get(version) == found
        return found in self.source.values()

    def current_digest(self, original: Any = None) -> str:
        """Return the digest of what is installed; ``original`` is the unpatched target when already patched."""
        path = self.digest_of or self.target
        module_name, _, qualname = path.partition(":")
        if not qualname:
            return digest_file(module_name)
        if original is not None and not self.digest_of:
            return digest(original)
        owner, name = resolve(path)
        return digest(inspect.unwrap(getattr(owner, name)))

    def build(self, original: Any) -> Any:
        """Return the replacement for ``original``."""
        owner, name = resolve(self.make)
        return getattr(owner, name)(original)
