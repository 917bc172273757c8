"""Files of the network, where a person asked for them: each downloaded once into the cache of `datasets`."""

import hashlib
import os
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets

from ...errors import HubmodelsError, one_line
from ...files import atomic_file

LARGEST_DOWNLOAD = 256 * 1024**2  # bytes of one file
SECONDS = 30.0  # to wait for an answer


def download_all(urls: list[str]) -> dict[str, str]:
    """Download files, and return where each lies.

    A file that cannot be had gets a path at which nothing lies: it is then one that cannot be read, like others.
    Raises HubmodelsError where none of them can be had."""
    if not urls:
        return {}
    unique = list(dict.fromkeys(urls))
    reasons: list[str] = []

    def get(url: str) -> str:
        try:
            return download(url)
        except (OSError, ValueError) as error:
            reasons.append(f"{url[:100]}: {one_line(error, 150)}")
            return url

    with ThreadPoolExecutor(max_workers=8) as threads:
        local = dict(zip(unique, threads.map(get, unique), strict=True))
    if len(reasons) == len(unique):
        raise HubmodelsError(f"no file can be downloaded: {reasons[0]}")
    return local


def download(url: str) -> str:
    """Download one file, unless it is in the cache, and return its path. Raises OSError or ValueError."""
    suffix = os.path.splitext(url.split("?")[0].split("#")[0])[1][:10]
    name = hashlib.sha256(url.encode()).hexdigest()
    path = Path(datasets.config.HF_DATASETS_CACHE, "hubmodels", "downloads", name + suffix)
    if path.is_file():
        return os.fspath(path)
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # http and https alone come here
        content = answer.read(LARGEST_DOWNLOAD + 1)
    if len(content) > LARGEST_DOWNLOAD:
        raise ValueError(f"it is larger than {LARGEST_DOWNLOAD:,} bytes")
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return os.fspath(path)
