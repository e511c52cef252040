"""Encrypts what is stored, so that who reads the disk, or a copy of it, learns nothing from it: pure rules."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_bytes

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT = 1

#: How much longer a value becomes.
OVERHEAD = 36

_MAGIC = b"\x00WE1"
_ID_BYTES = 4
_NONCE_BYTES = 12
_SALT_BYTES = 16
# 32 MiB and a tenth of a second for a password: nothing for who knows it, much for who guesses.
SCRYPT_COST = 2**15


class CannotUnseal(Exception):
    """The value was encrypted with another password, or has been changed by who knows none."""


@attrs.frozen(kw_only=True)
class SealRecord:
    """
    What a store says of its encryption.

    @ivar salt: goes into the keys with the passwords.
    @ivar key_ids: of the keys with which values may be encrypted.
    @ivar plain: whether there may still be values from before, that are not encrypted.
    """

    salt: bytes
    key_ids: frozenset[str]
    plain: bool

    def written(self) -> bytes:
        """As it is stored."""
        said = {"format": FORMAT, "keys": sorted(self.key_ids), "plain": self.plain, "salt": self.salt.hex()}
        return json.dumps(said).encode()

    @classmethod
    def read(cls, value: bytes) -> "SealRecord":
        """
        @raise ValueError: it is none, or of a newer format.
        """
        said = json.loads(value)
        if not isinstance(said, Mapping) or said.get("format") != FORMAT:
            raise ValueError("its format is not known")
        try:
            return cls(salt=bytes.fromhex(said["salt"]), key_ids=frozenset(said["keys"]), plain=bool(said["plain"]))
        except (KeyError, TypeError) as error:
            raise ValueError("something is missing") from error


def new_salt() -> bytes:
    """For a store that has none."""
    return token_bytes(_SALT_BYTES)


class KeyRing:
    """Encrypts with the first of some passwords, and decrypts what any of them has encrypted."""

    def __init__(self, passwords: Sequence[str], salt: bytes, *, cost: int = SCRYPT_COST) -> None:
        """
        Takes a tenth of a second for each password, on purpose.

        @param cost: for scrypt; a power of 2.
        """
        keys = [_key(password, salt, cost) for password in passwords]
        self._ciphers = {_id(key): AESGCM(key) for key in keys}
        self.first_id = _id(keys[0]).hex()
        #: Whether values that are not encrypted are taken, too.
        self.takes_plain = False

    @property
    def key_ids(self) -> frozenset[str]:
        """Of all passwords."""
        return frozenset(each.hex() for each in self._ciphers)

    def seal(self, name: str, value: bytes) -> bytes:
        """
        Encrypt a value.

        @param name: where it is stored; it can be decrypted for this name alone.
        """
        key_id = bytes.fromhex(self.first_id)
        nonce = token_bytes(_NONCE_BYTES)
        return b"".join((_MAGIC, key_id, nonce, self._ciphers[key_id].encrypt(nonce, value, name.encode())))

    def unseal(self, name: str, sealed: bytes) -> bytes:
        """
        Decrypt a value.

        @raise CannotUnseal: none of the passwords does.
        """
        if not sealed.startswith(_MAGIC):
            if self.takes_plain:
                return sealed
            raise CannotUnseal("it is not encrypted, and all values of this store are")
        key_id, nonce, text = _cut(sealed, len(_MAGIC), _ID_BYTES, _NONCE_BYTES)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotUnseal("it is encrypted with a password that is not among store.passwords")
        try:
            return cipher.decrypt(nonce, text, name.encode())
        except (InvalidTag, ValueError):
            # ValueError: it has been cut.
            raise CannotUnseal("it has been changed by something that does not know the password") from None

    def is_current(self, sealed: bytes) -> bool:
        """Whether a value is encrypted with the first password."""
        return sealed.startswith(_MAGIC + bytes.fromhex(self.first_id))


def _cut(sealed: bytes, start: int, *lengths: int) -> Iterable[bytes]:
    for length in lengths:
        yield sealed[start : start + length]
        start += length
    yield sealed[start:]


def _key(password: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogateescape"), salt=salt, n=cost, r=8, p=1, maxmem=2048 * cost + 2**20, dklen=32
    )


def _id(key: bytes) -> bytes:
    return hashlib.sha256(b"waiter store key id" + key).digest()[:_ID_BYTES]
