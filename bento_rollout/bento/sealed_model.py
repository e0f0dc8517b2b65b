"""`SealedModel`: a service's model that lies sealed in the store, opened before anything is answered."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from _bentoml_sdk.models import BentoModel

from ..artifacts.loading import As, load_from
from ..artifacts.opening import open_artifact
from ..artifacts.verifying import verify
from ..errors import InvalidValue

if TYPE_CHECKING:
    from bentoml._internal.bento.bento import BentoModelInfo

    from ..artifacts.keys import Identities
    from ..artifacts.kms import Kms
    from ..artifacts.policy import TrustPolicy

__all__ = ["SealedModel"]


def _beside_caller(given: Any) -> Any:
    """Return a relative path as one beside the file that makes the reference; anything else as it is."""
    if not isinstance(given, (str, Path)):
        return given
    frame: Any = sys._getframe(1)  # noqa: SLF001 - who writes the class
    while frame.f_code.co_name == "__init__" or frame.f_globals.get("__name__") in (__name__, "attr._make"):
        frame = frame.f_back
    return Path(frame.f_globals.get("__file__", ".")).absolute().parent / given


@attrs.frozen(eq=False)
class SealedModel(BentoModel):  # type: ignore[misc]  # BentoML's SDK carries no types
    """A reference to a sealed model, as a class attribute of a service; its instance has the loaded model.

    ``bentoml build`` packs what is sealed, and nothing else. Before a service starts, in the process that
    starts the workers, every byte is verified and the data key is asked for: a champion that does not pass
    ends the start with the check that failed; a candidate is ``failed``, with the champion answering for it.
    Each worker opens the model into memory of its own before it answers.

    Args:
        tag: ``name:version``, or ``name:latest``, which is resolved once for all workers.
        path: the file in the artifact; None for all of them, with ``as_="folder"``.
        loader: called with what ``as_`` says; see `bento_rollout.artifacts.load`.
        as_: ``file``, ``bytes``, ``path`` or ``folder``.
        policy: a `TrustPolicy`, or the path of a ``trust.toml`` (a relative one: beside the file that says
            it); by default what ``BENTO_ROLLOUT_TRUST`` names.
        identity: an age identity, or the path of its file; by default what the policy or
            ``BENTO_ROLLOUT_IDENTITY_FILE`` names.
        kms: key services, by the names under which they wrapped the data key.

    Example::

        @bentoml.service
        class Screening:
            model = SealedModel("screening:champion", "model.joblib", loader=joblib.load)
    """

    path: str | None = None
    loader: Callable[[Any], Any] | None = attrs.field(default=None, kw_only=True)
    as_: As = attrs.field(default="file", kw_only=True)
    policy: TrustPolicy | Path | str | None = attrs.field(
        default=None, kw_only=True, converter=_beside_caller, repr=False
    )
    identity: Identities | Path | str | None = attrs.field(
        default=None, kw_only=True, converter=_beside_caller, repr=False
    )
    kms: Mapping[str, Kms] | None = attrs.field(default=None, kw_only=True, repr=False)
    _loading: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)
    _held: list[Any] = attrs.field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.loader is None or not callable(self.loader):
            raise InvalidValue(
                f"SealedModel({str(self.tag)!r}): loader={self.loader!r} is nothing to call; "
                "write for example loader=joblib.load"
            )

    def __set_name__(self, owner: type, name: str) -> None:
        """Let the class that has it check it before a start, and open it in each worker's."""

        def check() -> None:
            self.check()

        def open_(instance: Any) -> None:
            getattr(instance, name)

        # This is how BentoML knows hooks: what `@bentoml.on_deployment` and `@bentoml.on_startup` set.
        vars(check)["__bentoml_deployment_hook__"] = True
        vars(open_)["__bentoml_startup_hook__"] = True
        setattr(owner, f"_bento_rollout_check_{name}", staticmethod(check))
        setattr(owner, f"_bento_rollout_open_{name}", open_)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        with self._loading:
            if not self._held:
                self._held.append(self._load())
        return self._held[0]

    def check(self) -> None:
        """Verify every byte of it, and that there is a key; nothing is decrypted.

        Raises:
            ArtifactError: it does not pass, or cannot be found; its class and text say why.
        """
        verified = verify(str(self.tag), policy=self.policy)
        if self.path is not None:
            verified.manifest.find(self.path)
        self._open()

    def with_tag(self, tag: str) -> SealedModel:
        """Return the same reference to another model of the store."""
        return attrs.evolve(self, tag=tag)  # type: ignore[call-arg]  # a field of BentoML's, which has no types

    @classmethod
    def from_info(cls, info: BentoModelInfo) -> BentoModel:
        """Return a plain reference: a build knows what is packed, and not how it is loaded."""
        return BentoModel(info.tag)

    def _open(self) -> Any:
        return open_artifact(str(self.tag), policy=self.policy, identity=self.identity, kms=self.kms)

    def _load(self) -> Any:
        assert self.loader is not None  # checked when it was made
        return load_from(self._open(), self.path, loader=self.loader, as_=self.as_)
