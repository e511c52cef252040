"""The certificates that clients are shown: read from files, chosen by the name they ask for, read again when they change."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import attrs
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from waiter.router.endpoint import TLSEndpoint
from waiter.router.pem import BadPEM, Pair, by_name, certificates_in, keys_in, pair_in_order, pairs_among

T = TypeVar("T")
Seen = tuple[tuple[str, int, int, int], ...]

PROTOCOLS = (b"http/1.1", b"http/1.0")
"""What is spoken inside of TLS, in the words of ALPN."""


class InThread(Protocol):
    """Calls a function where waiting for a disk holds nobody up."""

    def __call__(self, call: Callable[[], T], /) -> "Deferred[T]":
        """Fires with what it returns."""


@attrs.frozen(kw_only=True, eq=False)
class _Shown:
    """
    What is shown to whom.

    @ivar otherwise: to those who ask for a name that nothing is known of, or for none.
    """

    by_name: Mapping[str, SSL.Context]
    otherwise: SSL.Context


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    The certificates of one endpoint.

    Connections go on with the certificate they began with.
    """

    _log = Logger()

    def __init__(self, endpoint: TLSEndpoint) -> None:
        self._endpoint = endpoint
        self._shown: _Shown | None = None
        # How the files were when they were read, and at the last look.
        self._read: Seen = ()
        self._seen: Seen = ()

    def load(self) -> None:
        """
        Read the files, which blocks.

        @raise BadPEM: they do not hold.
        @raise OSError: they cannot be read.
        """
        self._read = self._seen = self._look()
        self._shown = self._contexts(self._pairs())

    async def refresh(self, in_thread: InThread) -> None:
        """
        Look whether the files have changed, and read them when they have done so and rest: a file being written is left
        alone. If they do not hold, that is logged, and those that were read before are shown further on.
        """
        before, self._seen = self._seen, await in_thread(self._look)
        if self._seen in {self._read, ()} or self._seen != before:
            return
        self._read = self._seen
        try:
            self._shown = self._contexts(await in_thread(self._pairs))
        except (BadPEM, OSError) as error:
            self._log.error(
                "The certificates of {endpoint} have changed and cannot be used: {reason}. Those read before stay in use.",
                endpoint=self._endpoint.text,
                reason=str(error),
            )
        else:
            self._log.info("The certificates of {endpoint} were read again", endpoint=self._endpoint.text)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002 - Twisted's signature
        """
        One connection of OpenSSL, which chooses its certificate by the name it hears.

        @raise RuntimeError: nothing was loaded.
        """
        if self._shown is None:
            raise RuntimeError("no certificates were loaded")
        return SSL.Connection(self._shown.otherwise, None)

    def _chosen(self, name: bytes | None) -> SSL.Context | None:
        """The context for a name that a client says, C{None} for the one it has."""
        if self._shown is None or not name:
            return None
        # Bytes of whatever kind are no reason to fail.
        asked = name.decode("latin-1").lower()
        known = self._shown.by_name
        return known.get(asked) or known.get("*." + asked.partition(".")[2])

    def _look(self) -> Seen:
        return tuple([_seen(path) for path in self._files()])

    def _files(self) -> list[Path]:
        endpoint = self._endpoint
        if endpoint.directory is None:
            named = (endpoint.certificate, endpoint.private_key, endpoint.chain)
            return [Path(name) for name in dict.fromkeys(named) if name is not None]
        found = []
        for folder, _, names in os.walk(endpoint.directory):
            found += [Path(folder) / name for name in names if name.endswith(".pem")]
        return sorted(found)

    def _pairs(self) -> list[Pair]:
        endpoint = self._endpoint
        contents = {str(path): path.read_bytes() for path in self._files()}
        if endpoint.directory is None:
            chain = () if endpoint.chain is None else certificates_in(contents[_same(endpoint.chain)], endpoint.chain)
            pair = pair_in_order(
                certificates_in(contents[_same(endpoint.certificate)], endpoint.certificate),
                keys_in(contents[_same(endpoint.private_key)], endpoint.private_key),
                endpoint.certificate,
                endpoint.private_key,
            )
            return [attrs.evolve(pair, chain=(*pair.chain, *chain))]
        certificates = [each for name, data in contents.items() for each in certificates_in(data, name)]
        keys = [each for name, data in contents.items() for each in keys_in(data, name)]
        pairs = pairs_among(certificates, keys)
        if not pairs:
            if not Path(endpoint.directory).is_dir():
                raise BadPEM(f"{endpoint.directory} is no directory that can be read")
            raise BadPEM(
                f"among the files *.pem in {endpoint.directory} is no certificate whose key is there, too "
                f"(certificates: {len(certificates)}, keys: {len(keys)})"
            )
        return pairs

    def _contexts(self, pairs: list[Pair]) -> _Shown:
        made = {id(pair): self._context(pair) for pair in pairs}
        return _Shown(
            by_name={name: made[id(pair)] for name, pair in by_name(pairs).items()}, otherwise=made[id(pairs[0])]
        )

    def _context(self, pair: Pair) -> SSL.Context:
        try:
            key = PKey.from_cryptography_key(pair.key)  # type: ignore[arg-type]
        except TypeError:
            raise BadPEM("a key is of a kind that is not supported; use one of RSA or ECDSA") from None
        options = CertificateOptions(
            privateKey=key,
            certificate=X509.from_cryptography(pair.certificate),
            extraCertChain=[X509.from_cryptography(each) for each in pair.chain],
            contextForServerName=self._chosen,
            # Sealed with a key that this context alone has: sessions end when certificates are read again. pyOpenSSL has no
            # words for OpenSSL's way to change the key and still take what the one before has sealed.
            enableSessionTickets=True,
        )
        try:
            context = options.getContext()
        except SSL.Error as error:
            raise BadPEM(f"a certificate cannot be used: {error}") from None
        context.set_alpn_select_callback(_agreed)
        return context


def _agreed(_: SSL.Connection, offered: list[bytes]) -> Any:
    """What is spoken of what a client offers. Who speaks none of it is told so in HTTP, not by an alert."""
    return next((protocol for protocol in PROTOCOLS if protocol in offered), SSL.NO_OVERLAPPING_PROTOCOLS)


def _same(name: str) -> str:
    return str(Path(name))


def _seen(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_mtime_ns, found.st_size
