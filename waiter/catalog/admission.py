"""
Which requests are for Waiter itself, and which are let in at all.

A command in a header is code execution, and a browser sends requests for whoever wrote the page it shows. So what runs
commands or changes something is refused when it comes from another site's page: known by C{Origin}, by
C{Sec-Fetch-Site}, and, where a name was bent to this machine's address (DNS rebinding), by a C{Host} that is not
Waiter's own. Programs that are no browsers send neither of the first two and are not concerned.
"""

import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

from waiter.catalog.headers import DEBUG
from waiter.catalog.hosts import authority, is_blank, is_same_origin
from waiter.errors import BadRequest, CrossOriginForbidden
from waiter.model.checks import shown

#: Paths that are Waiter's on every host.
_ANYWHERE = re.compile(
    rb"/(?:"
    rb"(?:\.well-known/auth/(?:expires-at|keep-alive)|\.well-known/oidc/v1/openid-enabled|oidc/v1/callback"
    rb"|app-name|service-id|token|waiter-ping)(?:\?|\Z)"
    rb"|waiter-(?:async/(?:v2/)?(?:complete|result|status)/|auth/|consent|interstitial)"
    rb")"
)

_READING = frozenset({b"GET", b"HEAD", b"OPTIONS"})
# These are as good as a POST: they store a description or start a service, or are the original's GETs with effects.
_OF_SERVICES = frozenset({b"/app-name", b"/service-id", b"/waiter-ping"})
_NEVER_READING = re.compile(rb"/(app-name|service-id|waiter-ping)|/apps/.*/(suspend|resume|kill|expire)", re.DOTALL)
# Descriptions hold secrets in their environment variables, and here no own host is needed to get to them.
_TOKEN = b"/token"
# Who asks for this has to send more than Origin, and is told by that endpoint what is missing.
_CONSENT = b"/waiter-consent"
_LOOKING = frozenset({b"GET", b"HEAD"})

# "same-site" is not enough: any other port of this machine is the same site.
_OWN_PAGES = frozenset({b"same-origin", b"none"})


def is_own_host(host: bytes, own_hosts: frozenset[str]) -> bool:
    """Whether the C{Host} header is blank or, whatever its port, names Waiter. A malformed one does not."""
    named = authority(host)
    return named.host in own_hosts if named is not None else is_blank(host)


def is_for_waiter(path: bytes, host: bytes, waiter_header_names: Iterable[bytes], own_hosts: frozenset[str]) -> bool:
    """
    Whether a request is for Waiter's own API; if not it is for a service.

    @param path: of the request's target, as it was sent; a query does no harm.
    @param waiter_header_names: the lower-case names of its C{x-waiter-*} headers.
    @param own_hosts: from L{waiter.catalog.hosts.own_hosts}.
    """
    if _ANYWHERE.match(path) is not None:
        return True
    for name in waiter_header_names:
        if name != DEBUG:
            return False
    return is_own_host(host, own_hosts)


def check_service_request(
    host: bytes,
    has_description_headers: bool,
    origin: bytes | None,
    sec_fetch_site: bytes | None,
    own_hosts: frozenset[str],
    is_token: Callable[[str], bool] = lambda _: False,
) -> None:
    """
    Let a request for a service in, or not.

    @param has_description_headers: L{waiter.catalog.headers.describes_service} of its headers.
    @param origin: the C{Origin} header, if there is one.
    @param sec_fetch_site: the C{Sec-Fetch-Site} header, if there is one.
    @param is_token: whether a host, in lower case, is the name of a token.
    @raise CrossOriginForbidden: another site's page describes a service.
    @raise BadRequest: a service is described to a host that is neither Waiter nor a token.
    """
    if not has_description_headers:
        return
    _check_origin(host, origin, sec_fetch_site, "describe a service")
    if not is_token(host_name(host)):
        check_described_at(host, own_hosts)


def check_described_at(host: bytes, own_hosts: frozenset[str]) -> None:
    """
    @raise BadRequest: no service may be described to this C{Host}.
    """
    if not is_own_host(host, own_hosts):
        raise BadRequest(
            f"x-waiter-* parameters are accepted only at Waiter's own host names, and the request's Host is "
            f"{_quoted(host)}. Send it to localhost, or add the name to Waiter's hostnames.",
            details={"host": shown(host.decode("latin-1"))},
        )


def check_api_request(
    method: bytes,
    path: bytes,
    host: bytes,
    origin: bytes | None,
    sec_fetch_site: bytes | None,
    own_hosts: frozenset[str],
    is_token: Callable[[str], bool] = lambda _: False,
) -> None:
    """
    Let a request for Waiter's own API in, or not, when nobody has to prove who he is (the C{one-user} authenticator).

    What a request would be for, and how its service is, can also be asked at the hosts of tokens. A token can be read at the
    host that it names, but none of the others: what sends a request there may be a page of the token's service.
    L{check_token_read} sees to the others.

    @param path: of the request's target, as it was sent; a query does no harm.
    @param is_token: whether a host, in lower case, is the name of a token.
    @raise CrossOriginForbidden: another site's page would change something.
    @raise BadRequest: the C{Host} is not Waiter's, and the request would change something or read a token.
    """
    decoded = _decoded(path)
    changes = method not in _READING or _NEVER_READING.fullmatch(decoded) is not None
    if changes and decoded != _CONSENT:
        _check_origin(host, origin, sec_fetch_site, "change anything here")
    if is_own_host(host, own_hosts) or not (changes or decoded == _TOKEN):
        return
    if (decoded in _OF_SERVICES or decoded == _CONSENT or (method in _LOOKING and decoded == _TOKEN)) and is_token(
        host_name(host)
    ):
        return
    raise _only_at_own_hosts(host)


def check_token_read(name: str, host: bytes, own_hosts: frozenset[str]) -> None:
    """
    Let somebody read a token, or not, where L{check_api_request} has let him in.

    @param name: of the token.
    @raise BadRequest: the C{Host} is neither Waiter's nor this token's.
    """
    if not is_own_host(host, own_hosts) and (not name or name != host_name(host)):
        raise _only_at_own_hosts(host)


def host_name(host: bytes) -> str:
    """The host that a C{Host} header names, in lower case and without its port; empty if there is none in it."""
    named = authority(host)
    return "" if named is None else named.host


def is_own_page(sec_fetch_site: bytes | None) -> bool:
    """Whether a C{Sec-Fetch-Site} header, if there is one, says that a page of the same host asks, or the user himself."""
    return sec_fetch_site is None or sec_fetch_site.strip(b" \t").lower() in _OWN_PAGES


def _only_at_own_hosts(host: bytes) -> BadRequest:
    return BadRequest(
        f"This is answered only at Waiter's own host names, and the request's Host is {_quoted(host)}. Send it to "
        "localhost, or add the name to Waiter's hostnames.",
        details={"host": shown(host.decode("latin-1"))},
    )


def _check_origin(host: bytes, origin: bytes | None, sec_fetch_site: bytes | None, to_do: str) -> None:
    if not is_own_page(sec_fetch_site) or (origin is not None and not is_same_origin(origin, host)):
        page = _quoted(origin) if origin is not None else "another site"
        raise CrossOriginForbidden(
            f"Cross-origin request not allowed: a page of {page} may not {to_do}. Use a page of Waiter's own, or a program "
            "that sends neither Origin nor Sec-Fetch-Site.",
            details={"origin": shown((origin or b"").decode("latin-1")), "host": shown(host.decode("latin-1"))},
        )


def _decoded(path: bytes) -> bytes:
    """The path as a router of URLs sees it: decoded, without doubled slashes and without one at the end."""
    bare = unquote_to_bytes(path.partition(b"?")[0])
    return re.sub(rb"/+", b"/", bare).rstrip(b"/") or b"/"


def _quoted(header: bytes) -> str:
    return f"'{shown(header.decode('latin-1'))}'"
