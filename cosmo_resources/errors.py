"""The errors that a user is meant to read: what is wrong, where, and what to do about it.

Belongs here: the one exception type that carries a remedy. Does not belong here: handling; each stage decides
whether an error is a recorded bad row or the end of the step.
"""


class CosmoError(Exception):
    """Something that the user can mend. The message names the place; `remedy` names the action or the command."""

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(f"{message}\n  remedy: {remedy}")
        self.message = message
        self.remedy = remedy
