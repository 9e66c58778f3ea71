"""What a patch is: a small declared object that says what it changes upstream, why, and when it may go."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from packaging.specifiers import SpecifierSet

from megatron_fugaku.errors import PatchError
from megatron_fugaku.patches.digests import DIGESTS


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


def digest(thing: Any) -> str:
    """Return the SHA-256 of the source text of a function, class or module, indentation aside."""
    return hashlib.sha256(textwrap.dedent(inspect.getsource(thing)).encode()).hexdigest()


@dataclass(frozen=True)
class Patch:
    """One change to upstream.

    Attributes:
        id: short name, unique.
        target: ``"module:qualname"`` of what changes.
        kind: ``replace`` puts another implementation there, ``wrap`` runs the original inside something,
            ``shim`` answers a CUDA name on a machine without CUDA.
        make: ``"module:function"``; called with the original, it returns the replacement.
        reason: what breaks without the patch.
        distribution: the package patched, as pip names it.
        upstream: PEP 440 range of versions the patch was written for.
        digest_of: ``"module"`` or ``"module:qualname"`` whose source is digested; empty means the target.
        upstream_ref: file of upstream.
        remove_when: the condition under which the patch can go.
        phase: ``import`` patches take effect while the module is first loaded (:mod:`.on_import`), because upstream
            uses the target right then; ``loaded`` ones at any time.
        check: ``"module:function"``; called without arguments after application, it returns None or what is wrong.
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

    @property
    def source(self) -> Mapping[str, str]:
        """SHA-256 of the patched source by version, for the versions it was read in; see :func:`digest`."""
        return DIGESTS.get(self.id, {})

    def installed_version(self) -> str:
        """Return the version of the patched distribution, without a local suffix such as ``+cpu``.

        Raises:
            PatchError: it is not installed.
        """
        try:
            return importlib.metadata.version(self.distribution).partition("+")[0]
        except importlib.metadata.PackageNotFoundError as error:
            raise PatchError(f"{self.distribution} is not installed", f"patch {self.id} changes it",
                             f"pip install '{self.distribution}{self.upstream}'", self.id) from error

    def is_supported(self) -> bool:
        """Say whether the installed version lies in :attr:`upstream`."""
        return SpecifierSet(self.upstream, prereleases=True).contains(self.installed_version())

    def current_digest(self, original: Any = None) -> str:
        """Return the digest of what is installed; ``original`` is the unpatched target when already patched."""
        path = self.digest_of or self.target
        module_name, _, qualname = path.partition(":")
        if not qualname:
            return digest(importlib.import_module(module_name))
        if original is not None and not self.digest_of:
            return digest(original)
        owner, name = resolve(path)
        return digest(inspect.unwrap(getattr(owner, name)))

    def build(self, original: Any) -> Any:
        """Return the replacement for ``original``."""
        owner, name = resolve(self.make)
        return getattr(owner, name)(original)
