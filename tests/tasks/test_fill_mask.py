"""Fill mask: what is hidden, that evaluations repeat, losses by hand, the mixture of neighbours."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch

from hubmodels.data import WindowedColumns
from hubmodels.errors import HubmodelsError
from hubmodels.tasks.baselines.neighbours import Neighbours, hidden_neighbours
from hubmodels.tasks.fill_mask import FillMask, FillMaskProblem
from hubmodels.tasks.inputs.tokenizers import GENERATION_TOKENS, train_tokenizer
from hubmodels.tasks.targets.hidden_tokens import content_numbers, hide_tokens

TEXTS = ["the cat sat on the mat", "", "a dog ran by the log", "the cow and the cat sat"] * 30


@pytest.fixture
def prepare(encode_rows: Callable) -> Callable:
    """Bind the task to texts and encode them: the problem and its windows."""

    def bind(texts: list[str], **options) -> tuple[FillMaskProblem, WindowedColumns]:
        task = FillMask.from_options(**{"tokenizer": "characters", "context_length": 16, **options})
        rows = task.select(datasets.Dataset.from_dict({"text": texts}))
        problem = task.fit(rows)
        stream = encode_rows(problem, rows)
        return problem, WindowedColumns(stream, *problem.windows(stream))

    return bind


def test_windows_share_no_token_and_leave_out_less_than_one(prepare: Callable) -> None:
    problem, windows = prepare(TEXTS)
    tokenizer = problem.processor
    stream = windows.tensor("input_ids")
    assert tokenizer.decode(stream[:50]).startswith("<s>the cat sat on the mat</s><s>a dog")
    tokens = windows.batch(torch.arange(len(windows)))["input_ids"].flatten()
    assert torch.equal(tokens, stream[: len(tokens)])
    assert len(stream) - len(tokens) < 16


def test_in_training_fifteen_percent_are_hidden_in_three_ways_and_no_special_token() -> None:
    tokens = torch.randint(10, 1000, (400, 100), generator=torch.Generator().manual_seed(0))
    special = torch.zeros_like(tokens, dtype=torch.bool)
    special[:, ::10] = True
    drawn = torch.rand(3, 400, 100, generator=torch.Generator().manual_seed(1))
    hidden_batch = hide_tokens(tokens, drawn, special, 4, 1000, 0.15)
    inputs, labels = hidden_batch["input_ids"], hidden_batch["labels"]
    hidden = labels != -100
    assert not (hidden & special).any()
    assert torch.equal(labels[hidden], tokens[hidden])
    assert torch.equal(inputs[~hidden], tokens[~hidden])
    assert hidden[~special].float().mean().item() == pytest.approx(0.15, abs=0.008)  # 4 sigma of 36,000
    masked, left = inputs[hidden] == 4, inputs[hidden] == tokens[hidden]
    assert masked.float().mean().item() == pytest.approx(0.8, abs=0.022)
    assert left.float().mean().item() == pytest.approx(0.1, abs=0.017)
    other = inputs[hidden][~masked & ~left]
    assert other.min() < 50  # any token
    assert other.max() > 950


def test_of_a_row_that_can_have_one_at_least_one_token_is_hidden() -> None:
    tokens = torch.randint(10, 99, (300, 4), generator=torch.Generator().manual_seed(0))
    special = torch.zeros_like(tokens, dtype=torch.bool)
    special[0] = True
    drawn = torch.rand(3, 300, 4, generator=torch.Generator().manual_seed(1))
    counts = (hide_tokens(tokens, drawn, special, 4, 99, 0.01)["labels"] != -100).sum(dim=1)
    assert counts[0] == 0
    assert (counts[1:] >= 1).all()


def test_an_evaluation_hides_the_same_tokens_of_a_row_in_any_batch(prepare: Callable) -> None:
    problem, windows = prepare(TEXTS)
    hide = problem.transform(training=False)
    whole = hide(windows.batch(torch.arange(20)), None)
    for rows in (torch.arange(20).flip(0), torch.tensor([7]), torch.tensor([3, 3])):
        some = hide(windows.batch(rows), None)
        assert torch.equal(some["labels"], whole["labels"][rows])
        assert torch.equal(some["input_ids"], whole["input_ids"][rows])


def test_numbers_drawn_from_content_are_uniform_and_independent_of_each_other() -> None:
    tokens = torch.randint(0, 50, (2000, 20), generator=torch.Generator().manual_seed(0))
    numbers = content_numbers(tokens, 3).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, bins=20, min=0, max=1)
    expected = numbers.numel() / 20
    assert ((counts - expected) ** 2 / expected).sum() < 43.8  # chi-square with 19 degrees: p = 0.001
    for other in (numbers[1], numbers[0].roll(1, dims=1), numbers[0].roll(1, dims=0)):
        correlation = torch.corrcoef(torch.stack([numbers[0].flatten(), other.flatten()]))[0, 1]
        assert abs(correlation) < 0.02  # 4 sigma of 40,000 pairs
    changed = tokens.clone()
    changed[:, 5] += 1
    assert ((content_numbers(changed, 1) == content_numbers(tokens, 1)).float().mean()) < 1e-3


def test_training_draws_anew_and_from_the_generator_alone(prepare: Callable) -> None:
    problem, windows = prepare(TEXTS)
    hide = problem.transform(training=True)
    first, second, third = (
        hide(windows.batch(torch.arange(20)), torch.Generator().manual_seed(seed))["labels"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_losses_and_hits_are_those_of_torch(prepare: Callable) -> None:
    problem, windows = prepare(TEXTS)
    batch = problem.transform(training=False)(windows.batch(torch.arange(30)), None)
    logits = torch.randn(30, 16, problem.config_fields()["vocab_size"], generator=torch.Generator().manual_seed(0))
    logits += 2 * torch.nn.functional.one_hot(batch["labels"].clamp(min=0), problem.config_fields()["vocab_size"])
    found = problem.predict(SimpleNamespace(logits=logits), batch)
    metrics = problem.metrics({name: value.numpy() for name, value in found.items()})
    flat, labels = logits.flatten(0, 1), batch["labels"].flatten()
    loss = torch.nn.functional.cross_entropy(flat, labels, ignore_index=-100).item()
    hits = (flat.argmax(1) == labels)[labels != -100].float().mean().item()
    wanted = {"loss": loss, "perplexity": math.exp(loss), "accuracy": hits}
    assert metrics == pytest.approx(wanted, rel=1e-5)
    assert found["tokens"].sum() == (labels != -100).sum()


def test_the_mixture_of_neighbours_sums_to_one_and_is_what_counts_say() -> None:
    text = np.array([0, 1, 2, 0, 1, 3, 0, 1, 2])
    model = Neighbours(text, 5, np.array([0.1, 0.2, 0.3, 0.4]))
    pairs = np.array([[0, 2], [1, 0], [4, -1]])
    for pair in pairs:
        losses = [model.score(pair[None], np.array([token]))[0][0] for token in range(5)]
        assert np.exp(-np.array(losses)).sum() == pytest.approx(1)
    # Token 1 between 0 and 2: 3 of 9 tokens, 3 of 3 after a 0, 2 of 2 before a 2.
    loss, hit = model.score(np.array([[0, 2]]), np.array([1]))
    assert loss[0] == pytest.approx(-math.log(0.1 / 5 + 0.2 * 3 / 9 + 0.3 + 0.4))
    assert hit[0] == 1
    # A neighbour that never stood there: the token's own frequency.
    loss, _ = model.score(np.array([[4, -1]]), np.array([1]))
    assert loss[0] == pytest.approx(-math.log(0.1 / 5 + 0.9 * 3 / 9))


def test_weights_go_to_the_neighbour_that_tells_the_token() -> None:
    generator = np.random.default_rng(0)
    text = np.empty(3000, dtype=np.int64)
    text[0::2] = generator.integers(0, 5, 1500)
    text[1::2] = text[0::2] + 5  # the left neighbour tells an odd token, the right one does not tell an even one
    model = Neighbours(text, 10)
    places = np.arange(1, 2999, 2)
    model.fit_weights(np.stack([text[places - 1], text[places + 1]], axis=1), text[places])
    assert model.weights.sum() == pytest.approx(1)
    assert model.weights[2] > 0.95


def test_the_baseline_sees_what_the_network_sees(prepare: Callable) -> None:
    problem, windows = prepare(TEXTS)
    hide = problem.transform(training=False)
    pairs, wanted, rows = hidden_neighbours(windows, hide, np.arange(len(windows)))
    batch = hide(windows.batch(torch.arange(len(windows))), None)
    places = (batch["labels"] != -100).nonzero()
    assert len(places) == len(wanted) == len(rows)
    for (row, place), pair, token in zip(places.tolist(), pairs, wanted, strict=True):
        assert token == batch["labels"][row, place]
        assert pair[0] == (batch["input_ids"][row, place - 1] if place else -1)
        assert pair[1] == (batch["input_ids"][row, place + 1] if place < 15 else -1)
    baseline = problem.baseline(windows, windows)
    assert baseline.rows["tokens"].sum() == len(wanted)
    assert problem.metrics(baseline.rows)["loss"] < math.log(problem.config_fields()["vocab_size"]) - 0.5


def test_a_tokenizer_without_a_mask_is_refused(tmp_path) -> None:
    train_tokenizer("characters", ["ab"], GENERATION_TOKENS, None).save_pretrained(tmp_path)
    with pytest.raises(HubmodelsError, match="has no mask token"):
        FillMask().input.load(str(tmp_path))


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_hides_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="mlm_probability"):
        FillMask.from_options(mlm_probability=share)
