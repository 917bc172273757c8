"""Talk to the Hub over a network that fails: try again what may pass, and tell a person the rest.

huggingface_hub tries some calls again by itself and others not at all (creating a repository, the commit, a download
that gets a 5xx). `attempt` closes that gap for calls that may be repeated; `hub_errors` turns what is left into one
line.
"""

import contextlib
import errno
import json
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import huggingface_hub
from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import HubmodelsError, one_line

logger = logging.getLogger("hubmodels")

# Seconds between attempts of a call that failed for a reason that may pass.
RETRY_WAITS = (1.0, 3.0, 9.0)
MAX_RETRY_AFTER = 90.0  # seconds; a server that asks for more gets an error instead of our patience
TRANSIENT_STATUS = (408, 429, 500, 502, 503, 504)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Result = TypeVar("Result")


def attempt(
    call: Callable[[], Result],
    waits: Sequence[float] = RETRY_WAITS,
    may_pass: Callable[[Exception], bool] | None = None,
) -> Result:
    """Call, and call again after each wait while the failure may pass. Only for calls that may be repeated.

    Args:
        call: what to do.
        waits: seconds before each further attempt; a server that asks for more gets it.
        may_pass: tells of further errors that may pass, beside `is_transient`.
    """
    for wait in (*waits, None):
        try:
            return call()
        except Exception as error:
            if wait is None or not (is_transient(error) or (may_pass is not None and may_pass(error))):
                raise
            pause(error, wait)
    raise AssertionError("unreachable")


def pause(error: Exception, wait: float) -> None:
    """Wait before the next attempt, as long as the server asks for where it does."""
    wait = max(wait, min(retry_after(error), MAX_RETRY_AFTER))
    logger.info("The Hub could not be reached (%s); trying again in %.0f s", _short(error), wait)
    time.sleep(wait)


def status_of(error: BaseException | None) -> int | None:
    """Find the HTTP status behind an error, if there is one; huggingface_hub wraps some in a RuntimeError."""
    for link in _chain(error):
        if isinstance(link, HfHubHTTPError):
            return link.response.status_code
    return None


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may succeed in a moment: the server was busy, or the connection broke."""
    if any(isinstance(link, OfflineModeIsEnabled) for link in _chain(error)):
        return False
    status = status_of(error)
    if status is not None:
        return status in TRANSIENT_STATUS and retry_after(error) <= MAX_RETRY_AFTER
    # huggingface_hub reads some answers as JSON before it looks at their status; an error page is none.
    return any(_is_transport(link) or isinstance(link, json.JSONDecodeError) for link in _chain(error))


def is_expired(error: Exception, endpoint: str) -> bool:
    """Tell whether the storage behind the Hub refused a signed address, which is valid for a while only.

    Asking the Hub again gives a new one, which huggingface_hub does not do by itself."""
    answer = next((link for link in _chain(error) if isinstance(link, HfHubHTTPError)), None)
    if answer is None or answer.response.status_code != 403:
        return False
    return not str(answer.response.url).startswith(endpoint)


def retry_after(error: BaseException) -> float:
    """Read how many seconds the server asks to wait, from Retry-After or the `t` of a rate limit; 0 by default."""
    for link in _chain(error):
        if isinstance(link, HfHubHTTPError):
            headers = link.response.headers
            with contextlib.suppress(ValueError):
                return float(headers.get("retry-after", "none"))
            if match := re.search(r";r=0;t=(\d+)", headers.get("ratelimit", "")):
                return float(match[1])
    return 0.0


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and those behind it, the last first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_transport(error: BaseException) -> bool:
    """Tell whether an error is a broken or refused connection.

    The HTTP library is httpx or httpx2, depending on huggingface_hub's version; xet raises the builtin
    ConnectionError."""
    library = type(error).__module__.split(".")[0]
    return isinstance(error, ConnectionError | TimeoutError) or (
        library in ("httpx", "httpx2")
        and not isinstance(error, HfHubHTTPError)
        and "InvalidURL" not in type(error).__name__
    )


@contextlib.contextmanager
def hub_errors(doing: str, repo_id: str, endpoint: str) -> Iterator[None]:
    """Turn whatever huggingface_hub raises inside into one HubmodelsError that says what to do, without any secret."""
    try:
        yield
    except HubmodelsError as error:
        raise HubmodelsError(f"cannot {doing}: {error}") from error
    except (OSError, ValueError, RuntimeError) as error:  # HfHubHTTPError is an OSError
        raise HubmodelsError(f"cannot {doing}: {explain(error, repo_id, endpoint)}") from error
    except Exception as error:
        if not _is_transport(error):
            raise
        raise HubmodelsError(f"cannot {doing}: {explain(error, repo_id, endpoint)}") from error


def explain(error: Exception, repo_id: str, endpoint: str) -> str:
    """Explain an error of huggingface_hub in one line: what happened and what to do."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, OSError) and link.errno in NO_ROOM:
            return f"no room on the disk for {link.filename or 'the files'} ({link.strerror}); free some"
    if any(isinstance(link, OfflineModeIsEnabled) for link in chain):
        return "offline mode is on; unset HF_HUB_OFFLINE"
    known = next((link for link in chain if isinstance(link, HfHubHTTPError)), None)
    if known is not None:
        return _explain_status(known, repo_id)
    if any(isinstance(link, json.JSONDecodeError) for link in chain):
        return f"{endpoint} gave an answer that is not JSON, as a Hub with a fault does; do it again later"
    if any(isinstance(link, LocalTokenNotFoundError) for link in chain):
        return "there is no token; run `hf auth login`, or set HF_TOKEN"
    if isinstance(error, HFValidationError):
        return f"{repo_id!r} is no repository id; it must be namespace/name, of letters, digits, `-`, `_` and `.`"
    if isinstance(error, LocalEntryNotFoundError) and "outgoing traffic has been disabled" in str(error):
        return f"offline mode is on and {repo_id} is not in the cache whole; unset HF_HUB_OFFLINE"
    if any(_is_transport(link) for link in chain) or isinstance(error, LocalEntryNotFoundError):
        hint = (
            "; where the server has no xet storage, set HF_HUB_DISABLE_XET=1"
            if isinstance(error, ConnectionError)
            else ""
        )
        return f"the connection to {endpoint} failed ({_short(error)}){hint}; check the network and do it again"
    return _short(error)


def _explain_status(error: HfHubHTTPError, repo_id: str) -> str:
    """Explain an answer of the Hub that is an error, with what the server says of it."""
    status = error.response.status_code
    said = one_line(redact(str(error.server_message or "")), 200)
    said = f" (the server says: {said})" if said else ""
    if isinstance(error, GatedRepoError):
        return f"{repo_id} is gated: ask for access on its page, then use a token that has it{said}"
    if isinstance(error, DisabledRepoError):
        return f"{repo_id} is disabled{said}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no repository {repo_id}, or it is private and your token may not read it; check the name, "
            "or run `hf auth login`"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{repo_id} has no such revision{said}"
    if isinstance(error, EntryNotFoundError):
        return f"a file is not in {repo_id}{said}"
    if isinstance(error, BadRequestError):
        return f"the Hub refuses the request{said}"
    if status == 401:
        return f"the token is not valid; run `hf auth login`, or set HF_TOKEN to a token with write access{said}"
    if status == 403:
        return f"the token may not do this in {repo_id}; use one with write access to it{said}"
    if status == 412:
        return f"{repo_id} has changed meanwhile; look at what changed there, then publish again{said}"
    if status == 413:
        return f"a file is too large for the Hub{said}"
    if status == 429:
        wait = retry_after(error)
        return f"the Hub limits the rate of requests; try again{f' in {wait:.0f} s' if wait else ' later'}{said}"
    if status >= 500:
        return (
            f"the Hub has a fault (status {status}){said}; do it again later: what is there already is not sent twice"
        )
    return f"the Hub answered with status {status}{said}"


def redact(text: str) -> str:
    """Replace in a text all that is, or looks like, a token."""
    token = huggingface_hub.get_token()
    if token:
        text = text.replace(token, "hf_***")
    return re.sub(r"\b(hf_|Bearer\s+)[A-Za-z0-9_.-]{8,}", r"\1***", text)


def _short(error: BaseException) -> str:
    """Give an error's message in a few words, without any token."""
    return one_line(redact(str(error)), 200) or type(error).__name__
