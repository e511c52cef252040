"""Whom to believe in TLS: connections that ask the other side for a certificate, and those that do not."""

from collections.abc import Callable
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from weakref import ref

from OpenSSL import SSL, crypto
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, CertificateOptions, platformTrust, trustRootFromCertificates
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

_END = b"-----END CERTIFICATE-----"

# OpenSSL's numbers; it has no public words for them.
_REASONS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself alone",
    19: "its authority is not one that is trusted",
    20: "its authority is not one that is trusted",
    21: "its authority is not one that is trusted",
    23: "it was revoked",
    26: "it is not one for servers",
}


class CertificateRefused(ConnectError):
    """The other side's certificate does not prove that it is the one that was meant. The text says why."""

    def __str__(self) -> str:
        return str(self.args[0])


class Trust:
    """
    Decides by whom certificates must be issued, and for which name.

    With authorities or a name given, everybody has to prove who he is. Otherwise those on other machines have, to the
    authorities that this machine trusts; those on this machine, at a loopback address, need not: they are reached without
    a network, and no authority would give them a certificate.
    """

    def __init__(self, *, authorities: bytes | None = None, name: str | None = None) -> None:
        """
        @param authorities: certificates in PEM, instead of the authorities that the machine trusts.
        @param name: the name that certificates must be for, instead of the host's.
        @raise ValueError: there are no certificates, or one of them cannot be read.
        """
        self._root = None if authorities is None else trustRootFromCertificates(_read(authorities))
        self._name = name
        self.creator = lru_cache(maxsize=1024)(self._creator)

    @classmethod
    def from_file(cls, path: str | None, *, name: str | None = None) -> "Trust":
        """
        The trust in the authorities of a file; in those of the machine if there is none.

        @raise ValueError: the file cannot be read, or has no certificates in it.
        """
        if path is None:
            return cls(name=name)
        try:
            return cls(authorities=Path(path).read_bytes(), name=name)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def _creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """What makes the TLS connections to a host; the same for the same host."""
        if self._root is None and self._name is None and _is_loopback(host):
            return AnyCertificate()
        return _Proven(self._name or host, CertificateOptions(trustRoot=self._root or platformTrust()))


@implementer(IOpenSSLClientConnectionCreator)
class AnyCertificate:
    """Speaks TLS without asking who the other side is."""

    def __init__(self) -> None:
        self._options = CertificateOptions(verify=False)

    def clientConnectionForTLS(
        self,
        tlsProtocol: TLSMemoryBIOProtocol,  # noqa: ARG002 - Twisted's signature
    ) -> SSL.Connection:
        """A connection that verifies nothing."""
        return SSL.Connection(self._options.getContext(), None)


@implementer(IOpenSSLClientConnectionCreator)
class _Proven:
    """
    Speaks TLS with the one whose certificate is for a name or an address.

    Twisted's own for this does not tell why a certificate is not believed.
    """

    _log = Logger()

    def __init__(self, name: str, options: CertificateOptions) -> None:
        self._name = name
        self._options = options
        self._is_address = _is_address(name)
        self._pattern = IPAddress_ID(name) if self._is_address else DNS_ID(name)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """A connection that is broken with L{CertificateRefused} if the other side is another."""
        connection = SSL.Connection(self._options.getContext(), None)
        if not self._is_address:
            connection.set_tlsext_host_name(self._name.encode("idna"))
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verifier(tlsProtocol))
        return connection

    def _verifier(self, tls: TLSMemoryBIOProtocol) -> Callable[[SSL.Connection, X509, int, int, int], bool]:
        # Not the protocol itself, which has the connection, which has this.
        protocol = ref(tls)

        def verify(_: SSL.Connection, certificate: X509, number: int, depth: int, good: int) -> bool:
            try:
                reason = None if good else _REASONS.get(number, f"OpenSSL's reason {number}")
                if reason is None and depth == 0:
                    reason = self._mistaken(certificate)
                if reason is None:
                    return True
                tls = protocol()
                if tls is not None:
                    refused = CertificateRefused(string=f"the certificate for {self._name} is not accepted: {reason}")
                    tls.failVerification(Failure(refused))
            except Exception:  # noqa: BLE001 - OpenSSL calls this, and would lose it
                self._log.failure("A certificate could not be verified")
            return False

        return verify

    def _mistaken(self, certificate: X509) -> str | None:
        """Why a certificate that is good is not that of the one meant."""
        patterns = extract_patterns(certificate)
        if not patterns:
            return "it is for nobody by name"
        try:
            verify_service_identity(patterns, [self._pattern], [])
        except VerificationError:
            names = [str(getattr(each, "pattern", each)) for each in patterns]
            return f"it is for {', '.join(map(_plain, names))}"
        return None


def _plain(pattern: str) -> str:
    return pattern.removeprefix("b'").removesuffix("'")


def _read(authorities: bytes) -> list[Certificate]:
    blocks = [block[block.find(b"-----BEGIN CERTIFICATE-----") :] + _END for block in authorities.split(_END)[:-1]]
    if not blocks:
        raise ValueError("there is no certificate in it (-----BEGIN CERTIFICATE-----)")
    try:
        return [Certificate.loadPEM(block) for block in blocks]
    except crypto.Error as error:
        raise ValueError(f"a certificate in it cannot be read: {error}") from None


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
