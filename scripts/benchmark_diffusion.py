"""Our diffusion model beside diffusers' UNet2DModel of the same weight count, and the same weights in both.

    OMP_NUM_THREADS=1 python scripts/benchmark_diffusion.py [--rounds 9] [--device cpu] [--dtype float32] [--compile]

One evaluation of the network for 64 images of 28x28, and a training step (forward and backward pass under bfloat16
autocast). Both are timed in turn, so that load falls on both alike, and the medians are compared: of the process's CPU
time on a CPU, which another process does not lengthen, and of wall-clock time on a GPU.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from diffusers import UNet2DModel

from hubmodels import DiffusionConfig, DiffusionModel
from hubmodels.models.diffusion.conversion_diffusion import to_unet2d

BATCH = 64
# The released checkpoint's network.
OURS = {"class_conditional": True, "num_labels": 10, "patch_size": 2, "hidden_sizes": [48, 64], "depth": 1,
        "attention_stages": [1]}  # fmt: skip
# diffusers' U-Net as its training example has it, of about as many weights, on the pixels themselves.
THEIRS = {"sample_size": 28, "in_channels": 1, "out_channels": 1, "num_class_embeds": 11, "layers_per_block": 1,
          "block_out_channels": (32, 56, 64), "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
          "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), "norm_num_groups": 8}  # fmt: skip


def compare(name: str, theirs: Callable, ours: Callable, arguments: argparse.Namespace) -> None:
    """Time both in turn and print how many images each does in a second."""
    on_cpu = arguments.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    seconds: dict[Callable, list[float]] = {theirs: [], ours: []}
    for _ in range(arguments.rounds + 2):
        for run, found in seconds.items():
            started = clock()
            run()
            if not on_cpu:
                torch.accelerator.synchronize()
            found.append(clock() - started)
    theirs_speed, ours_speed = (BATCH / statistics.median(found[2:]) for found in seconds.values())
    print(
        f"{name:<34} images/s: diffusers {theirs_speed:9,.0f}   ours {ours_speed:9,.0f}   "
        f"ratio {ours_speed / theirs_speed:.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--compile", action="store_true", help="torch.compile both networks")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    place = {"device": arguments.device, "dtype": getattr(torch, arguments.dtype)}
    x = torch.randn(BATCH, 1, 28, 28, **place)
    times, labels = torch.full((BATCH,), 500.0, device=arguments.device), torch.arange(BATCH, device=x.device) % 10
    # `place` of the training loop: convolutions with channels last.
    ours = DiffusionModel(DiffusionConfig(**OURS)).to(**place, memory_format=torch.channels_last)
    plain = DiffusionModel(DiffusionConfig(**{**OURS, "patch_size": 1, "hidden_sizes": [32, 64, 64], "image_size": 28,
                                              "attention_stages": [2], "attention_head_size": 8}))  # fmt: skip
    pairs = [
        ("same weight count", UNet2DModel(**THEIRS).to(**place), ours),
        ("same weights, no patches", to_unet2d(plain).to(**place), plain.to(**place)),
    ]
    for name, theirs, model in pairs:
        print(f"{name}: diffusers {theirs.num_parameters():,} weights, ours {model.num_parameters():,}")

        def forward(network: torch.nn.Module) -> Callable:
            call = torch.compile(network) if arguments.compile else network

            def run() -> None:
                with torch.no_grad():
                    call(x, times, labels)

            network.eval()
            return run

        def step(network: torch.nn.Module) -> Callable:
            call = torch.compile(network) if arguments.compile else network

            def run() -> None:
                with torch.autocast(arguments.device, torch.bfloat16):
                    output = call(x, times, labels)
                output = output[0] if isinstance(output, tuple) else output.sample
                output.float().square().mean().backward()
                network.zero_grad()

            return run

        compare(f"{name}, evaluation", forward(theirs), forward(model.network), arguments)
        compare(f"{name}, training", step(theirs.train()), step(model.network.train()), arguments)


if __name__ == "__main__":
    main()
