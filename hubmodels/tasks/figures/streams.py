"""Figures of running text: the loss by position, generated texts, guesses of hidden tokens."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...figures import BLUE, GREY, house_style, new_figure
from .texts import INK, TYPEWRITER, printable, typewriter_style

if TYPE_CHECKING:
    from ..contract.types import Rows

SAMPLE_COLUMNS = 96  # characters in a line of generated text
SAMPLE_LINES = 14  # of one sample
CONTEXT_CHARACTERS = 34  # on each side of a hidden token
TOKEN_CHARACTERS = 16  # for a hidden token


@house_style()
def position_figure(rows: "Rows") -> Any:
    """Draw the mean loss of each segment of a window."""
    context_length = float(rows["tokens"][0].sum())
    means = rows["losses"].sum(axis=0) / rows["tokens"].sum(axis=0).clip(min=1)
    figure, axes = new_figure(6.0, 3.2)
    borders = np.arange(len(means) + 1) * context_length / len(means)
    axes.step(borders, [*means, means[-1]], where="post", color=BLUE)
    axes.set(xlabel="tokens before, in the window", ylabel="loss (nats per token)", xlim=(0, context_length))
    axes.grid(axis="y")
    return figure


@typewriter_style()
def samples_figure(samples: list[tuple[str, str]]) -> Any:
    """Draw each pair of a prompt and what was generated as typewritten text."""
    shown = [colored_lines(prompt, text) for prompt, text in samples]
    count = sum(map(len, shown)) + len(shown)
    figure, axes = new_figure(7.2, 0.3 + 0.16 * count)
    axes.axis("off")
    axes.set(xlim=(0, SAMPLE_COLUMNS), ylim=(count, 0))
    height = 0.5
    for number, lines in enumerate(shown):
        if number:
            axes.axhline(height, color=GREY, linewidth=0.5)
            height += 1
        for given, generated in lines:
            axes.text(0, height, given, color=BLUE, **TYPEWRITER)
            axes.text(0, height, " " * len(given) + generated, color=INK, **TYPEWRITER)
            height += 1
    figure.canvas.draw()  # here, where its warnings are caught
    return figure


def colored_lines(prompt: str, text: str) -> list[tuple[str, str]]:
    """Return the first lines of a sample: what is of the prompt, and what was generated."""
    remaining, lines = len(prompt), []
    for line, length in wrap(prompt + text)[:SAMPLE_LINES]:
        border = min(max(remaining, 0), len(line))
        lines.append((line[:border], line[border:]))
        remaining -= length
    return lines


def wrap(text: str) -> list[tuple[str, int]]:
    """Return the lines of a text as they can be printed, and the characters of the text that each stands for."""
    lines: list[tuple[str, int]] = []
    for line in text.split("\n"):
        shown = printable(line)
        pieces = [shown[start : start + SAMPLE_COLUMNS] for start in range(0, len(shown), SAMPLE_COLUMNS)] or [""]
        lines += [(piece, len(piece)) for piece in pieces[:-1]] + [(pieces[-1], len(pieces[-1]) + 1)]
    return lines


@dataclass(kw_only=True)
class Guess:
    """A hidden token with the text around it, and the model's tokens with their probabilities."""

    before: str
    hidden: str
    after: str
    tokens: list[tuple[str, float]]


@typewriter_style()
def guesses_figure(guesses: list[Guess]) -> Any:
    """Draw a line for each hidden token: the text around it, and the model's tokens."""
    figure, axes = new_figure(9.6, 0.4 + 0.24 * len(guesses))
    axes.axis("off")
    axes.set(xlim=(0, 130), ylim=(len(guesses), 0))
    for number, guess in enumerate(guesses):
        height = number + 0.5
        hidden = printable(guess.hidden).strip() if guess.hidden.strip() else repr(guess.hidden)[1:-1]
        tokens = "  ".join(f"{repr(token)[1:-1][:12].strip() or '␣'} {share:.2f}" for token, share in guess.tokens)
        columns = (
            (0, guess.before.rjust(CONTEXT_CHARACTERS), INK),
            (CONTEXT_CHARACTERS, hidden[:TOKEN_CHARACTERS].center(TOKEN_CHARACTERS), BLUE),
            (CONTEXT_CHARACTERS + TOKEN_CHARACTERS, guess.after, INK),
            (2 * CONTEXT_CHARACTERS + TOKEN_CHARACTERS + 2, tokens, BLUE),
        )
        for indent, text, color in columns:
            axes.text(0, height, " " * indent + text, color=color, **TYPEWRITER)
    figure.canvas.draw()  # here, where its warnings are caught
    return figure
