"""A byte-level tokenizer of a few hundred tokens, trained in a blink: any text goes through it unchanged."""

from functools import cache

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from cosmo_resources.storage.digest import digest
from cosmo_resources.tokenizers import NamedTokenizer
from tests.doubles.replay_server import VOCABULARY

EOS = "<|endoftext|>"


@cache
def tiny_tokenizer(extra: int = 0) -> NamedTokenizer:
    """The tokenizer, with some more tokens that no text holds."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([VOCABULARY], trainer)
    tokenizer.add_tokens([f"\ue000{number}" for number in range(extra)])
    return NamedTokenizer("tiny", digest(tokenizer.to_str()), tokenizer)
