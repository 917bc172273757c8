"""The processes of a launch: found before anything asks which one this is, and left when all is written."""

import os
import sys

import torch
from accelerate import PartialState


def find_processes() -> None:
    """Make the processes of a launch known, before anything asks which one this is."""
    # Without `cpu` accelerate does not see the processes of a torchrun on a machine without a GPU.
    PartialState(cpu=not torch.accelerator.is_available())


def leave_processes(code: int) -> None:
    """End this process at once where it is one of several on CPUs: everything is written, and gloo's threads abort
    about one exit in thirty where the interpreter takes them down (torch 2.13)."""
    group = torch.distributed
    if group.is_available() and group.is_initialized() and group.get_world_size() > 1 and group.get_backend() == "gloo":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
