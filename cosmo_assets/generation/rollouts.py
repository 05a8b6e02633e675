"""Rollouts: how one document comes about, as one request or as several that build on each other.

Belongs here: the rollouts that a recipe can name, and finding one of a user's own. Does not belong here: sending
requests (`cosmo_resources.inference.client`), or keeping what was answered (`worker`).

A rollout is an async function of (document, generate). `generate(body)` asks once and gives an `Answer`; what is asked
in another turn must be a function of the document and of earlier answers alone, so that a killed rollout goes on where
it was.
"""

import dataclasses
import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cosmo_resources.errors import CosmoError
from cosmo_resources.inference.client import Answer

Generate = Callable[[Mapping[str, Any]], Awaitable[Answer]]


@dataclass(frozen=True)
class Document:
    """A document to be generated. `sampling` are the fields that go with every request of it, `options` those that the
    recipe gives to the rollout."""

    key: str
    prompt: str
    sampling: Mapping[str, Any]
    seed: int
    options: Mapping[str, Any]

    def body(self, *turns: str, **more: Any) -> dict[str, Any]:
        """A chat request: the prompt, then answers and further questions in turn."""
        said = [self.prompt, *turns]
        messages = [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(said)]
        return {"messages": messages, **self.sampling, "seed": self.seed, **more}


Rollout = Callable[[Document, Generate], Awaitable[Answer]]


async def single(document: Document, generate: Generate) -> Answer:
    """One request."""
    return await generate(document.body())


async def continued(document: Document, generate: Generate) -> Answer:
    """Requests until the answer ends by itself or there were `turns` of them (default 3): one that the token limit cut
    off is asked to go on, and what comes is put behind it."""
    answer = await generate(document.body())
    whole = answer
    for _ in range(int(document.options.get("turns", 3)) - 1):
        if whole.status != "ok" or whole.finish_reason != "length":
            break
        answer = await generate(document.body(whole.text, "Go on exactly where you stopped. Repeat nothing."))
        if answer.status != "ok":
            return answer
        whole = dataclasses.replace(answer, text=f"{whole.text} {answer.text.lstrip()}")
    return whole


async def revised(document: Document, generate: Generate) -> Answer:
    """Two requests: a draft, and the same text after the remark in `instruction`; the second answer is the text."""
    draft = await generate(document.body())
    if draft.status != "ok":
        return draft
    instruction = str(
        document.options.get("instruction", "Correct every error in it. Give the whole text, no comment.")
    )
    return await generate(document.body(draft.text, instruction))


ROLLOUTS: dict[str, Rollout] = {"single": single, "continued": continued, "revised": revised}
REQUESTS = {"revised": 2}
"""Whole answers that a rollout takes for each document, where it is not one."""


def find_rollout(name: str) -> Rollout:
    """A rollout by its name here, or one of the user's own as `module:function`.

    Raises:
        CosmoError: there is none.
    """
    if name in ROLLOUTS:
        return ROLLOUTS[name]
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise CosmoError(
            f"generation.rollout.name is {name!r}: {error}",
            remedy=f"name one of {', '.join(ROLLOUTS)}, or module:function of a module on the workers' PYTHONPATH",
        ) from error
    rollout: Rollout = found
    return rollout
