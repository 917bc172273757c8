"""Token classification: entities as conlleval counts them, alignment of tags to tokens, baselines."""

from collections.abc import Callable
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch

from hubmodels.data import Columns
from hubmodels.errors import HubmodelsError
from hubmodels.tasks.inputs.tokenizers import UNDERSTANDING_TOKENS, train_tokenizer
from hubmodels.tasks.inputs.words import first_tokens
from hubmodels.tasks.targets.tag_rows import entity_kinds, find_entities, tag_rows
from hubmodels.tasks.targets.tags import FittedTags, Tags
from hubmodels.tasks.token_classification import TokenClassification, TokenClassificationProblem

SENTENCES = [["Ada", "Lovelace", "saw", "New", "York", "."], ["Paris", "!"], ["unbelievably", "Ada"]]
TAGS = [["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"], ["B-LOC", "O"], ["O", "B-PER"]]


@pytest.fixture
def prepare(encode_rows: Callable) -> Callable:
    """Bind the task to sentences and encode them: the problem and its encoded rows."""

    def bind(repeat: int = 1, **options) -> tuple[TokenClassificationProblem, Columns]:
        task = TokenClassification.from_options(**{"vocab_size": 290, **options})
        rows = task.select(datasets.Dataset.from_dict({"tokens": SENTENCES * repeat, "ner_tags": TAGS * repeat}))
        problem = task.fit(rows)
        return problem, encode_rows(problem, rows)

    return bind


def fitted_tags(names: list[str]) -> FittedTags:
    return Tags().restore({"id2label": dict(enumerate(names))}, {})


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ("O O", set()),
        ("B-A I-A O B-A", {(0, 2, "A"), (3, 4, "A")}),
        ("B-A B-A I-A", {(0, 1, "A"), (1, 3, "A")}),
        ("B-A I-B I-B", {(0, 1, "A"), (1, 3, "B")}),  # what continues nothing of its kind begins an entity
        ("O I-A I-A B-A", {(1, 3, "A"), (3, 4, "A")}),
        ("B-A O I-A", {(0, 1, "A"), (2, 3, "A")}),
        ("NOUN VERB VERB", {(0, 1, "NOUN"), (1, 2, "VERB"), (2, 3, "VERB")}),  # no scheme: each word by itself
    ],
)
def test_entities_of_a_sentence_are_those_of_conlleval(tags: str, entities: set) -> None:
    assert find_entities(tags.split()) == entities


def test_kinds_are_in_the_order_of_the_tags() -> None:
    assert entity_kinds(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]) == ["PER", "LOC"]
    assert entity_kinds(["DET", "NOUN"]) == ["DET", "NOUN"]


def test_f1_counts_whole_entities_of_the_right_kind() -> None:
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    pairs = [
        ([1, 2, 0, 3], [1, 2, 0, 1]),  # PER right, LOC taken for a PER
        ([3, 4, 0], [3, 0, 0]),  # LOC too short
        ([0, 0], [0, 0]),
    ]
    rows = tag_rows(pairs, tags)
    target = fitted_tags(tags)
    found = target.metrics(rows)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx(1 / 3)
    assert found["accuracy"] == pytest.approx(7 / 9)
    of_classes = target.class_metrics(rows)
    assert target.class_names() == ["PER", "LOC"]
    np.testing.assert_allclose(of_classes["recall"], [1, 0])
    np.testing.assert_allclose(of_classes["precision"], [0.5, 0])
    assert rows["confusion"].sum(axis=0).tolist() == [[4, 0, 0], [0, 2, 0], [1, 1, 1]]


def test_without_a_scheme_f1_is_the_accuracy() -> None:
    rows = tag_rows([([0, 1, 1, 0], [0, 1, 0, 0])], ["NOUN", "VERB"])
    found = fitted_tags(["NOUN", "VERB"]).metrics(rows)
    assert found["f1"] == found["accuracy"] == 0.75


def test_metrics_of_nothing_are_undefined() -> None:
    found = fitted_tags(["O", "B-A"]).metrics(tag_rows([([0], [0])], ["O", "B-A"]))
    assert np.isnan([found["f1"], found["precision"], found["recall"]]).all()
    assert found["accuracy"] == 1


@pytest.mark.parametrize("kind", ["characters", "bpe"])
def test_the_tag_of_a_word_stands_at_its_first_token_and_nowhere_else(prepare: Callable, kind: str) -> None:
    problem, encoded = prepare(tokenizer=kind, vocab_size=None)
    tokenizer = problem.processor
    batch = problem.transform(training=False)(encoded.batch(torch.arange(3)), None)
    names = problem.target.names
    for words, tags, tokens, labels in zip(SENTENCES, TAGS, batch["input_ids"], batch["labels"], strict=True):
        places = (labels != -100).nonzero()[:, 0].tolist()
        assert [names[labels[place]] for place in places] == tags
        decoded = [
            tokenizer.decode(tokens[start:end], skip_special_tokens=True).strip()
            for start, end in zip(places, [*places[1:], len(tokens)], strict=True)
        ]
        assert decoded == words
    assert problem.read_sentences(encoded) == [
        (words, [names.index(tag) for tag in tags]) for words, tags in zip(SENTENCES, TAGS, strict=True)
    ]


def test_a_word_behind_the_cut_has_no_token() -> None:
    tokenizer = train_tokenizer("characters", ["ab cd"], UNDERSTANDING_TOKENS, None)
    for length, firsts in ((10, [1, 4]), (6, [1, 4]), (5, [1, None]), (4, [1, None])):
        offsets = tokenizer("ab cd", truncation=True, max_length=length, return_offsets_mapping=True)["offset_mapping"]
        assert first_tokens(["ab", "cd"], offsets) == firsts, offsets


def test_predictions_are_counted_where_labels_are(prepare: Callable) -> None:
    problem, encoded = prepare()
    batch = problem.transform(training=False)(encoded.batch(torch.arange(3)), None)
    right = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), len(problem.target.names)).float()
    rows = {name: value.numpy() for name, value in problem.predict(SimpleNamespace(logits=right), batch).items()}
    assert rows["words"].tolist() == rows["hits"].tolist() == [6, 2, 2]
    assert problem.metrics(rows) == {"f1": 1, "precision": 1, "recall": 1, "accuracy": 1}


def test_baselines_find_the_tags_of_words_that_they_know(prepare: Callable) -> None:
    problem, encoded = prepare(repeat=10)
    baseline = problem.baseline(encoded, encoded)
    assert problem.metrics(baseline.rows)["f1"] == 1
    assert "logistic regression" in baseline.name
    (usual,) = baseline.others
    assert usual.name == "each word's most frequent tag"
    assert problem.metrics(usual.rows)["accuracy"] == 1  # every word has one tag here


def test_rows_that_do_not_fit_are_named() -> None:
    task = TokenClassification.from_options(tokenizer="characters")
    for words, tags, message in (
        ([["a"], ["b", "c"]], [["x"], ["y"]], "row 1, column 'tags': there are 1 tags and 2 words in column 'tokens'"),
        ([["a"], []], [["x"], []], "row 1, column 'tokens': there are no words"),
        ([["a"], [" "]], [["x"], ["x"]], "row 1, column 'tokens': there are no words, or an empty one"),
        ([["a"], ["b"]], [["x"], [None]], "row 1, column 'tags': it has no class"),
    ):
        rows = datasets.Dataset.from_dict({"tokens": words, "tags": tags})
        tokenizer = train_tokenizer("characters", ["a b c"], UNDERSTANDING_TOKENS, None)
        tokenizer.model_max_length = 8
        problem = task.bind(task.input.bind(tokenizer), {"id2label": {0: "x", 1: "y"}}, {})
        with pytest.raises(HubmodelsError, match=message):
            problem.encode(rows[:], [0, 1], rows.features)


def test_columns_are_found_by_type_and_name_or_refused() -> None:
    def task_columns(features: datasets.Features, words: str | None = None, tags: str | None = None) -> tuple:
        return TokenClassification.from_options(text_column_name=words, label_column_name=tags).columns(features)

    text, classes = datasets.List(datasets.Value("string")), datasets.List(datasets.ClassLabel(names=["O", "B-A"]))
    assert task_columns(datasets.Features(words=text, ner=classes)) == (["words"], ["ner"])
    two = datasets.Features(tokens=text, pos_tags=classes, ner_tags=classes)
    assert task_columns(two) == (["tokens"], ["ner_tags"])
    assert task_columns(two, None, "pos_tags") == (["tokens"], ["pos_tags"])
    for features, words, tags, message in (
        (datasets.Features(tokens=text), None, None, "no column of tags"),
        (datasets.Features(tags=classes), None, None, "no column of words"),
        (two, "pos_tags", None, "holds no lists of words"),
        (two, None, "tag", "no column 'tag'"),
    ):
        with pytest.raises(HubmodelsError, match=message):
            task_columns(features, words, tags)


def test_a_restored_problem_predicts_before_it_transforms(prepare: Callable) -> None:
    problem, encoded = prepare()
    batch = problem.transform(training=False)(encoded.batch(torch.arange(3)), None)
    logits = torch.nn.functional.one_hot(batch["labels"].clamp(min=0), len(problem.target.names)).float()
    restored = problem.task.bind(problem.task.input.bind(problem.processor), problem.config_fields(), {})
    rows = restored.predict(SimpleNamespace(logits=logits), batch)
    assert rows["right"].sum(dim=0).tolist() == rows["actual"].sum(dim=0).tolist() == [2, 2]  # of LOC and of PER
