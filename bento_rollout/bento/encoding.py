"""What an endpoint is called with, as the body of an HTTP request; what comes back, as a value again."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import mimetypes
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import aiohttp
from _bentoml_sdk.io_models import ARGS, KWARGS, IORootModel
from pydantic import BaseModel

from .method import Method

__all__ = ["Encoding", "NotEncoded"]

PICKLED = "application/vnd.bentoml+pickle"
LENGTHS = "buffer-lengths"
"""A header that BentoML's pickled answers have, and no other: their media type says JSON."""

Headers = dict[str, str]


class NotEncoded(Exception):
    """An answer that is not in the form of the endpoint's values: a file, or a response of the code's own."""


class Encoding:
    """How one endpoint's inputs and answers cross to BentoML's server in another process.

    Args:
        method: the endpoint, as the champion has it.
        pickled: whether both sides are of this service: inputs and answers are pickled as ``bentoml.depends``
            does it. Never for a server that is somebody else's.
    """

    def __init__(self, method: Method, *, pickled: bool) -> None:
        self.input, self.output = method.input_spec, method.output_spec
        self.files: Sequence[str] = tuple(self.input.multipart_fields)
        # Items of a stream would lose their bounds; a file may not be where the other process is.
        self.pickled = pickled and not method.is_stream and not self.files
        self.pickles = pickled
        self.media_type = self.output.mime_type()
        schema = self.output.model_json_schema() if issubclass(self.output, IORootModel) else {}
        kind = schema.get("type")
        self.is_file = kind == "file"
        self.is_text = kind == "string"
        self.is_binary = self.is_text and schema.get("format") == "binary"

    # -- inputs ----------------------------------------------------------------------------------------

    def body(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Headers]:
        """Return the body for a call, and the headers that say what it is."""
        model = self._model(args, kwargs)
        if self.pickled:
            plain = model.model_dump(round_trip=True, by_alias=True)
            # In one piece, unlike BentoML's client: its arrays arrive as ones that cannot be written to.
            return pickle.dumps(plain, 5), {"content-type": PICKLED}
        if self.files:
            return self._with_files(model)
        if isinstance(model, IORootModel):
            plain = model.model_dump(mode="json", by_alias=True)
            if isinstance(plain, str):
                return plain.encode(), {"content-type": "text/plain"}
            return json.dumps(plain).encode(), {"content-type": "application/json"}
        # Not pydantic's own JSON, which has null for NaN.
        plain = model.model_dump(mode="json", by_alias=True, round_trip=True)
        return json.dumps(plain).encode(), {"content-type": "application/json"}

    def _model(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the inputs as BentoML's model of them; they were checked when they came in."""
        spec = self.input
        if getattr(spec, "__root_input__", False):
            if not args:
                return spec()
            value = args[0]
            if isinstance(value, spec):
                return value
            if issubclass(spec, IORootModel):
                return spec.model_construct(root=value)
            fields = value.__dict__ if isinstance(value, BaseModel) else value
            return spec.model_construct(**fields)
        values = dict(kwargs)
        if ARGS in spec.model_fields and args:
            values[ARGS] = list(args[0]) if len(args) == 1 and isinstance(args[0], (list, tuple)) else args
        if KWARGS in spec.model_fields:
            values[KWARGS] = {
                name: values.pop(name) for name in list(values) if name not in spec.model_fields
            }
        return spec.model_construct(**values)

    def _with_files(self, model: Any) -> tuple[Any, Headers]:
        if isinstance(model, IORootModel):
            content, _, media_type = _file(model.root)
            return content, {"content-type": media_type}
        form = aiohttp.FormData()
        others = model.model_dump(mode="json", by_alias=True, exclude=set(self.files))
        for name, value in others.items():
            form.add_field(name, json.dumps(value))
        for name in self.files:
            value = getattr(model, name, None)
            for one in value if isinstance(value, (list, tuple)) else () if value is None else (value,):
                content, file_name, media_type = _file(one)
                form.add_field(name, content, filename=file_name, content_type=media_type)
        return form, {}

    # -- answers ---------------------------------------------------------------------------------------

    def value(self, body: bytes, headers: Mapping[str, str]) -> Any:
        """Return what an endpoint answered.

        Raises:
            NotEncoded: for a response of the code's own, which has a meaning of its own.
            ValueError: for what is not of the form that the endpoint promises (pydantic's, too).
        """
        if self.pickled and LENGTHS in headers:
            # From a worker of this service, over a socket that only it listens on.
            return _root(self.output.model_validate(_unpickled(body, headers[LENGTHS])))
        media_type = headers.get("content-type", "")
        if self.is_file or not self.fits(media_type):
            got = _plain(media_type) or "of no type"
            raise NotEncoded(f"the answer is {got}, not {self.media_type}")
        if self.is_text:
            return body if self.is_binary else body.decode()
        if self.pickled:
            raise NotEncoded("the answer was made by the endpoint's own code")
        return self._parsed(body)

    def fits(self, media_type: str) -> bool:
        """Whether an answer of a media type can be a value of the endpoint."""
        return _plain(media_type) == _plain(self.media_type)

    def reader(self) -> Callable[[bytes], Any]:
        """Return what makes an item of each chunk of a stream; characters may be split between chunks."""
        if self.is_binary:
            return bytes
        if self.is_text:
            return codecs.getincrementaldecoder("utf-8")().decode
        return self._parsed

    def _parsed(self, body: bytes) -> Any:
        return _root(self.output.model_validate_json(body))


def _unpickled(body: bytes, lengths: str) -> Any:
    """Return what BentoML's server pickled: an object, then its arrays' buffers, which stay writable."""
    data, at = memoryview(bytearray(body)), 0
    pieces = []
    for length in map(int, lengths.split(",")):
        pieces.append(data[at : at + length])
        at += length
    return pickle.loads(pieces[0], buffers=pieces[1:])  # noqa: S301 - from a worker of this service


def _root(model: Any) -> Any:
    return model.root if isinstance(model, IORootModel) else model


def _plain(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _file(value: Any) -> tuple[bytes, str, str]:
    """Return a file's content, its name and its media type."""
    if isinstance(value, PurePath):
        return Path(value).read_bytes(), value.name, _type_of(value.name)
    if hasattr(value, "save") and hasattr(value, "format"):
        form = (value.format or "PNG").lower()
        return _picture(value, form), f"image.{form}", f"image/{form}"
    with contextlib.suppress(AttributeError, OSError, ValueError):
        value.seek(0)
    name = PurePath(str(getattr(value, "name", None) or "file")).name
    return value.read(), name, _type_of(name)


def _picture(image: Any, form: str) -> bytes:
    """Return an image of Pillow's as the file that it was read from, so that nothing of it is lost."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        file, at = image.fp, image.fp.tell()
        file.seek(0)
        content = bytes(file.read())
        file.seek(at)
        return content
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def _type_of(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
