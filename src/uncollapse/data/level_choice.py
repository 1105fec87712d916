"""The levels of tokens by their names."""

from uncollapse.data.function_level import FunctionTokens
from uncollapse.data.levels import Bytes, Characters, Subwords, Words
from uncollapse.errors import InputError, check_choice, expand_home

TOKEN_LEVELS: dict[str, type[Words]] = {
    level.name: level for level in (Words, Characters, Bytes, Subwords, FunctionTokens)
}


def choose_level(name: object, tokenizer: str | None, join: str | None = None) -> Words:
    """The level by its name.

    InputError for an unknown level, a missing tokenizer, or one that the level does not read.
    """
    level = TOKEN_LEVELS[check_choice("data.level", name, TOKEN_LEVELS)]
    if join is not None and level is not FunctionTokens:
        raise InputError(f"data.join={join}: used with data.level=function only, not with {name}")
    if level is Subwords:
        if tokenizer is None:
            raise InputError(
                "data.level=tokens: needs data.tokenizer=FILE, a JSON file of the package "
                "`tokenizers`"
            )
        return Subwords.read(expand_home(tokenizer))
    if level is FunctionTokens:
        if tokenizer is None:
            raise InputError(
                "data.level=function: needs data.tokenizer=package.module.function, which makes "
                "a list of tokens from a text"
            )
        return FunctionTokens.find(tokenizer, join)
    if tokenizer is not None:
        raise InputError(
            f"data.tokenizer={tokenizer}: read with data.level=tokens or function only, not with "
            f"data.level={name}"
        )
    return level()
