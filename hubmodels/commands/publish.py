"""`hubmodels publish`: upload a release folder in one commit, read it back, verify it."""

import argparse

from ._parser import add_flag, add_json_flag, print_answer

SUMMARY = "upload a release folder in one commit, read it back, verify it"
DESCRIPTION = "Upload a release folder in one commit, read it back, verify it."
FIELDS = None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the folder, the repository, and how to commit."""
    parser.add_argument("folder", help="a release folder")
    add_flag(parser, "repo_id", required=True, metavar="ID", help="the repository on the Hub, namespace/name")
    add_flag(parser, "private", action="store_true", help="a new repository is private")
    add_flag(parser, "tag", help="tag the commit, for example v1.0")
    add_flag(parser, "create_pr", action="store_true", help="open a pull request instead of changing the branch")
    add_flag(parser, "commit_message", metavar="TEXT", help="default: names the model and its metrics")
    add_flag(parser, "parent_commit", metavar="SHA", help="refuse unless this is the head of the branch")
    add_flag(parser, "dry_run", action="store_true", help="list what would be sent, change nothing")
    add_flag(parser, "refresh_code", action="store_true", help="first renew the folder's code from the installed")
    add_json_flag(parser)


def run(arguments: argparse.Namespace, rest: list[str]) -> None:
    """Publish, and print what was sent."""
    from ..publishing import publish

    names = ("repo_id", "tag", "create_pr", "commit_message", "parent_commit", "dry_run", "refresh_code")
    options = {name: getattr(arguments, name) for name in names}
    print_answer(arguments, publish(arguments.folder, private=arguments.private or None, **options))
