"""The secret of a webhook, as the Standard Webhooks specification writes it. Imports nothing that is bounded."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from sagakeep.errors import ConfigurationError

SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES_MIN: Final = 24


def secret_of(text: str) -> bytes:
    """Read a secret: `whsec_` and at least 24 bytes in Base64. Raises ConfigurationError, without the secret."""
    wanted = f"expected {SECRET_PREFIX} and the Base64 of at least {SECRET_BYTES_MIN} bytes"
    try:
        secret = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ConfigurationError(f"is no secret; {wanted}") from None
    if not text.startswith(SECRET_PREFIX) or len(secret) < SECRET_BYTES_MIN:
        raise ConfigurationError(f"is no secret; {wanted}")
    return secret
