"""`Fields`: a form by the JSON schema of an endpoint's output, for cases that have no choices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..admin.reading import parse_json
from ..errors import InvalidValue

__all__ = ["Field", "answer_of", "fields_of"]

PREFIX = "f."
"""What the names of a schema's fields begin with in a form: they cannot be taken for ours."""

WHOLE = "json"


@dataclass(frozen=True, slots=True)
class Field:
    """One input of a form.

    Attributes:
        name: in the form.
        label: what people read.
        kind: ``text``, ``long``, ``number``, ``integer``, ``choice`` or ``json``.
        options: of a choice.
        required: whether it must be filled in.
        help: what the schema says about it.
        value: what stands in it.
    """

    name: str
    label: str
    kind: str
    options: tuple[str, ...] = ()
    required: bool = True
    help: str = ""
    value: str = ""


def fields_of(schema: Mapping[str, Any] | None, form: Mapping[str, str] | None = None) -> tuple[Field, ...]:
    """Return the inputs for a schema: one per property of an object, one for anything else.

    Args:
        schema: as JSON schema has it; None: any JSON.
        form: what was filled in before.

    >>> fields_of({"type": "object", "properties": {"n": {"type": "integer"}}})[0].kind
    'integer'
    """
    schema = schema or {}
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and properties and schema.get("type", "object") == "object":
        needed = [name for name in schema.get("required", ()) if name in properties]
        found = tuple(
            _field(
                PREFIX + str(name), str(name), _resolved(properties[name], schema), required=name in needed
            )
            for name in dict.fromkeys(
                [*needed, *properties]
            )  # their order, where the properties have lost theirs
        )
    else:
        found = (_field(WHOLE, str(schema.get("title", "Answer")), _resolved(schema, schema), required=True),)
    values = form or {}
    return tuple(replace(one, value=values.get(one.name, one.value)) for one in found)


def answer_of(schema: Mapping[str, Any] | None, form: Mapping[str, str]) -> Any:
    """Return the value that a filled-in form says.

    Raises:
        InvalidValue: a field that is missing, or is not what its kind is; it names the field.
    """
    fields = fields_of(schema)
    if len(fields) == 1 and fields[0].name == WHOLE:
        return _value(fields[0], form)
    filled = {one: form.get(one.name, "") for one in fields}
    return {
        one.label: _value(one, form) for one, text in filled.items() if one.required or text.strip() != ""
    }


def _field(name: str, label: str, schema: Mapping[str, Any], *, required: bool) -> Field:
    told = str(schema.get("description", ""))
    options: tuple[str, ...] = ()
    if isinstance(schema.get("enum"), list):
        options = tuple(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    elif schema.get("type") == "boolean":
        options = ("true", "false")
    kinds = {"string": "text", "number": "number", "integer": "integer"}
    kind = "choice" if options else kinds.get(str(schema.get("type")), "json")
    if kind == "text" and int(schema.get("maxLength") or 0) > 200:  # noqa: PLR2004 - longer than a line
        kind = "long"
    return Field(name, label, kind, options, required, told)


def _resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema with its reference followed, once: deeper ones are written as JSON."""
    if not isinstance(schema, Mapping):
        return {}
    reference = schema.get("$ref", "")
    if isinstance(reference, str) and reference.startswith("#/"):
        found: Any = root
        for part in reference[2:].split("/"):
            found = found.get(part, {}) if isinstance(found, Mapping) else {}
        return found if isinstance(found, Mapping) else {}
    return schema


def _value(field: Field, form: Mapping[str, str]) -> Any:
    text = form.get(field.name, "")
    if field.kind in {"text", "long"}:
        if field.required and not text:
            raise InvalidValue(f"{field.label} is empty")
        return text
    if not text.strip():
        raise InvalidValue(f"{field.label} is empty")
    if field.kind == "choice" and text not in field.options:
        raise InvalidValue(f"{field.label} must be one of {', '.join(field.options)}")
    try:
        value = parse_json(text.strip().encode())
    except InvalidValue as error:
        raise InvalidValue(f"{field.label}: {str(error).replace('the body', 'this')}") from None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if field.kind in {"number", "integer"} and not is_number:
        raise InvalidValue(f"{field.label} must be a number")
    if field.kind == "integer" and value != int(value):
        raise InvalidValue(f"{field.label} must be a whole number")
    return int(value) if field.kind == "integer" else value
