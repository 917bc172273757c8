"""Text classification: encoding, trimming, token dropout, baselines, the figure of words."""

import logging
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
import torch
from transformers import BertTokenizerFast

from hubmodels.data import Columns
from hubmodels.errors import BadRow, HubmodelsError
from hubmodels.report import collect_notes
from hubmodels.tasks.figures.texts import word_influence
from hubmodels.tasks.text_classification import TextClassification, TextClassificationProblem

TEXTS = ["a fine film", "bad", "a fine and very long film indeed", "really bad , bad film"]


@pytest.fixture
def prepare(encode_rows: Callable) -> Callable:
    """Bind the task to texts and encode them: the problem and its encoded rows."""

    def bind(texts: list[str], labels: list[str] | None = None, **options) -> tuple[TextClassificationProblem, Columns]:
        task = TextClassification.from_options(**{"tokenizer": "bpe", "vocab_size": 300, **options})
        columns = {"text": texts, "label": labels or ["pos", "neg"] * (len(texts) // 2)}
        if (pair := task.input.chosen[1]) is not None:
            columns[pair] = [text[::-1] for text in texts]
        rows = task.select(datasets.Dataset.from_dict(columns))
        problem = task.fit(rows)
        return problem, encode_rows(problem, rows)

    return bind


def test_texts_are_padded_to_the_longest_one_and_batches_trimmed_to_theirs(prepare: Callable) -> None:
    problem, encoded = prepare(TEXTS)
    tokenizer = problem.processor
    longest = max(len(tokenizer(text)["input_ids"]) for text in TEXTS)
    assert tokenizer.model_max_length == longest == encoded.tensor("input_ids").shape[1]
    assert problem.config_fields()["id2label"] == {0: "neg", 1: "pos"}
    for chosen in ([0, 1, 2, 3], [1], [0, 1]):
        batch = problem.transform(training=False)(encoded.batch(torch.tensor(chosen)), None)
        wanted = tokenizer([TEXTS[number] for number in chosen], padding=True, return_tensors="pt")
        assert torch.equal(batch["input_ids"], wanted["input_ids"])
        assert torch.equal(batch["attention_mask"], wanted["attention_mask"])
        assert batch["labels"].tolist() == [1 - number % 2 for number in chosen]
        assert set(batch) == {"input_ids", "attention_mask", "labels"}


def test_longer_texts_are_cut_and_counted(prepare: Callable, caplog: pytest.LogCaptureFixture) -> None:
    problem, encoded = prepare(TEXTS, max_length=4)
    with caplog.at_level(logging.WARNING, logger="hubmodels"), collect_notes() as notes:
        problem.input.say_encoded(encoded, "train")
        tokenizer = problem.processor
    lengths = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    cut = sum(length > 4 for length in lengths)
    assert cut > 0
    assert f"{cut} of 4 train texts have more than 4 tokens and are cut" in caplog.text
    assert [(note.text, note.remedy) for note in notes] == [
        (f"{cut} of 4 train texts have more than 4 tokens and are cut", "max_length: 8")
    ]
    wanted = tokenizer(TEXTS, truncation=True, max_length=4)["input_ids"]
    assert [
        row[: len(tokens)] for row, tokens in zip(encoded.tensor("input_ids").tolist(), wanted, strict=True)
    ] == wanted
    assert encoded.tensor("lengths").tolist() == [min(length, 4) for length in lengths]


def test_a_second_text_follows_the_first_behind_a_separator(prepare: Callable) -> None:
    problem, encoded = prepare(TEXTS, text_pair_column_name="other")
    tokenizer = problem.processor
    batch = problem.transform(training=False)(encoded.batch(torch.arange(4)), None)
    wanted = tokenizer(TEXTS, [text[::-1] for text in TEXTS], padding=True, return_tensors="pt")
    assert torch.equal(batch["input_ids"], wanted["input_ids"])


def test_token_dropout_is_of_the_asked_share_and_spares_special_tokens(prepare: Callable) -> None:
    problem, encoded = prepare(["one two three four five six " * 40] * 2, token_dropout=0.25)
    tokenizer = problem.processor
    drop = problem.transform(training=True)
    batch, again = (drop(encoded.batch(torch.tensor([0, 1] * 40)), torch.Generator().manual_seed(3)) for _ in range(2))
    whole = problem.transform(training=False)(encoded.batch(torch.tensor([0, 1] * 40)), None)
    assert torch.equal(batch["input_ids"], again["input_ids"])
    changed = batch["input_ids"] != whole["input_ids"]
    special = torch.isin(whole["input_ids"], torch.tensor(tokenizer.all_special_ids))
    assert not (changed & special).any()
    assert changed[~special].float().mean().item() == pytest.approx(0.25, abs=0.02)  # 4 sigma of 20,000 tokens: 0.012
    assert (batch["input_ids"][changed] == tokenizer.unk_token_id).all()


def test_baselines_read_the_texts_again_and_tell_the_classes_apart(prepare: Callable) -> None:
    texts = [f"{word} film number {number}" for number in range(40) for word in ("good", "bad")]
    problem, encoded = prepare(texts)
    assert [text.strip() for text in problem.input.decode(encoded, np.arange(80))] == texts
    baseline = problem.baseline(encoded, encoded)
    assert problem.metrics(baseline.rows)["accuracy"] == 1
    names = {baseline.name, *(other.name for other in baseline.others)}
    assert names == {f"{name} on TF-IDF of words and pairs" for name in ("logistic regression", "naive Bayes")}


def test_baselines_take_texts_without_words_and_one_class_alone(prepare: Callable) -> None:
    problem, encoded = prepare(["+ +", "- -"] * 20)
    assert problem.metrics(problem.baseline(encoded, encoded).rows)["accuracy"] == 1

    class OneClass:
        names = ("labels",)

        def __init__(self, columns):
            self.columns = columns

        def __len__(self):
            return 40

        def batch(self, rows):
            return self.columns.batch(rows)

        def tensor(self, name):
            return torch.ones(40, dtype=torch.int64) if name == "labels" else self.columns.tensor(name)

    rows = problem.baseline(OneClass(encoded), encoded).rows
    assert problem.metrics(rows)["accuracy"] == 0.5


def test_the_influence_of_a_word_is_what_the_loss_gains_without_it(prepare: Callable) -> None:
    problem, encoded = prepare(["good film", "bad film"] * 4)
    tokenizer = problem.processor

    def predict(columns) -> dict:
        """A classifier that looks for the class's own word alone: without it the loss is 2, with it 0.5."""
        batch = columns.batch(torch.arange(len(columns)))
        texts = [tokenizer.decode(row, skip_special_tokens=True) for row in batch["input_ids"]]
        own = ["bad", "good"]
        pairs = zip(batch["labels"].tolist(), texts, strict=True)
        return {"losses": np.array([0.5 if own[label] in text else 2.0 for label, text in pairs])}

    influence = word_influence(predict, encoded, problem.processor)
    assert influence[1] == {"good": pytest.approx(1.5 * 4 / 5), "film": 0}  # 4 texts; divided by one more
    assert influence[0] == {"bad": pytest.approx(1.5 * 4 / 5), "film": 0}


def test_inputs_of_a_file_are_encoded_as_the_rows_of_a_data_set(prepare: Callable) -> None:
    problem, encoded = prepare(TEXTS)
    table = pyarrow.table({"id": [1, 2, 3, 4], "text": TEXTS})
    found = problem.encode_inputs(table, list(range(4)))
    assert (found["input_ids"] == encoded.tensor("input_ids").numpy()).all()
    named = TextClassification.from_options(text_column_name="review").input.bind(problem.processor)
    with pytest.raises(HubmodelsError, match="no column of text 'review' among id, text"):
        named.encode_inputs(table, list(range(4)))
    with pytest.raises(BadRow, match="row 1, .*: there is no text"):
        problem.encode_inputs(pyarrow.table({"text": ["a", None]}), [0, 1])


def test_an_empty_text_is_a_row_with_special_tokens_alone(prepare: Callable) -> None:
    problem, encoded = prepare(["good", "", "bad", " \n"])
    assert encoded.tensor("lengths")[1] == 2
    assert encoded.tensor("input_ids")[1, :2].tolist() == problem.processor("")["input_ids"]


def test_a_text_of_a_hundred_thousand_words_is_cut_as_any_other(prepare: Callable) -> None:
    text = "a fine and very long film indeed " * 15_000
    problem, encoded = prepare([text, "bad"], max_length=16)
    assert encoded.tensor("input_ids")[0].tolist() == problem.processor(text, truncation=True)["input_ids"]
    assert encoded.tensor("is_cut").tolist() == [True, False]


def test_two_columns_are_a_pair(prepare: Callable) -> None:
    problem, encoded = prepare(TEXTS, text_column_names=["text", "other"])
    separate, again = prepare(TEXTS, text_pair_column_name="other")
    assert torch.equal(encoded.tensor("input_ids"), again.tensor("input_ids"))
    table = pyarrow.table({"text": TEXTS, "other": [text[::-1] for text in TEXTS]})
    assert (problem.encode_inputs(table, list(range(4)))["input_ids"] == encoded.tensor("input_ids").numpy()).all()
    assert problem.input_columns() == ["text", "other"]
    for options, message in (
        ({"text_column_names": ["a", "b", "c"]}, "one column or two"),
        ({"text_column_names": ["a"], "text_pair_column_name": "b"}, "give it alone"),
    ):
        with pytest.raises(ValueError, match=message):
            TextClassification.from_options(**options)
    with pytest.raises(HubmodelsError, match="no column 'othre', did you mean 'other'.*--text_column_names"):
        TextClassification.from_options(text_column_names=["text", "othre"]).select(
            datasets.Dataset.from_dict({"text": TEXTS, "other": TEXTS, "label": ["a", "b", "a", "b"]})
        )


def test_segments_of_pairs_go_to_models_that_tell_them_apart(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}, model_max_length=8)
    tokenizer.save_pretrained(tmp_path)
    firsts, seconds = ["good film", "bad", "film film film film film"], ["bad film", "film", "good"]
    options = {"tokenizer": str(tmp_path), "text_column_names": ["a", "b"]}
    task = TextClassification.from_options(**options)
    rows = task.select(datasets.Dataset.from_dict({"a": firsts, "b": seconds, "label": ["x", "y", "x"]}))
    problem = task.fit(rows)
    encoded = {
        name: torch.as_tensor(values) for name, values in problem.encode(rows[:], [0, 1, 2], rows.features).items()
    }
    expected = tokenizer(firsts, seconds, padding=True, truncation=True, max_length=8, return_tensors="pt")
    assert "token_type_ids" not in problem.transform(training=False)(encoded, None)
    problem.model_values = {"type_vocab_size": 2}
    batch = problem.transform(training=False)(encoded, None)
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert torch.equal(batch[name], expected[name])


def test_texts_that_are_not_read_are_said() -> None:
    rows = datasets.Dataset.from_dict({"sentence1": TEXTS, "sentence2": TEXTS, "label": ["a", "b", "a", "b"]})
    with collect_notes() as notes:
        assert TextClassification().select(rows).column_names == ["sentence1", "label"]
    assert [note.remedy for note in notes] == ["text_column_names: [sentence1, sentence2]"]


@pytest.mark.parametrize(("options", "message"), [({"max_length": 2}, "max_length"), ({"token_dropout": 1}, "dropout")])
def test_options_that_cannot_work_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextClassification.from_options(**options)


def test_the_label_is_no_text_and_a_missing_pair_is_named() -> None:
    rows = datasets.Dataset.from_dict({"review": ["a", "b"], "sentiment": ["x", "y"]})
    task = TextClassification.from_options(label_column_name="sentiment")
    assert task.select(rows).column_names == ["review", "sentiment"]
    with pytest.raises(HubmodelsError, match=r"no column 'reviewer', did you mean 'review'.*--text_pair_column_name"):
        TextClassification.from_options(label_column_name="sentiment", text_pair_column_name="reviewer").select(rows)
