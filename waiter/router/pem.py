"""Certificates and keys as PEM files have them, and which belong together."""

import re
from collections.abc import Iterable, Mapping

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, SubjectAlternativeName, load_pem_x509_certificate
from cryptography.x509.oid import NameOID

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_DEEPEST_CHAIN = 10


class BadPEM(ValueError):
    """Something is no certificate or key, or does not fit the others. The message says which file, and what to do."""


@attrs.frozen(kw_only=True, eq=False)
class Pair:
    """
    A certificate with its key.

    @ivar chain: the certificates that lead from it to an authority, in order, without the authority's own.
    """

    certificate: Certificate
    key: PrivateKeyTypes
    chain: tuple[Certificate, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The host names it is for, in lower case; C{*.} begins one that is for all hosts right below."""
        try:
            alternatives = self.certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
            names = alternatives.get_values_for_type(DNSName)
        except ExtensionNotFound:
            names = [str(each.value) for each in self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        return tuple([name.lower() for name in names])


def certificates_in(data: bytes, where: str) -> list[Certificate]:
    """
    The certificates in a file, in order.

    @raise BadPEM: one of them cannot be read.
    """
    try:
        return [load_pem_x509_certificate(block) for kind, block in _blocks(data) if kind == b"CERTIFICATE"]
    except ValueError as error:
        raise BadPEM(f"{where} has a certificate that cannot be read ({error})") from None


def keys_in(data: bytes, where: str) -> list[PrivateKeyTypes]:
    """
    The private keys in a file, in order.

    @raise BadPEM: one of them cannot be read.
    """
    blocks = [(kind, block) for kind, block in _blocks(data) if kind.endswith(b"PRIVATE KEY")]
    if any(kind.startswith(b"ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in block for kind, block in blocks):
        raise BadPEM(f"{where} has a key that is locked by a password. Write one without: openssl pkey -in {where}")
    try:
        return [load_pem_private_key(block, None) for _, block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadPEM(f"{where} has a key that cannot be read ({error})") from None


def pair_in_order(
    certificates: list[Certificate], keys: list[PrivateKeyTypes], certificate_where: str, key_where: str
) -> Pair:
    """
    The pair that two files make: the first certificate is the server's own, those that follow lead to the authority.

    @raise BadPEM: they do not belong together.
    """
    if not certificates:
        raise BadPEM(f"{certificate_where} has no certificate (-----BEGIN CERTIFICATE-----)")
    if not keys:
        raise BadPEM(f"{key_where} has no private key (-----BEGIN PRIVATE KEY-----)")
    if _public(certificates[0]) != _public(keys[0]):
        raise BadPEM(
            f"the key in {key_where} is not that of the first certificate in {certificate_where}. The server's own "
            "certificate comes first, those of its authorities after it"
        )
    return Pair(certificate=certificates[0], key=keys[0], chain=tuple(certificates[1:]))


def pairs_among(certificates: Iterable[Certificate], keys: Iterable[PrivateKeyTypes]) -> list[Pair]:
    """All pairs that can be made, each with the chain that can be made, in the certificates' order."""
    known = list({_encoded(certificate): certificate for certificate in certificates}.values())
    by_public = {_public(key): key for key in keys}
    return [
        Pair(certificate=certificate, key=by_public[_public(certificate)], chain=_chain(certificate, known))
        for certificate in known
        if _public(certificate) in by_public
    ]


def by_name(pairs: Iterable[Pair]) -> Mapping[str, Pair]:
    """Which pair to use for which name: the one that is valid longest."""
    chosen: dict[str, Pair] = {}
    for pair in pairs:
        for name in pair.names:
            other = chosen.get(name)
            if other is None or other.certificate.not_valid_after_utc < pair.certificate.not_valid_after_utc:
                chosen[name] = pair
    return chosen


def _chain(certificate: Certificate, known: list[Certificate]) -> tuple[Certificate, ...]:
    chain: list[Certificate] = []
    last = certificate
    while len(chain) < _DEEPEST_CHAIN:
        above = next((each for each in known if _issued(last, each)), None)
        # An authority's own certificate is known to those who trust it, and of no use to others.
        if above is None or above in chain or _issued(above, above):
            break
        chain.append(above)
        last = above
    return tuple(chain)


def _issued(certificate: Certificate, by: Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _public(owner: Certificate | PrivateKeyTypes) -> bytes:
    return owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _encoded(certificate: Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(match[1], match[0]) for match in _BLOCK.finditer(data)]
