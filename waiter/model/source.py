"""Where a service comes from."""

import attrs


@attrs.frozen
class SourceToken:
    """
    A token that describes a service, or a part of it.

    @ivar token: its name.
    @ivar version: of the token, when it was used.
    """

    token: str
    version: str


#: The tokens of one request, in the order in which it names them.
Sources = tuple[SourceToken, ...]


@attrs.frozen(kw_only=True)
class References:
    """
    By what a service was ever asked for.

    @ivar sources: the groups of tokens, the latest last.
    @ivar direct: whether also without any token.
    """

    sources: tuple[Sources, ...] = ()
    direct: bool = False
