"""What servers reply: the fields of a completion, and how long they ask to be left alone.

Belongs here: reading bodies and headers of the OpenAI protocol as vLLM, llama.cpp, TGI, SGLang and hosted endpoints
write them. Does not belong here: what is done about it (`client`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

LONGEST_REST = 60.0
"""Seconds that a server can ask for at most."""

BROKEN_OFF = frozenset({"abort", "error"})
"""Finish reasons of a server that is shutting down or has lost the request: the text before them is no answer."""

THINK, END_OF_THINK = "<think>", "</think>"


@dataclass(frozen=True)
class Choice:
    """One text of a reply. `reasoning` is what the model thought before it, where the server or the text tells."""

    text: str
    finish_reason: str | None
    reasoning: str | None = None


@dataclass(frozen=True)
class Reply:
    choices: tuple[Choice, ...]
    prompt_tokens: int
    completion_tokens: int


def read_reply(body: Any) -> Reply:
    """The parts of a completion that was decoded from JSON.

    Raises:
        ValueError, KeyError, TypeError, IndexError, AttributeError: it is no completion, or not a whole one.
    """
    usage = body.get("usage") or {}
    choices = tuple(map(_choice, body["choices"]))
    if choices[0].finish_reason in BROKEN_OFF:
        raise ValueError(f"broken off by the server (finish_reason {choices[0].finish_reason})")
    return Reply(choices, int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def _choice(choice: Mapping[str, Any]) -> Choice:
    finish_reason = str(choice["finish_reason"])
    if "message" not in choice:
        return Choice(_text(choice["text"]), finish_reason)
    message = choice["message"]
    text = _text(message["content"])
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not reasoning and text.lstrip().startswith(THINK):
        # A thought that the token limit cut off has no end: then nothing of the text is an answer.
        reasoning, _, text = text.lstrip().removeprefix(THINK).partition(END_OF_THINK)
        reasoning, text = reasoning.strip(), text.lstrip()
    return Choice(text, finish_reason, None if reasoning is None else str(reasoning))


def _text(content: Any) -> str:
    return "" if content is None else str(content)


def error_message(body: str) -> str:
    """The body of an error reply, on one line and not too long."""
    return " ".join(body.split())[:300]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, given as seconds or as a date (RFC 9110, 10.2.3); None where it does not, or
    asks for nonsense. A date counts from the reply's own `Date`, where it has one, as clocks differ."""
    asked = headers.get("Retry-After", "")
    try:
        seconds = float(asked)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers.get("Date") or formatdate(usegmt=True))
            seconds = (parsedate_to_datetime(asked) - now).total_seconds()
        except (ValueError, TypeError):
            return None
        return min(seconds, LONGEST_REST) if seconds > 0 else None
    return min(seconds, LONGEST_REST) if seconds >= 0 else None
