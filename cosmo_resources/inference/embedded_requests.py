"""What the embedded server understands: the bodies of its two POST routes, checked field by field, and its
errors.

Belongs here: the fields of OpenAI's completions API that the engine can honour, and the error body.
Does not belong here: HTTP, the engine (`embedded_server`), requests to other servers (`client`).
"""

import json
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


class ApiError(Exception):
    """A request that gets no answer: an HTTP status and the fields of OpenAI's error body."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


class Strict(BaseModel):
    """Base of the request types. An unlisted field is refused by name: to ignore it would change the
    answer."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class JsonSchema(Strict):
    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Strict):
    json_: dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(default=None, min_length=1)
    grammar: str | None = None


StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1)]], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)
]


class Sampling(Strict):
    """What both routes take: OpenAI's fields and the additions that open engines share. Without `max_tokens`
    an answer may fill what the prompt leaves of the context; without `seed` every request draws its own.
    Seeds that are equal in their low 32 bits are equal. `user` and `metadata` have no effect."""

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1)
    min_p: float = Field(default=0.0, ge=0, lt=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    stop: StopStrings = []
    n: int = Field(default=1, ge=1)
    ignore_eos: bool = False
    stream: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = Field(default=None, min_length=1)
    guided_grammar: str | None = None
    user: Any = None
    metadata: Any = None

    def limit(self) -> int | None:
        """The most tokens to generate, or None when the request does not say."""
        return self.max_completion_tokens if self.max_tokens is None else self.max_tokens

    def constraint(self) -> dict[str, str]:
        """The constraint on the answer's form as the one argument of og.StructuredOutputConfig, or nothing: a
        JSON schema (with its properties in the order given), a regular expression or a grammar in EBNF."""
        form, outputs = self.response_format, self.structured_outputs or StructuredOutputs()
        schemas: list[dict[str, Any] | None] = [outputs.json_, self.guided_json]
        if form is not None and form.type == "json_object":
            schemas.append({"type": "object"})
        if form is not None and form.json_schema is not None:
            schemas.append(form.json_schema.schema_)
        choices = [_either(options) for options in (outputs.choice, self.guided_choice) if options]
        kinds: list[tuple[str, list[str | None]]] = [
            ("json_schema", [None if schema is None else json.dumps(schema) for schema in schemas]),
            ("regex", [outputs.regex, self.guided_regex]),
            ("grammar", [outputs.grammar, self.guided_grammar, *choices]),
        ]
        found = [{kind: value} for kind, values in kinds for value in values if value is not None]
        if len(found) > 1:
            raise ApiError(400, "structured_outputs: more than one constraint is given", "structured_outputs")
        return found[0] if found else {}


def _either(options: list[str]) -> str:
    """A grammar of literals."""
    return "root ::= " + " | ".join(json.dumps(option, ensure_ascii=False) for option in options)


class ChatRequest(Sampling):
    messages: list[Message] = Field(min_length=1)


class CompletionRequest(Sampling):
    prompt: str


Body = TypeVar("Body", bound=Sampling)


def parse(raw: bytes, kind: type[Body]) -> Body:
    """The request in a body of JSON. A field that is null counts as absent.

    Raises: ApiError: 400, with the dotted name of the first field at fault in `param` and every one in the
    message.
    """
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(payload, dict):
        raise ApiError(400, "the body must be a JSON object")
    try:
        body = kind.model_validate({name: value for name, value in payload.items() if value is not None})
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        raise ApiError(400, "; ".join(f"{name}: {text}" for name, text in faults), faults[0][0]) from error
    form = body.response_format
    if form is not None and (form.type == "json_schema") != (form.json_schema is not None):
        name = "response_format.json_schema"
        raise ApiError(400, f"{name}: required with type json_schema, and only there", name)
    if body.stream:
        raise ApiError(400, "stream: streaming is not supported", "stream")
    if body.max_tokens and body.max_completion_tokens and body.max_tokens != body.max_completion_tokens:
        raise ApiError(400, "max_tokens: differs from max_completion_tokens", "max_tokens")
    if body.n > 1 and body.temperature == 0:
        raise ApiError(400, "n: more than one answer needs a temperature above 0", "n")
    return body
