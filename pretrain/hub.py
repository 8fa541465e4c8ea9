"""Is the Hugging Face hub within reach? Asked once, within seconds, before a library starts its long retries."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlparse

from geomprobe.common import InputError

TIMEOUT_S = 3.0


def require_hub(hint: str) -> None:
    """Raise InputError with ``hint`` where the hub cannot be reached."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    offline = next(
        (name for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE") if os.environ.get(name, "0") not in ("", "0")), None
    )
    if offline:
        raise InputError(f"The hub is switched off by {offline}.", hint)
    proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    address = urlparse(proxy or endpoint)
    try:
        socket.create_connection(
            (address.hostname or "", address.port or (80 if address.scheme == "http" else 443)), TIMEOUT_S
        ).close()
    except OSError as error:
        raise InputError(f"The Hugging Face hub ({endpoint}) cannot be reached: {error}", hint) from None


def is_cached(name: str) -> bool:
    """Return whether some revision of a model or tokenizer lies in the hub's local cache."""
    root = os.environ.get("HF_HUB_CACHE") or os.path.join(
        os.environ.get("HF_HOME", os.path.expanduser("~/.cache/huggingface")), "hub"
    )
    return any((Path(root) / f"models--{name.replace('/', '--')}" / "snapshots").glob("*/tokenizer*"))
