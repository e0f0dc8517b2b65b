"""BentoML's model store as a shelf of artifacts."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import MODEL_YAML_FILENAME, ModelContext, ModelInfo, ModelOptions
from bentoml._internal.tag import Tag
from bentoml.exceptions import BentoMLException

from ..artifacts.files import write_new
from ..artifacts.scratch import scratch
from ..artifacts.shelf import (
    FolderShelf,
    Shelved,
    check_tag_part,
    refuse_existing,
    settle,
    split_tag,
)
from ..artifacts.writing import FILE_MODE
from ..errors import ArtifactNotFound

__all__ = ["ModelShelf"]


class ModelShelf:
    """The model store that BentoML itself would look into now: ``BENTOML_HOME``, or that of a built bento.

    Nothing of ``model.yaml`` is read to find an artifact: whoever can write it may write anything. BentoML's
    own way to publish writes to a temporary folder and copies; here the folder is moved when all of it is
    there, so that a crash leaves no half of a model in the store.
    """

    def find(self, tag: str) -> Shelved:
        """Return where an artifact lies; see `Shelf.find`. Aliases of a built bento are followed."""
        tag = BentoMLContainer.model_aliases.get().get(tag, tag)
        name, version = split_tag(tag)
        shelf = FolderShelf(_root())
        try:
            return shelf.find(tag)
        except ArtifactNotFound:
            if version is not None:
                raise
        # BentoML finds the newest version without `latest`, and mends that.
        try:
            newest = BentoMLContainer.model_store.get().get(name)
        except (BentoMLException, OSError) as error:
            raise ArtifactNotFound(f"{name} is not in BentoML's model store: {error}") from None
        return shelf.find(f"{name}:{Path(newest.path).name}")

    @contextmanager
    def publish(self, name: str, version: str | None) -> Iterator[Shelved]:
        """Give a folder for a new model; see `Shelf.publish`. Its ``model.yaml`` is written last."""
        check_tag_part("name", name)
        tag = Tag(name, check_tag_part("version", version)) if version else Tag(name, None).make_new_version()
        root = _root()
        target = root / tag.path()
        refuse_existing(target, str(tag))
        root.mkdir(parents=True, exist_ok=True)
        # Beside the store: what lies in it is listed as a model, whatever its name.
        with scratch(root.parent, f".{root.name}-sealing-") as draft:
            made = draft / target.name
            made.mkdir()
            yield Shelved(name, target.name, made)
            info = ModelInfo(
                tag=tag,
                module="",
                api_version="v1",
                labels={},
                options=ModelOptions(),
                metadata={},
                context=ModelContext("bento-rollout", {}),
                signatures={},
            )
            text = io.StringIO()
            info.dump(text)
            write_new(made / MODEL_YAML_FILENAME, text.getvalue().encode(), FILE_MODE)
            settle(made, target, newest=True)


def _root() -> Path:
    return Path(BentoMLContainer.model_store.get()._path)  # noqa: SLF001 - its folder has no public name
