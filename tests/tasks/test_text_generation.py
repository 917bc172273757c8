"""Text generation: packing, losses by hand, the n-gram baseline."""

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch

from hubmodels.data import Columns, WindowedColumns
from hubmodels.errors import HubmodelsError
from hubmodels.tasks.baselines.ngrams import NgramModel
from hubmodels.tasks.figures.streams import wrap
from hubmodels.tasks.targets.next_tokens import segment_numbers
from hubmodels.tasks.text_generation import TextGeneration, TextGenerationProblem

LINES = ["one two\n", "three\n", "\n", "four", "five", ""]


@pytest.fixture
def prepare(encode_rows: Callable) -> Callable:
    """Bind the task to texts and encode them: the problem and its stream."""

    def bind(texts: list[str], **options) -> tuple[TextGenerationProblem, Columns]:
        task = TextGeneration.from_options(**{"tokenizer": "characters", "context_length": 4, **options})
        rows = task.select(datasets.Dataset.from_dict({"text": texts}))
        problem = task.fit(rows)
        return problem, encode_rows(problem, rows)

    return bind


def test_the_stream_is_all_texts_with_an_end_of_text_where_no_line_goes_on(prepare: Callable) -> None:
    problem, stream = prepare(LINES)
    tokenizer = problem.processor
    text = tokenizer.decode(stream.tensor("input_ids"))
    assert text == "one two\nthree\n\nfour<|endoftext|>five<|endoftext|>"
    assert stream.tensor("input_ids").dtype == torch.int32


@pytest.mark.parametrize("length", [1, 3, 4, 5])
def test_windows_predict_every_token_but_the_first_exactly_once(prepare: Callable, length: int) -> None:
    problem, stream = prepare(LINES, context_length=length)
    windows = WindowedColumns(stream, *problem.windows(stream))
    batch = problem.transform(training=False)(windows.batch(torch.arange(len(windows))), None)
    tokens = stream.tensor("input_ids")[:-1].long()  # the last end separates nothing
    count = len(windows) * length
    assert batch["input_ids"].shape == batch["shift_labels"].shape == (len(windows), length)
    assert torch.equal(batch["input_ids"].flatten(), tokens[:count])
    assert torch.equal(batch["shift_labels"].flatten(), tokens[1 : count + 1])
    assert len(tokens) - 1 - count < length


def test_a_split_shorter_than_a_window_is_refused(prepare: Callable) -> None:
    problem, stream = prepare(["abc"], context_length=3)
    with pytest.raises(HubmodelsError, match="only 3 tokens, fewer than the 4 of a window.*--context_length"):
        problem.windows(stream)


def test_losses_are_those_of_torch_and_characters_those_of_the_text(prepare: Callable) -> None:
    problem, stream = prepare(["abcabc é\n" * 8], context_length=20)
    windows = WindowedColumns(stream, *problem.windows(stream))
    batch = problem.transform(training=False)(windows.batch(torch.arange(len(windows))), None)
    logits = torch.randn(
        *batch["input_ids"].shape, problem.config_fields()["vocab_size"], generator=torch.Generator().manual_seed(0)
    )
    rows = {name: value.numpy() for name, value in problem.predict(SimpleNamespace(logits=logits), batch).items()}
    assert rows["losses"].shape == rows["tokens"].shape == (len(windows), 16)
    found = problem.metrics(rows)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["shift_labels"].flatten()).item()
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-6)
    assert found["bits_per_character"] == pytest.approx(loss / math.log(2), rel=1e-6)  # a character is a token


def test_bits_per_character_of_bpe_count_the_characters_of_its_tokens(prepare: Callable) -> None:
    text = "the cat sat on the mat. " * 6
    problem, stream = prepare([text], tokenizer="bpe", vocab_size=280)
    tokenizer = problem.processor
    windows = WindowedColumns(stream, *problem.windows(stream))
    batch = problem.transform(training=False)(windows.batch(torch.arange(len(windows))), None)
    logits = torch.zeros(*batch["input_ids"].shape, problem.config_fields()["vocab_size"])
    rows = {name: value.numpy() for name, value in problem.predict(SimpleNamespace(logits=logits), batch).items()}
    predicted = tokenizer.decode(batch["shift_labels"].flatten())
    bits = batch["shift_labels"].numel() * math.log2(problem.config_fields()["vocab_size"]) / len(predicted)
    assert len(predicted) > batch["shift_labels"].numel()
    assert problem.metrics(rows)["bits_per_character"] == pytest.approx(bits, rel=1e-6)


def test_segments_of_a_window_are_even_and_at_most_sixteen() -> None:
    assert segment_numbers(5).tolist() == [0, 1, 2, 3, 4]
    assert segment_numbers(64).bincount().tolist() == [4] * 16
    assert set(segment_numbers(100).bincount().tolist()) == {6, 7}


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_the_ngram_model_sum_to_one_after_any_context(order: int) -> None:
    generator = np.random.default_rng(0)
    text = generator.choice(5, 400, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    model = NgramModel(text[text != 4], 5, order)  # token 4 never occurs
    for context in itertools.product(range(5), repeat=3):
        total = sum(np.exp(-model.losses(np.array([*context, token]))[-1]) for token in range(5))
        assert total == pytest.approx(1, abs=1e-12)


def test_bigrams_are_interpolated_kneser_ney_as_computed_by_hand() -> None:
    text = [0, 1, 0, 1, 0, 2, 1, 1]
    model = NgramModel(np.array(text), 4, 2)
    pairs = list(itertools.pairwise(text))
    kinds = set(pairs)

    def unigram(token: int) -> float:  # counts of what stood before; half a count goes to the uniform distribution
        found = {item: max(len({a for a, b in kinds if b == item}), 1) for item in set(text)}
        return max(found.get(token, 0) - 0.5, 0) / sum(found.values()) + 0.5 * len(found) / sum(found.values()) / 4

    def bigram(context: int, token: int) -> float:
        total = sum(a == context for a, _ in pairs)
        return max(pairs.count((context, token)) - 0.5, 0) / total + 0.5 * len(
            {b for a, b in kinds if a == context}
        ) / total * unigram(token)

    for context, token in itertools.product(range(3), range(4)):
        assert model.losses(np.array([context, token]))[1] == pytest.approx(-math.log(bigram(context, token)))


def test_the_ngram_model_learns_what_a_longer_context_tells() -> None:
    text = np.array([0, 0, 1, 1] * 100)
    assert NgramModel(text, 2, 1).losses(text).mean() == pytest.approx(math.log(2), abs=0.01)
    assert NgramModel(text, 2, 3).losses(text)[2:].mean() < 0.02


def test_the_baseline_is_measured_on_the_windows_of_the_network(prepare: Callable) -> None:
    problem, stream = prepare(["abab" * 30 + "c"], context_length=7)
    windows = WindowedColumns(stream, *problem.windows(stream))
    baseline = problem.baseline(windows, windows)
    assert baseline.rows["losses"].shape == (len(windows), 7)
    assert baseline.rows["tokens"].sum() == baseline.rows["characters"].sum() == 7 * len(windows)
    assert problem.metrics(baseline.rows)["loss"] < 0.2
    assert "gram model" in baseline.name


def test_a_line_that_is_too_long_is_wrapped_and_its_characters_are_counted() -> None:
    lines = wrap("ab\n" + "x" * 100 + "\t\nc")
    assert [len(line) for line, _ in lines] == [2, 96, 5, 1]
    assert sum(length for _, length in lines) == len("ab\n" + "x" * 100 + "\t\nc") + 1
    assert lines[2][0] == "xxxx "


@pytest.mark.parametrize("length", [0, -1])
def test_a_window_without_tokens_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="context_length must be at least 1"):
        TextGeneration.from_options(context_length=length)


def test_columns_stay_a_stream(prepare: Callable) -> None:
    assert isinstance(prepare(LINES)[1], Columns)


def test_a_restored_problem_predicts_before_it_transforms(prepare: Callable) -> None:
    problem, _ = prepare(["the cat sat. " * 9], tokenizer="bpe", vocab_size=270)
    restored = problem.task.bind(problem.task.input.bind(problem.processor), problem.config_fields(), {})
    labels = torch.arange(24).view(2, 12) * 11
    outputs = SimpleNamespace(logits=torch.zeros(2, 12, problem.config_fields()["vocab_size"]))
    rows = restored.predict(outputs, {"shift_labels": labels})
    for row, tokens in zip(rows["characters"].tolist(), labels.tolist(), strict=True):
        assert row == sum(int(problem.input.characters[token]) for token in tokens)
