"""Service classes with every endpoint kind that BentoML knows, without and with a context, and requests."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator, Generator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
import pandas as pd
from bentoml.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable
from bentoml.validators import ContentType, DataframeSchema, DType, Shape
from PIL import Image
from PIL.Image import Image as PILImage
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response


class Item(BaseModel):
    """Something with a name."""

    name: str = Field(description="what it is called")
    parts: list[int] = []


class Answer(BaseModel):
    """What comes back."""

    text: str
    total: int = 0


class Kinds:
    """Every kind, without a context."""

    @bentoml.api
    def sync(self, x: int, factor: Annotated[int, Field(ge=1)] = 2) -> dict[str, int]:
        """Multiply."""
        return {"x": x * factor}

    @bentoml.api
    async def coroutine(self, x: int) -> str:
        return f"<{x}>"

    @bentoml.api
    def generator(self, n: int) -> Generator[str, None, None]:
        for i in range(n):
            yield f"item {i}\n"

    @bentoml.api
    async def async_generator(self, n: int) -> AsyncGenerator[str, None]:
        for i in range(n):
            yield f"item {i}\n"

    @bentoml.api
    async def objects(self, n: int) -> AsyncGenerator[dict[str, int], None]:
        for i in range(n):
            yield {"i": i}

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    async def async_batch(self, rows: list[int]) -> list[int]:
        return [row + 1 for row in rows]

    @bentoml.task
    def job(self, x: int) -> str:
        if x < 0:
            raise InvalidArgument("too small")
        return f"done {x}"

    @bentoml.api(route="/custom/path")
    def routed(self, x: int) -> int:
        return x

    @bentoml.api(input_spec=Item, output_spec=Answer)
    def specified(self, **params: Any) -> Any:
        return Answer(text=params["name"], total=sum(params["parts"]))

    @bentoml.api
    def root(self, values: list[float], /) -> float:
        return sum(values)

    @bentoml.api
    def root_model(self, item: Item, /) -> Answer:
        return Answer(text=item.name)

    @bentoml.api
    def shaped(self, rows: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]) -> np.ndarray:
        return np.asarray(rows.sum(axis=1))

    @bentoml.api
    def frame(self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=["a", "b"])]) -> pd.DataFrame:
        answer: pd.DataFrame = frame.assign(c=frame["a"] + frame["b"])
        return answer

    @bentoml.api
    def pydantic(self, item: Item, more: list[Item] | None = None) -> Answer:
        return Answer(text=item.name, total=sum(item.parts) + len(more or []))

    @bentoml.api
    def upload(self, file: Path, note: str = "") -> str:
        return f"{file.read_bytes().decode()} {note}"

    @bentoml.api
    def download(self, text: str) -> Annotated[Path, ContentType("text/csv")]:
        path = Path(bentoml.Context().temp_dir) / "answer.csv"
        path.write_text(text)
        return path

    @bentoml.api
    def measured(self, image: PILImage, border: int = 0) -> dict[str, Any]:
        return {"size": [side + border for side in image.size], "mode": image.mode}

    @bentoml.api
    def turned(self, image: PILImage) -> PILImage:
        return image.convert("RGB").rotate(90, expand=True)

    @bentoml.api
    async def drawn(self, width: int, colour: str = "red") -> Annotated[PILImage, ContentType("image/png")]:
        return Image.new("RGB", (width, 2), colour)

    @bentoml.api
    def binary(self, size: int) -> Annotated[bytes, ContentType("application/x-blob")]:
        return b"\x00\xff" * size

    @bentoml.api
    def anything(self, **kwargs: Any) -> Any:
        return dict(sorted(kwargs.items()))

    @bentoml.api
    def nothing(self) -> None:
        return None

    @bentoml.api
    async def response(self, status: int) -> Any:
        return JSONResponse({"made": "by hand"}, status_code=status, headers={"x-own": "yes"})

    @bentoml.api
    def fail(self, how: str) -> str:
        raise FAILURES[how]

    @bentoml.api
    async def async_fail(self, how: str) -> str:
        raise FAILURES[how]

    @bentoml.api
    def wrong_output(self) -> int:
        return "not a number"  # type: ignore[return-value]  # on purpose

    @bentoml.api
    async def stream_fails(self, after: int) -> AsyncGenerator[str, None]:
        for i in range(after):
            yield f"{i} "
        raise NotFound("the stream ended badly")

    @bentoml.api
    def sync_stream_fails(self, after: int) -> Generator[str, None, None]:
        for i in range(after):
            yield f"{i} "
        raise ValueError("the stream ended badly")


class KindsInContext:
    """Every kind, with a context that it reads and writes."""

    @bentoml.api
    def sync(self, x: int, ctx: bentoml.Context, factor: Annotated[int, Field(ge=1)] = 2) -> str:
        return f"{x * factor} {echo(ctx)}"

    @bentoml.api
    async def coroutine(self, x: int, context: bentoml.Context) -> str:
        return f"{x} {echo(context)}"

    @bentoml.api
    def generator(self, n: int, ctx: bentoml.Context) -> Generator[str, None, None]:
        said = echo(ctx)
        for i in range(n):
            yield f"{said} {i}\n"

    @bentoml.api
    async def async_generator(self, n: int, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        said = echo(ctx)
        for i in range(n):
            yield f"{said} {i}\n"

    @bentoml.api
    async def objects(self, n: int, ctx: bentoml.Context) -> AsyncGenerator[dict[str, str], None]:
        said = echo(ctx)
        for i in range(n):
            yield {str(i): said}

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    def batch(self, rows: list[int], ctx: bentoml.Context) -> list[int]:
        return [row + 1 for row in rows]

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=5000)
    async def async_batch(self, rows: list[int], ctx: bentoml.Context) -> list[int]:
        return [row + len(ctx.request.headers["x-say"]) for row in rows]

    @bentoml.task
    async def job(self, x: int, ctx: bentoml.Context) -> str:
        if x < 0:
            raise InvalidArgument(f"too small, {echo(ctx)}")
        return f"{x} {echo(ctx)}"

    @bentoml.api(route="/custom/path")
    def routed(self, x: int, ctx: bentoml.Context) -> int:
        echo(ctx)
        return x

    @bentoml.api(input_spec=Item, output_spec=Answer)
    def specified(self, ctx: bentoml.Context, **params: Any) -> Any:
        return Answer(text=f"{params['name']} {echo(ctx)}", total=sum(params["parts"]))

    @bentoml.api
    def root(self, values: list[float], /, ctx: bentoml.Context = None) -> float:  # type: ignore[assignment]
        echo(ctx)
        return sum(values)

    @bentoml.api
    def root_model(self, item: Item, /, ctx: bentoml.Context = None) -> Answer:  # type: ignore[assignment]
        return Answer(text=f"{item.name} {echo(ctx)}")

    @bentoml.api
    def shaped(
        self, rows: Annotated[np.ndarray, Shape((2, 2)), DType("float32")], ctx: bentoml.Context
    ) -> np.ndarray:
        echo(ctx)
        return np.asarray(rows.sum(axis=1))

    @bentoml.api
    def frame(
        self, frame: Annotated[pd.DataFrame, DataframeSchema(columns=["a", "b"])], ctx: bentoml.Context
    ) -> pd.DataFrame:
        answer: pd.DataFrame = frame.assign(said=echo(ctx))
        return answer

    @bentoml.api
    def pydantic(self, item: Item, ctx: bentoml.Context, more: list[Item] | None = None) -> Answer:
        return Answer(text=f"{item.name} {echo(ctx)}", total=sum(item.parts) + len(more or []))

    @bentoml.api
    def upload(self, file: Path, ctx: bentoml.Context, note: str = "") -> str:
        return f"{file.read_bytes().decode()} {note} {echo(ctx)}"

    @bentoml.api
    def download(self, text: str, ctx: bentoml.Context) -> Annotated[Path, ContentType("text/csv")]:
        path = Path(ctx.temp_dir) / "answer.csv"
        path.write_text(f"{text}{echo(ctx)}")
        return path

    @bentoml.api
    def measured(self, image: PILImage, ctx: bentoml.Context, border: int = 0) -> dict[str, Any]:
        return {"size": [side + border for side in image.size], "mode": image.mode, "said": echo(ctx)}

    @bentoml.api
    def turned(self, image: PILImage, ctx: bentoml.Context) -> PILImage:
        echo(ctx)
        return image.convert("RGB").rotate(90, expand=True)

    @bentoml.api
    async def drawn(
        self, width: int, ctx: bentoml.Context, colour: str = "red"
    ) -> Annotated[PILImage, ContentType("image/png")]:
        echo(ctx)
        return Image.new("RGB", (width, 2), colour)

    @bentoml.api
    def binary(self, size: int, ctx: bentoml.Context) -> Annotated[bytes, ContentType("application/x-blob")]:
        return b"\x00\xff" * size + echo(ctx).encode()

    @bentoml.api
    def anything(self, ctx: bentoml.Context, **kwargs: Any) -> Any:
        return {**dict(sorted(kwargs.items())), "said": echo(ctx)}

    @bentoml.api
    def nothing(self, ctx: bentoml.Context) -> None:
        echo(ctx)

    @bentoml.api
    def response(self, status: int, ctx: bentoml.Context) -> Any:
        echo(ctx)
        return Response(b"by hand", status_code=status, media_type="text/x-own")

    @bentoml.api
    def fail(self, how: str, ctx: bentoml.Context) -> str:
        echo(ctx)
        raise FAILURES[how]

    @bentoml.api
    async def async_fail(self, how: str, ctx: bentoml.Context) -> str:
        echo(ctx)
        raise FAILURES[how]

    @bentoml.api
    def wrong_output(self, ctx: bentoml.Context) -> int:
        return echo(ctx)  # type: ignore[return-value]  # on purpose

    @bentoml.api
    async def background(self, x: int, ctx: bentoml.Context) -> int:
        ctx.response.background.add_task(DONE.append, x)
        return x

    @bentoml.api
    async def stream_fails(self, after: int, ctx: bentoml.Context) -> AsyncGenerator[str, None]:
        echo(ctx)
        for i in range(after):
            yield f"{i} "
        raise InvalidArgument("the stream ended badly")

    @bentoml.api
    def sync_stream_fails(self, after: int, ctx: bentoml.Context) -> Generator[str, None, None]:
        echo(ctx)
        for i in range(after):
            yield f"{i} "
        raise ValueError("the stream ended badly")


DONE: list[int] = []
"""What background tasks have done."""

FAILURES = {
    "bug": ValueError("a bug"),
    "invalid": InvalidArgument("not like this"),
    "missing": NotFound("no such thing"),
    "forbidden": BentoMLException("secret reason", error_code=HTTPStatus.FORBIDDEN),
    "busy": ServiceUnavailable("too much"),
    "teapot": BentoMLException("short and stout", error_code=HTTPStatus.IM_A_TEAPOT),
}


def echo(ctx: bentoml.Context) -> str:
    """Write to the response what the request says; return the request's header."""
    said = ctx.request.headers.get("x-say", "nothing")
    ctx.response.headers["x-said"] = said
    ctx.response.set_cookie("seen", said)
    ctx.response.status_code = 202
    return said


def picture(kind: str = "PNG") -> bytes:
    """A picture of three columns and two rows, each pixel another, as a file of this kind."""
    image = Image.new("RGB", (3, 2))
    image.putdata([(40 * n, 255 - 40 * n, 7 * n) for n in range(6)])
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def image_file(kind: str = "PNG") -> dict[str, Any]:
    """A form that carries a picture."""
    return {"files": {"image": (f"a.{kind.lower()}", picture(kind), f"image/{kind.lower()}")}}


JSON: dict[str, Any] = {"content-type": "application/json"}
BOTH: dict[str, dict[str, Any]] = {
    "sync": {"path": "/sync", "json": {"x": 3}},
    "coroutine": {"path": "/coroutine", "json": {"x": 3}},
    "generator": {"path": "/generator", "json": {"n": 3}},
    "an empty generator": {"path": "/generator", "json": {"n": 0}},
    "async generator": {"path": "/async_generator", "json": {"n": 3}},
    "an empty async generator": {"path": "/async_generator", "json": {"n": 0}},
    "batch": {"path": "/batch", "json": {"rows": [1, 2, 3]}},
    "task called directly": {"path": "/job", "json": {"x": 3}},
    "route": {"path": "/custom/path", "json": {"x": 3}},
    "root": {"path": "/root", "json": [1.5, 2.5]},
    "pydantic": {"path": "/pydantic", "json": {"item": {"name": "n", "parts": [1, 2]}}},
    "response": {"path": "/response", "json": {"status": 201}},
    "response that is an error": {"path": "/response", "json": {"status": 409}},
    **{f"fail {how}": {"path": "/fail", "json": {"how": how}} for how in (*FAILURES, "key error")},
    "stream fails at once": {"path": "/stream_fails", "json": {"after": 0}},
    "stream fails later": {"path": "/stream_fails", "json": {"after": 2}},
    "invalid type": {"path": "/sync", "json": {"x": "three"}},
    "missing argument": {"path": "/sync", "json": {}},
    "no JSON": {"path": "/sync", "content": b"{", "headers": JSON},
    "no body": {"path": "/sync", "content": b"", "headers": JSON},
    "pickle": {
        "path": "/sync",
        "content": b"x",
        "headers": {"content-type": "application/vnd.bentoml+pickle"},
    },
    "unknown media type": {
        "path": "/sync",
        "content": b'{"x": 3}',
        "headers": {"content-type": "text/x-odd"},
    },
    "get": {"path": "/sync", "method": "GET"},
    "head": {"path": "/sync", "method": "HEAD"},
    "options": {"path": "/sync", "method": "OPTIONS"},
    "unknown path": {"path": "/nowhere", "json": {}},
    "trailing slash": {"path": "/sync/", "json": {"x": 3}},
    "task without id": {"path": "/job/get", "method": "GET"},
    "task with unknown id": {"path": "/job/get?task_id=none", "method": "GET"},
    "retry of an unknown task": {"path": "/job/retry?task_id=none", "method": "POST"},
    "status of an unknown task": {"path": "/job/status?task_id=none", "method": "GET"},
    "schema": {"path": "/schema.json", "method": "GET"},
    "OpenAPI": {"path": "/docs.json", "method": "GET"},
    "index": {"path": "/", "method": "GET"},
    "ready": {"path": "/readyz", "method": "GET"},
    "default": {"path": "/sync", "json": {"x": 3, "factor": 5}},
    "out of bounds": {"path": "/sync", "json": {"x": 3, "factor": 0}},
    "objects": {"path": "/objects", "json": {"n": 2}},
    "async batch": {"path": "/async_batch", "json": {"rows": [1, 2]}},
    "input_spec": {"path": "/specified", "json": {"name": "n", "parts": [1, 2]}},
    "input_spec, invalid": {"path": "/specified", "json": {"parts": [1, 2]}},
    "root model": {"path": "/root_model", "json": {"name": "n"}},
    "root model, invalid": {"path": "/root_model", "json": {}},
    "shaped": {"path": "/shaped", "json": {"rows": [[1, 2], [3, 4]]}},
    "misshaped": {"path": "/shaped", "json": {"rows": [[1, 2, 3]]}},
    "frame": {"path": "/frame", "json": {"frame": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}},
    "several models": {"path": "/pydantic", "json": {"item": {"name": "n"}, "more": [{"name": "m"}]}},
    "upload": {
        "path": "/upload",
        "files": {"file": ("a.txt", b"content", "text/plain")},
        "data": {"note": '"a note"'},
    },
    "upload without a file": {"path": "/upload", "files": {"other": ("a.txt", b"content", "text/plain")}},
    "download": {"path": "/download", "json": {"text": "a,b\n1,2\n"}},
    "image in, JSON out": {"path": "/measured", **image_file(), "data": {"border": "2"}},
    "image in, image out": {"path": "/turned", **image_file()},
    "JPEG in, image out": {"path": "/turned", **image_file("JPEG")},
    "image out": {"path": "/drawn", "json": {"width": 3, "colour": "blue"}},
    "image missing": {"path": "/turned", "data": {"other": "1"}},
    "no image at all": {"path": "/turned", "files": {"image": ("a.png", b"no image", "image/png")}},
    "image as JSON": {"path": "/turned", "json": {"image": "no"}},
    "binary": {"path": "/binary", "json": {"size": 3}},
    "any arguments": {"path": "/anything", "json": {"kwargs": {"b": 1, "a": [2]}}},
    "any arguments, not as one": {"path": "/anything", "json": {"b": 1, "a": [2]}},
    "nothing": {"path": "/nothing", "json": {}},
    "wrong output": {"path": "/wrong_output", "json": {}},
    **{f"async fail {how}": {"path": "/async_fail", "json": {"how": how}} for how in FAILURES},
    "sync stream fails at once": {"path": "/sync_stream_fails", "json": {"after": 0}},
    "sync stream fails later": {"path": "/sync_stream_fails", "json": {"after": 2}},
}
PLAIN: dict[str, dict[str, Any]] = {
    **BOTH,
    "batch of numbers": {"path": "/batch", "json": {"rows": [[1.5, 2.0], [3.0, 4.0]]}},
}
CONTEXT: dict[str, dict[str, Any]] = {**BOTH, "background": {"path": "/background", "json": {"x": 3}}}
