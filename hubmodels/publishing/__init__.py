"""Make a verified Hub repository of a trained model: the release folder, its card, checks, upload and download."""

from .checks import check_release
from .code import compose_release
from .fetch import download, list_on_hub, verify
from .folder import refresh_card, release, replace_results
from .golden import check_golden
from .refresh import refresh_golden, replace_files
from .upload import Publication, publish
from .verification import Verification, verify_folder

__all__ = [
    "Publication",
    "Verification",
    "check_golden",
    "check_release",
    "compose_release",
    "download",
    "list_on_hub",
    "publish",
    "refresh_card",
    "refresh_golden",
    "release",
    "replace_files",
    "replace_results",
    "verify",
    "verify_folder",
]
