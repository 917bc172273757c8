"""Speed of the recurrent family: training beside a loop written by hand, `generate` beside a GPT-2 of the same size.

    OMP_NUM_THREADS=1 python scripts/benchmark_rnn.py [--rounds 5] [--output FILE]

The methods take turns, round after round in one process, so that a busy machine slows all of them; the numbers are
medians over the rounds. Text and weights are random, which speed does not depend on.
"""

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import datasets
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from hubmodels import RnnConfig, RnnForCausalLM
from hubmodels.cpu import cpu_name
from hubmodels.data import Batches
from hubmodels.data.columns import Columns, WindowedColumns
from hubmodels.recipe import TrainingArguments
from hubmodels.training import train

MODEL = {"cell": "lstm", "vocab_size": 65, "embedding_size": 128, "hidden_size": 304, "num_hidden_layers": 2}
ROWS, LENGTH, STEPS = 32, 128, 8  # lanes, tokens of a window, steps of a round
PROMPT, NEW_TOKENS = 16, 512


class ByHand(nn.Module):
    """The same network from torch.nn."""

    def __init__(self) -> None:
        super().__init__()
        width, hidden = MODEL["embedding_size"], MODEL["hidden_size"]
        self.embedding = nn.Embedding(MODEL["vocab_size"], width)
        self.lstm = nn.LSTM(width, hidden, MODEL["num_hidden_layers"], batch_first=True)
        self.output = nn.Linear(hidden, MODEL["vocab_size"])


def train_by_hand(tokens: torch.Tensor, bf16: bool) -> float:
    """Tokens a second of a plain loop: lanes, the state carried, fused AdamW, clipping."""
    model = ByHand().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    lanes = tokens[: ROWS * STEPS * LENGTH + 1]
    inputs = lanes[:-1].view(ROWS, STEPS, LENGTH)
    labels = lanes[1:].view(ROWS, STEPS, LENGTH)
    started, state = time.perf_counter(), None
    for step in range(STEPS):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            hidden, state = model.lstm(model.embedding(inputs[:, step]), state)
            logits = model.output(hidden)
        loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels[:, step].flatten())
        state = tuple(part.detach() for part in state)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return ROWS * STEPS * LENGTH / (time.perf_counter() - started)


def train_ours(tokens: torch.Tensor, bf16: bool) -> float:
    """Tokens a second of our loop on the same windows, from encoded columns to the last step."""
    features = datasets.Features(input_ids=datasets.Value("int32"))
    stream = Columns(datasets.Dataset.from_dict({"input_ids": tokens.numpy()}, features))
    windows = WindowedColumns(stream, torch.arange(ROWS * STEPS) * LENGTH, LENGTH + 1)

    def shift(batch: dict[str, torch.Tensor], generator: torch.Generator | None = None) -> dict[str, torch.Tensor]:
        window = batch["input_ids"].long()
        return {"input_ids": window[:, :-1], "shift_labels": window[:, 1:]}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=ROWS, carry_state=True, bf16=bf16,
            weight_decay=0.0, max_grad_norm=1.0, save_strategy="no",
        )  # fmt: skip
        batches = Batches(windows, seed=0, in_lanes=True)
        run = train(RnnForCausalLM(RnnConfig(**MODEL)), batches, arguments, transform=shift)
    return run.samples_per_second * LENGTH


def gpt2_like(num_weights: int) -> GPT2LMHeadModel:
    """A GPT-2 of four layers, so wide that it has about as many weights."""
    options = {"vocab_size": MODEL["vocab_size"], "n_layer": 4, "n_head": 4, "n_positions": PROMPT + NEW_TOKENS}
    options |= {"bos_token_id": None, "eos_token_id": None}
    models = [GPT2LMHeadModel(GPT2Config(n_embd=width, **options)) for width in range(120, 200, 4)]
    return min(models, key=lambda model: abs(model.num_parameters() - num_weights)).eval()


def generate(model: PreTrainedModel, prompt: torch.Tensor, do_sample: bool) -> float:
    """Tokens a second of transformers' `generate`, one row."""
    options = {"do_sample": True, "top_k": 0} if do_sample else {"do_sample": False}
    started = time.perf_counter()
    given = model.generate(prompt, max_new_tokens=NEW_TOKENS, **options)
    assert given.shape[1] == PROMPT + NEW_TOKENS, "a text ended early"
    return NEW_TOKENS / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a Markdown file for the table; only printed when absent")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    tokens = torch.randint(MODEL["vocab_size"], (ROWS * STEPS * LENGTH + 1,), dtype=torch.int32)
    prompt = tokens[None, :PROMPT].long()
    ours = RnnForCausalLM(RnnConfig(**MODEL)).eval()
    gpt2 = gpt2_like(ours.num_parameters())
    works = {
        "training, float32": (0.95, lambda: train_ours(tokens, False), lambda: train_by_hand(tokens.long(), False)),
        "training, bf16": (0.95, lambda: train_ours(tokens, True), lambda: train_by_hand(tokens.long(), True)),
        "greedy": (1.5, lambda: generate(ours, prompt, False), lambda: generate(gpt2, prompt, False)),
        "sampling": (1.5, lambda: generate(ours, prompt, True), lambda: generate(gpt2, prompt, True)),
    }
    header = (
        f"LSTM of {ours.num_parameters():,} weights against torch.nn by hand (training, {ROWS} x {LENGTH} tokens) and "
        f"GPT-2 of {gpt2.num_parameters():,} weights (`generate`, {NEW_TOKENS} tokens, one row).\n"
        f"Median of {arguments.rounds} rounds, {torch.get_num_threads()} thread(s) of {cpu_name()}, torch "
        f"{torch.__version__}, Python {platform.python_version()}. Tokens a second.\n"
    )
    lines = [header, "| work | hubmodels | peer | ratio | goal |", "|---|---:|---:|---:|---:|"]
    print("\n".join(lines), flush=True)
    for name, (goal, first, second) in works.items():
        found = [(first(), second()) for _ in range(arguments.rounds + 1)][1:]  # the first round warms up
        a, b = (statistics.median(values) for values in zip(*found, strict=True))
        ratio = statistics.median(x / y for x, y in found)
        lines.append(f"| {name} | {a:,.0f} | {b:,.0f} | {ratio:.2f} | {goal} |")
        print(lines[-1], flush=True)
    if arguments.output:
        arguments.output.write_text("# Speed of the recurrent family\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
