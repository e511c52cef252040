"""Authorities, and certificates issued by them, made for a test."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Issued:
    """A certificate and its key."""

    def __init__(self, certificate, key, chain=()):
        self.certificate = certificate
        self.key = key
        self.chain = chain

    @property
    def pem(self):
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self):
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def serial(self):
        return self.certificate.serial_number


class Authority(Issued):
    """Issues certificates; one by itself, or by another authority."""

    def __init__(self, name="Test Authority", above=None):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        signer = above or self
        issuer = subject if above is None else above.certificate.subject
        builder = _builder(subject, issuer, key, days=365).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        super().__init__(builder.sign(key if above is None else signer.key, hashes.SHA256()), key)

    def issue(self, *names, addresses=(), days=30, key=None, common_name="server"):
        """A certificate for host names and addresses; expired if C{days} is negative."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(common_name), self.certificate.subject, key, days=days)
        alternatives = [x509.DNSName(name) for name in names]
        alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)


def _name(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject, issuer, key, *, days):
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(now + timedelta(days=days))
    )
