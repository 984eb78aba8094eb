"""What a process shows to the broker, and what it demands of it: read from one file, which `VARIABLE` names.

The file is TOML, and belongs to its user alone:

    user = "w1"
    password = "..."            # or, without a user: token = "..."
    ca = "farm-ca.pem"          # whose certificates are believed; the system's own without it
    certificate = "w1.pem"      # shown to a broker that asks for one
    key = "w1-key.pem"

Secrets come from nowhere else: what stands on a command line or in an address is seen by everybody on the machine, and
is written into logs. Processes that a process starts find the same file by the same variable; tasks do not.
"""

import os
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from events.errors import CredentialsUnusable

VARIABLE = "RESURGAM_CREDENTIALS"
FILE_BYTES_MAX = 64 * 1024
OTHERS = 0o077


class Credentials(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths are relative to the file that they stand in."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __repr__(self) -> str:
        """Without what nobody is to see."""
        return f"Credentials(user={self.user!r})"

    @property
    def admits(self) -> bool:
        """They say who this is; else they are only about encryption."""
        return self.user is not None or self.token is not None

    @property
    def encrypts(self) -> bool:
        return self.ca is not None or self.certificate is not None

    def context(self) -> ssl.SSLContext:
        """Raises:
        CredentialsUnusable: a file that they name cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            names = ", ".join(name for name in (self.ca, self.certificate, self.key) if name is not None)
            raise CredentialsUnusable(names, f"certificates and keys are PEM files ({error})") from error
        return context


NONE = Credentials()


def credentials(environment: Mapping[str, str] | None = None) -> Credentials:
    """Those of this process; `NONE` where the variable is not set.

    Raises:
        CredentialsUnusable: it names a file that is not there, is open to others, or does not hold what it should.
    """
    named = (os.environ if environment is None else environment).get(VARIABLE)
    return read(Path(named)) if named else NONE


def read(path: Path) -> Credentials:
    """Raises:
    CredentialsUnusable: see `credentials`.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & OTHERS:
                raise CredentialsUnusable(str(path), f"others may read it: 'chmod 600 {path}'")
            content = file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise CredentialsUnusable(str(path), error.strerror or "it cannot be read") from error
    try:
        found = msgspec.convert(tomllib.loads(content.decode()), Credentials)
    except (ValueError, msgspec.ValidationError) as error:
        raise CredentialsUnusable(str(path), str(error)) from error
    if (found.user is None) != (found.password is None) or (found.user and found.token):
        raise CredentialsUnusable(str(path), "it takes a user with a password, or a token, or neither")
    if found.key is not None and found.certificate is None:
        raise CredentialsUnusable(str(path), "there is a key, and no certificate that it belongs to")
    beside = {
        name: str(path.parent / given) for name in ("ca", "certificate", "key") if (given := getattr(found, name))
    }
    return msgspec.structs.replace(found, **beside)
