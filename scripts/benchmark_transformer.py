"""Our transformer beside transformers' LlamaForCausalLM and ViTForImageClassification, with the same weights and dtype.

    OMP_NUM_THREADS=1 python scripts/benchmark_transformer.py [--rounds 9] [--device cpu] [--dtype float32]

Both are timed in turn, so that load falls on both alike, and the medians are compared: of the process's CPU time on a
CPU, which another process does not lengthen, and of wall-clock time on a GPU. A training step is a forward and a
backward pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification

from hubmodels.models.transformer.conversion_transformer import convert_llama, convert_vit

LLAMA = {"vocab_size": 65, "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
         "num_attention_heads": 4, "max_position_embeddings": 512,
         "bos_token_id": None, "eos_token_id": None}  # fmt: skip
VIT = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 6, "num_attention_heads": 4,
       "image_size": 28, "patch_size": 4, "num_channels": 1, "num_labels": 10}  # fmt: skip


def compare(name: str, unit: str, count: int, theirs: Callable, ours: Callable, arguments: argparse.Namespace) -> None:
    """Time both in turn and print how much of `unit` each does in a second."""
    on_cpu = arguments.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    seconds: dict[Callable, list[float]] = {theirs: [], ours: []}
    for _ in range(arguments.rounds + 1):
        for run, found in seconds.items():
            started = clock()
            run()
            if not on_cpu:
                torch.accelerator.synchronize()
            found.append(clock() - started)
    theirs_speed, ours_speed = (count / statistics.median(found[1:]) for found in seconds.values())
    print(
        f"{name:<22} {unit}/s: transformers {theirs_speed:9,.0f}   ours {ours_speed:9,.0f}   "
        f"ratio {ours_speed / theirs_speed:.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    place = {"device": arguments.device, "dtype": getattr(torch, arguments.dtype)}
    llama, vit = LlamaForCausalLM(LlamaConfig(**LLAMA)), ViTForImageClassification(ViTConfig(**VIT))
    language = [model.to(**place) for model in (llama, convert_llama(llama))]
    images = [model.to(**place) for model in (vit, convert_vit(vit))]
    for pair in (language, images):
        assert pair[0].num_parameters() == pair[1].num_parameters()
        print(f"{type(pair[0]).__name__} and {type(pair[1]).__name__}: {pair[0].num_parameters():,} weights each")

    def step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Callable:
        def run() -> None:
            model.train()(**batch).loss.backward()
            model.zero_grad()

        return run

    def generate(model: torch.nn.Module, prompt: torch.Tensor) -> Callable:
        return lambda: model.eval().generate(prompt, max_new_tokens=100, do_sample=False)

    tokens = torch.randint(65, (32, 128), device=arguments.device)
    text = {"input_ids": tokens, "labels": tokens}
    compare("training, text", "tokens", tokens.numel(), *(step(model, text) for model in language), arguments)
    pixels = {
        "pixel_values": torch.randn(64, 1, 28, 28, **place),
        "labels": torch.arange(64, device=arguments.device) % 10,
    }
    compare("training, images", "images", 64, *(step(model, pixels) for model in images), arguments)
    prompt = tokens[:1, :16]
    compare("generating, one row", "tokens", 100, *(generate(model, prompt) for model in language), arguments)


if __name__ == "__main__":
    main()
