"""`SealedModel`: a service's model that lies sealed in the store, opened before anything is answered."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from _bentoml_sdk.models import BentoModel

from ..artifacts.loading import As, check_loading, load_from
from ..artifacts.opening import Artifact, open_artifact
from ..artifacts.verifying import verify
from ..errors import ArtifactError, InvalidValue
from .including import check_no_keys

if TYPE_CHECKING:
    from bentoml._internal.bento.bento import BentoModelInfo

    from ..artifacts.keys import Identities
    from ..artifacts.kms import Kms
    from ..artifacts.policy import TrustPolicy

__all__ = ["SealedModel"]

Loaded = TypeVar("Loaded")


class SealedModel(BentoModel, Generic[Loaded]):  # type: ignore[misc]  # BentoML's SDK carries no types
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

    Raises:
        InvalidValue: the loader is nothing to call, ``as_`` is none of the four, or no path is given for one
            that needs it; or ``bentoml build`` would pack a secret key.

    Example::

        @bentoml.service
        class Screening:
            model = SealedModel("screening:champion", "model.joblib", loader=joblib.load)
    """

    def __init__(
        self,
        tag: str,
        path: str | None = None,
        *,
        loader: Callable[[Any], Loaded],
        as_: As = "file",
        policy: TrustPolicy | Path | str | None = None,
        identity: Identities | Path | str | None = None,
        kms: Mapping[str, Kms] | None = None,
    ) -> None:
        try:
            check_loading(loader, as_)
        except InvalidValue as error:
            raise InvalidValue(f"SealedModel({tag!r}): {error}") from None
        if path is None and as_ != "folder":
            raise InvalidValue(
                f"SealedModel({tag!r}): path=None is for as_='folder' alone; name a file of the artifact"
            )
        super().__init__(tag)
        check_no_keys()
        code = Path(sys._getframe(1).f_globals.get("__file__", ".")).absolute().parent  # noqa: SLF001 - who says it
        self._keep(
            path=path,
            loader=loader,
            as_=as_,
            policy=code / policy if isinstance(policy, (str, Path)) else policy,
            identity=code / identity if isinstance(identity, (str, Path)) else identity,
            kms=kms,
        )

    def _keep(self, **facts: Any) -> None:
        """Note what there is beside the tag; references of BentoML's cannot be changed."""
        self.__dict__.update(facts, held=[], loading=threading.Lock())

    if TYPE_CHECKING:
        path: str | None
        loader: Callable[[Any], Loaded]
        as_: As
        policy: TrustPolicy | Path | None
        identity: Identities | Path | None
        kms: Mapping[str, Kms] | None
        held: list[Loaded]
        loading: threading.Lock

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        """Return what is loaded, and nothing of keys."""
        return f"SealedModel({str(self.tag)!r}, {self.path!r}, loader={self.loader!r}, as_={self.as_!r})"

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

    @overload
    def __get__(self, instance: None, owner: type) -> SealedModel[Loaded]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Loaded: ...

    def __get__(self, instance: object, owner: type) -> SealedModel[Loaded] | Loaded:
        if instance is None:
            return self
        with self.loading:
            if not self.held:
                self.held.append(self._load())
        return self.held[0]

    def check(self) -> None:
        """Verify every byte of it, and that there is a key; nothing is decrypted.

        Raises:
            ArtifactError: it does not pass, or cannot be found; its class and text say why.
        """
        with self._named():
            verified = verify(str(self.tag), policy=self.policy)
            if self.path is not None:
                verified.manifest.find(self.path)
            self._open()

    def with_tag(self, tag: str) -> SealedModel[Loaded]:
        """Return the same reference to another model of the store."""
        other = SealedModel(tag, self.path, loader=self.loader, as_=self.as_, kms=self.kms)
        other.__dict__.update(policy=self.policy, identity=self.identity)
        return other

    @classmethod
    def from_info(cls, info: BentoModelInfo) -> BentoModel:
        """Return a plain reference: a build knows what is packed, and not how it is loaded."""
        return BentoModel(info.tag)

    def _open(self) -> Artifact:
        return open_artifact(str(self.tag), policy=self.policy, identity=self.identity, kms=self.kms)

    def _load(self) -> Loaded:
        with self._named():
            return load_from(self._open(), self.path, loader=self.loader, as_=self.as_)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say which model it is: a service has several, and not every check names the one it is about."""
        try:
            yield
        except ArtifactError as error:
            if str(error).startswith(str(self.tag)):
                raise
            raise type(error)(f"{self.tag}: {error}") from error.__cause__
