"""Certificates of an authority that lives as long as a test."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_SIGNS = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip
_ADDRESS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


class Authority:
    """Issues certificates for 127.0.0.1; its own is in `file`."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name_of("authority of a test")
        self.file = folder / "authority.pem"
        certificate = self._certificate("authority of a test", self._key, is_authority=True)
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, common_name: str, file: Path, password: str | None = None) -> None:
        """Key and certificate of a server or a client are in one file; the key under a password."""
        key = ec.generate_private_key(ec.SECP256R1())
        hidden: KeySerializationEncryption = NoEncryption()
        if password:
            hidden = BestAvailableEncryption(password.encode())
        written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden)
        certificate = self._certificate(common_name, key, is_authority=False)
        file.write_bytes(written + certificate.public_bytes(Encoding.PEM))
        file.chmod(0o600)

    def _certificate(
        self, common_name: str, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        unsigned = (
            x509.CertificateBuilder()
            .subject_name(_name_of(common_name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_ADDRESS]), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if is_authority:  # from Python 3.13 on no other one is taken
            unsigned = unsigned.add_extension(_SIGNS, critical=True)
        return unsigned.sign(self._key, hashes.SHA256())


def _name_of(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
