"""What /openapi.json says beyond what FastAPI finds out: lines of JSON, keys, problems, and what a form can send."""

from typing import Any

from fastapi import FastAPI

from wristmir_ray.serving import api, batch, problems
from wristmir_ray.serving.form import SearchForm
from wristmir_ray.serving.guard import OPEN

_REF = "#/components/schemas/{model}"
_ASKED = (
    '{"id": "one", "exam_id": "00000000000000000000000000000001", "region": "distal_ulna", "k": 3}\n'
    '{"id": "two", "text": "buckle fracture of the distal radius", "sex": "female", "age_max": 9}\n'
)
LINES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            batch.MEDIA_TYPE: {
                "schema": {
                    "type": "string",
                    "description": "a `BatchQuery` in JSON a line; an image in base64",
                    "examples": [_ASKED],
                }
            }
        },
    }
}
LINES_BACK: dict[str, Any] = {
    "type": "string",
    "description": "a `BatchAnswer` in JSON a line, in the order in which they are done: `line` says of which query",
}


def mend(http: FastAPI, guarded: bool) -> None:
    """Make the description true: errors are no JSON but problems, no form can send a null, lines have schemas.

    Args:
        http: with all its routes.
        guarded: whether it asks for keys.
    """
    described = http.openapi()  # kept by FastAPI, so that the changes below stay
    schemas = described["components"]["schemas"]
    _form(schemas[SearchForm.__name__]["properties"])
    asked = api.BatchQuery.model_json_schema(ref_template=_REF)
    answered = api.BatchAnswer.model_json_schema(ref_template=_REF, mode="serialization")
    for name, schema in ((api.BatchQuery.__name__, asked), (api.BatchAnswer.__name__, answered)):
        for part, its in {**schema.pop("$defs", {}), name: schema}.items():
            schemas.setdefault(part, its)
    if guarded:
        described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"key": []}]
    for path, routes in described["paths"].items():
        for operation in routes.values():
            if guarded and path in OPEN:
                operation["security"] = []
            for code, response in operation["responses"].items():
                if int(code) >= 400:
                    response["content"] = {problems.MEDIA_TYPE: response["content"]["application/json"]}


def _form(fields: dict[str, Any]) -> None:
    for field in fields.values():
        if kinds := field.pop("anyOf", None):
            (kind,) = [k for k in kinds if k.get("type") != "null"]
            field |= {**kind, **field}
    fields["image"]["format"] = "binary"  # what tools know a file by
