"""Token classification: the words of a sentence and a tag for each (names, parts of speech). Metrics over entities, the
baselines that look at a word and its neighbours, and figures.

A sentence is its words with a blank between them, tokenized as any other text, so that the model takes running text
too. The first token of a word carries its tag; the others have none (label -100).
"""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._text import TEXT_TYPES, TextTask, tokenize, vocabulary_size
from .contract.columns import choose_column, class_names, class_numbers, describe_columns, existing_column, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

MAX_LENGTH = 512  # tokens of the longest training sentence that are kept without --max_length
WORD_NAMES = ("tokens", "words", "sentence", "text")
TAG_NAMES = ("ner_tags", "tags", "labels", "pos_tags", "upos", "label")
BASELINE_WORDS = 300_000  # training words that the linear baseline sees, which takes about a minute
NO_LABEL = -100
OUTSIDE = "O"
MATRIX_CLASSES = 20  # kinds of entities in the confusion matrix

logger = logging.getLogger("hubmodels")


@dataclass(kw_only=True)
class TokenClassification(TextTask):
    """A sentence of words, a tag for each word."""

    tag: ClassVar[str] = "token-classification"
    head: ClassVar[str] = "ForTokenClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("vocab_size", "pad_token_id", "id2label", "label2id")
    main_metric: ClassVar[str] = "f1"
    greater_is_better: ClassVar[bool] = True
    metric_names: ClassVar[dict[str, str]] = {
        "f1": "entity F1",
        "precision": "entity precision",
        "recall": "entity recall",
        "accuracy": "word accuracy",
    }
    # The tags by number: `transform` notes them for `predict`, which has no config.
    tags: ClassVar[tuple[str, ...]] = ()

    label_column_name: str | None = option(None, "column of the tags; the only column of tags when absent")
    max_length: int | None = option(
        None, "tokens of a sentence, longer ones are cut; when absent the longest training sentence's, 512 at most"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and self.max_length < 3:  # one token between two special ones
            raise ValueError(f"max_length must be at least 3, got {self.max_length}")

    # ---------------------------------------------------------------- columns

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The words and the tags, in this order."""
        words, tags = sequence_columns(dataset.features, self.text_column_name, self.label_column_name)
        return dataset.select_columns([words, tags])

    def texts(self, train: "datasets.Dataset") -> Iterator[str]:
        words, _ = train.features
        for rows in train.select_columns([words]).iter(batch_size=1000):
            yield from (" ".join(word or "" for word in row) for row in rows[words] if row)

    # ---------------------------------------------------------------- what the data decide

    def longest(self, train: "datasets.Dataset", tokenizer: Any) -> int:
        if self.max_length is not None:
            return self.max_length
        longest = 3
        for text in self.texts(train):
            longest = max(longest, len(tokenize(tokenizer, [text])[0]))
            if longest >= MAX_LENGTH:
                return MAX_LENGTH
        return longest

    def fit_processor(self, train: "datasets.Dataset") -> Any:
        return self._check_offsets(super().fit_processor(train))

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        tokenizer = self._check_offsets(super().load_processor(path, **kwargs))
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def _check_offsets(self, tokenizer: Any) -> Any:
        if not tokenizer.is_fast:
            raise HubmodelsError(
                f"the tokenizer {type(tokenizer).__name__} does not say where its tokens stand in the text, which tags "
                f"need; choose another --tokenizer"
            )
        return tokenizer

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The vocabulary as the tokenizer has it. The tags are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted."""
        import datasets

        _, column = train.features
        feature = train.features[column].feature
        found = {}
        if not isinstance(feature, datasets.ClassLabel):
            batches = train.select_columns([column]).iter(batch_size=1000)
            found = Counter(tag for rows in batches for row in rows[column] for tag in row or ())
        flat = datasets.Dataset.from_dict(
            {column: list(found.elements()) if found else []}, features=datasets.Features({column: feature})
        )
        names = class_names(flat, column)
        return {
            "vocab_size": vocabulary_size(processor),
            "pad_token_id": processor.pad_token_id,
            **label_maps(names),
        }

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        length = processor.model_max_length
        return datasets.Features(
            input_ids=datasets.List(datasets.Value("int32"), length=length),
            labels=datasets.List(datasets.Value("int32"), length=length),
            lengths=datasets.Value("int32"),
        )

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`input_ids` and `labels` (B, model_max_length) int32, padded on the right, and `lengths` (B,) int32."""
        import numpy as np

        words, tags = features
        for row, marks, number in zip(rows[words], rows[tags], row_numbers, strict=True):
            if not row or not all(isinstance(word, str) and word.strip() for word in row):
                raise HubmodelsError(f"row {number} has no words, or an empty one, in column {words!r}; drop such rows")
            if marks is None or len(marks) != len(row):
                raise HubmodelsError(
                    f"row {number} has {len(row)} words in column {words!r} and {len(marks or ())} tags in {tags!r}; "
                    f"each word needs one"
                )
        numbers = [number for row, number in zip(rows[words], row_numbers, strict=True) for _ in row]
        flat = class_numbers(
            [mark for marks in rows[tags] for mark in marks],
            numbers,
            tags,
            features[tags].feature,
            config_values["id2label"],
        )
        labels = np.split(flat, np.cumsum([len(row) for row in rows[words]])[:-1])
        length = processor.model_max_length
        encoded = processor(
            [" ".join(row) for row in rows[words]],
            truncation=True,
            max_length=length,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        result = {
            "input_ids": np.full((len(labels), length), processor.pad_token_id, dtype=np.int32),
            "labels": np.full((len(labels), length), NO_LABEL, dtype=np.int32),
            "lengths": np.array([len(tokens) for tokens in encoded["input_ids"]], dtype=np.int32),
        }
        lost = 0
        for place, (tokens, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)):
            result["input_ids"][place, : len(tokens)] = tokens
            firsts = first_tokens(rows[words][place], offsets)
            known = [index for index, first in enumerate(firsts) if first is not None]
            result["labels"][place, [firsts[index] for index in known]] = labels[place][known]
            lost += len(firsts) - len(known)
        if lost:
            logger.warning(
                "%d of %d words have no token of their own or lie beyond %d tokens: their tags are not used "
                "(--max_length)", lost, len(flat), length,
            )  # fmt: skip
        return result

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """`input_ids`, `attention_mask` and `labels`, (B, longest of the batch) int64."""
        import torch

        self.tags = tuple(config_values["id2label"].values())

        def trim(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            lengths = batch["lengths"]
            longest = int(lengths.max())
            mask = torch.arange(longest, device=lengths.device) < lengths[:, None]
            return {
                "input_ids": batch["input_ids"][:, :longest].long(),
                "attention_mask": mask.long(),
                "labels": batch["labels"][:, :longest].long(),
            }

        return trim

    # ---------------------------------------------------------------- results

    def predict(self, outputs: Any, batch: "Batch") -> "Batch":
        """Counts of each sentence, see `tag_rows`."""
        import torch

        labels = batch["labels"]
        predictions = outputs.logits.argmax(dim=-1)
        counted = labels != NO_LABEL
        pairs = [
            (label[some].tolist(), prediction[some].tolist())
            for label, prediction, some in zip(labels.cpu(), predictions.cpu(), counted.cpu(), strict=True)
        ]
        return {name: torch.from_numpy(value).to(labels.device) for name, value in tag_rows(pairs, self.tags).items()}

    def metrics(self, rows: "Rows", config_values: dict[str, Any]) -> dict[str, float]:
        """Precision, recall and F1 over all entities (micro), and the share of words with the right tag."""
        right, predicted, actual = (float(rows[name].sum()) for name in ("right", "predicted", "actual"))
        nothing = float("nan")
        return {
            "f1": 2 * right / (predicted + actual) if predicted + actual else nothing,
            "precision": right / predicted if predicted else nothing,
            "recall": right / actual if actual else nothing,
            "accuracy": float(rows["hits"].sum() / rows["words"].sum()) if rows["words"].sum() else nothing,
        }

    def class_names(self, config_values: dict[str, Any]) -> list[str]:
        """The kinds of entities: the tags without B- and I-, and without O."""
        return entity_kinds(tuple(config_values["id2label"].values()))

    def class_metrics(self, rows: "Rows", config_values: dict[str, Any]) -> "dict[str, np.ndarray]":
        import numpy as np

        right, predicted, actual = (rows[name].sum(axis=0).astype(float) for name in ("right", "predicted", "actual"))
        with np.errstate(invalid="ignore"):
            return {"precision": right / predicted, "recall": right / actual, "f1": 2 * right / (predicted + actual)}

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Logistic regression on the word, its ends, its shape and its neighbours; beside it each word's most frequent
        tag in the training sentences (of an unknown word the most frequent one of all)."""
        started = time.perf_counter()
        tags = tuple(config_values["id2label"].values())
        known, unknown = read_sentences(train, processor), read_sentences(test, processor)
        reading = time.perf_counter() - started
        started = time.perf_counter()
        counts: dict[str, Counter] = defaultdict(Counter)
        for words, labels in known:
            for word, label in zip(words, labels, strict=True):
                counts[word][label] += 1
        usual = {word: min(found, key=lambda label: (-found[label], label)) for word, found in counts.items()}
        all_labels = Counter(label for _, labels in known for label in labels)
        most = min(all_labels, key=lambda label: (-all_labels[label], label))
        pairs = [(labels, [usual.get(word, most) for word in words]) for words, labels in unknown]
        lookup = Baseline(
            name="each word's most frequent tag",
            rows=tag_rows(pairs, tags),
            seconds=reading + time.perf_counter() - started,
        )
        if len(all_labels) == 1:  # nothing to separate
            return lookup
        started = time.perf_counter()
        predictions, note = linear_tags(known, unknown, seed)
        pairs = [(labels, found) for (_, labels), found in zip(unknown, predictions, strict=True)]
        return Baseline(
            name=f"logistic regression on the word, its ends, its shape and its neighbours{note}",
            rows=tag_rows(pairs, tags),
            seconds=reading + time.perf_counter() - started,
            others=[lookup],
        )

    def plots(self, rows: "Rows", columns: Any, processor: Any, config_values: dict[str, Any]) -> Iterator[Figure]:
        """Confusion matrix of the kinds of tags."""
        from .figures.classes import confusion_figure

        kinds = [OUTSIDE, *self.class_names(config_values)]
        if len(kinds) <= MATRIX_CLASSES and "confusion" in rows:
            yield Figure(
                name="confusion_matrix",
                caption="Confusion matrix of the words of the test rows by kind of tag: true kinds down, predicted "
                "kinds across, coloured by the share of the true kind.",
                figure=confusion_figure(_pairs(rows["confusion"].sum(axis=0)), kinds),
            )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            "# The first token of a word decides, as in training.\n"
            'tag = pipeline("token-classification", model="{model_id}", aggregation_strategy="first")\n'
            'print(tag("Ada Lovelace was born in London"))  # [{"entity_group": ..., "word": ..., "score": ...}, ...]\n'
        )


# ---------------------------------------------------------------- columns and words


def sequence_columns(features: "datasets.Features", words: str | None, tags: str | None) -> tuple[str, str]:
    """The columns of words (lists of text) and tags (lists of classes): the chosen ones, else by type and usual name.

    Raises:
        HubmodelsError: there is none, there are several, or a chosen one is of another type.
    """
    import datasets

    from .contract.columns import can_be_classes, kind_of

    lists = {
        name: kind.feature for name, kind in features.items() if isinstance(kind, datasets.List | datasets.LargeList)
    }
    if words is not None:
        existing_column(words, features, "text_column_name")
    if tags is not None:
        existing_column(tags, features, "label_column_name")
    if tags is None:
        found = [name for name, kind in lists.items() if isinstance(kind, datasets.ClassLabel)]
        found = found or [
            name for name, kind in lists.items() if name.lower() in TAG_NAMES and name != words and can_be_classes(kind)
        ]
        if not found:
            raise HubmodelsError(
                f"the data set has no column of tags (a list of classes, one a word); its columns are "
                f"{describe_columns(features)} (name it with --label_column_name)"
            )
        tags = choose_column(found, TAG_NAMES, "tag", "label_column_name")
    elif tags not in lists or not can_be_classes(lists[tags]):
        raise HubmodelsError(f"column {tags!r} holds no lists of tags; choose another --label_column_name")
    if words is None:
        found = [name for name, kind in lists.items() if kind_of(kind) in TEXT_TYPES and name != tags]
        if not found:
            raise HubmodelsError(
                f"the data set has no column of words (a list of texts); its columns are {describe_columns(features)}"
            )
        words = choose_column(found, WORD_NAMES, "word", "text_column_name")
    elif words not in lists or kind_of(lists[words]) not in TEXT_TYPES:
        raise HubmodelsError(f"column {words!r} holds no lists of words; choose another --text_column_name")
    return words, tags


def first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """The number of the first token of each word of " ".join(words), None where it has none (it was cut off). A token
    is of the word that its last character is of: byte-level ones begin at the blank before."""
    result: list[int | None] = []
    place, begin = 0, 0
    for word in words:
        end = begin + len(word)
        while place < len(offsets) and offsets[place][1] <= begin:  # special tokens stand at (0, 0)
            place += 1
        result.append(place if place < len(offsets) and offsets[place][1] <= end else None)
        if place < len(offsets) and offsets[place][1] <= end:
            while place < len(offsets) and offsets[place][1] <= end:
                place += 1
        begin = end + 1
    return result


def read_sentences(columns: Any, processor: Any) -> list[tuple[list[str], list[int]]]:
    """The words of encoded rows, as far as they have a label, and their labels."""
    import torch

    special = set(processor.all_special_ids)
    sentences = []
    for numbers in torch.arange(len(columns)).split(1000):
        batch = columns.batch(numbers)
        for tokens, labels, length in zip(batch["input_ids"], batch["labels"], batch["lengths"].tolist(), strict=True):
            starts = (labels[:length] != NO_LABEL).nonzero()[:, 0].tolist()
            ends = [*starts[1:], length]
            row = tokens.tolist()
            words = []
            for start, end in zip(starts, ends, strict=True):
                words.append(processor.decode([token for token in row[start:end] if token not in special]).strip())
            sentences.append((words, labels[starts].tolist()))
    return sentences


# ---------------------------------------------------------------- entities


def entity_kinds(tags: Sequence[str]) -> list[str]:
    """The kinds of entities that tags speak of, in their order: PER, LOC of B-PER, I-PER, B-LOC, O."""
    return list(dict.fromkeys(split_tag(tag)[1] for tag in tags if tag != OUTSIDE))


def split_tag(tag: str) -> tuple[str, str]:
    """B or I, and the kind; a tag without either is a whole entity by itself."""
    return (tag[0], tag[2:]) if tag[:2] in ("B-", "I-") and len(tag) > 2 else ("B", tag)


def find_entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """The entities of a sentence in IOB2 as (first word, word behind, kind). As conlleval does, an I- that continues
    nothing of its kind begins an entity."""
    found = set()
    start, kind = 0, None
    for place, tag in enumerate([*tags, OUTSIDE]):
        mark, this = ("O", None) if tag == OUTSIDE else split_tag(tag)
        if kind is not None and (mark != "I" or this != kind):
            found.add((start, place, kind))
            kind = None
        if this is not None and kind is None:
            start, kind = place, this
    return found


def tag_rows(pairs: list[tuple[list[int], list[int]]], tags: Sequence[str]) -> "Rows":
    """What metrics need of each sentence, from its (true, predicted) tag numbers.

    Returns:
        `words` and `hits` (B,): words, and those with the right tag. `actual`, `predicted` and `right` (B, kinds):
        entities, predicted ones, and those that are both, with the same words and kind. With up to 20 kinds `confusion`
        (B, kinds + 1, kinds + 1): words by true and predicted kind, the first one being none.
    """
    import numpy as np

    kinds = {kind: place for place, kind in enumerate(entity_kinds(tags))}
    numbers = np.array([0 if tag == OUTSIDE else kinds[split_tag(tag)[1]] + 1 for tag in tags])
    B, K = len(pairs), len(kinds)
    rows = {name: np.zeros((B, K), dtype=np.int32) for name in ("actual", "predicted", "right")}
    rows |= {name: np.zeros(B, dtype=np.int32) for name in ("words", "hits")}
    if K < MATRIX_CLASSES:
        rows["confusion"] = np.zeros((B, K + 1, K + 1), dtype=np.int32)
    for place, (labels, predictions) in enumerate(pairs):
        rows["words"][place] = len(labels)
        rows["hits"][place] = sum(label == found for label, found in zip(labels, predictions, strict=True))
        actual, predicted = (find_entities([tags[number] for number in some]) for some in (labels, predictions))
        for name, entities in (("actual", actual), ("predicted", predicted), ("right", actual & predicted)):
            for _, _, kind in entities:
                rows[name][place, kinds[kind]] += 1
        if "confusion" in rows:
            np.add.at(rows["confusion"][place], (numbers[labels], numbers[predictions]), 1)
    return rows


def _pairs(counts: "np.ndarray") -> "Rows":
    """A confusion matrix as rows of labels and predictions, which `confusion_figure` takes."""
    import numpy as np

    labels, predictions = np.indices(counts.shape).reshape(2, -1)
    return {"labels": labels.repeat(counts.ravel()), "predictions": predictions.repeat(counts.ravel())}


# ---------------------------------------------------------------- the linear baseline


def word_features(words: Sequence[str], place: int) -> dict[str, bool]:
    """What the linear baseline knows of a word: itself, its ends, its shape, and the words beside it."""
    word = words[place]
    lower = word.lower()
    shape = "".join("X" if c.isupper() else "x" if c.islower() else "9" if c.isdigit() else c for c in word)
    short = "".join(c for index, c in enumerate(shape) if index == 0 or shape[index - 1] != c)
    before, after = (words[place - 1] if place else "<s>"), (words[place + 1] if place + 1 < len(words) else "</s>")
    names = [f"word={lower}", f"shape={short}", f"before={before.lower()}", f"after={after.lower()}"]
    names += [f"end={lower[-size:]}" for size in (1, 2, 3)] + [f"start={lower[:size]}" for size in (2, 3)]
    names += [f"capital before={before[:1].isupper()}", f"capital after={after[:1].isupper()}", f"first={not place}"]
    return dict.fromkeys(names, True)


def linear_tags(
    known: list[tuple[list[str], list[int]]], unknown: list[tuple[list[str], list[int]]], seed: int
) -> tuple[list[list[int]], str]:
    """The tags of the unknown sentences' words by logistic regression, trained by stochastic gradient, and a note where
    not all known sentences were used."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import SGDClassifier

    sentences, count = [], 0
    for sentence in known:
        if count >= BASELINE_WORDS:
            break
        sentences.append(sentence)
        count += len(sentence[0])
    note = f" ({len(sentences):,} of {len(known):,} training rows)" if len(sentences) < len(known) else ""
    vectorizer = DictVectorizer()

    def narrow(matrix: Any) -> Any:
        # scikit-learn 1.9's stochastic gradient refuses the 64-bit indices that its own vectorizer makes.
        matrix.indices, matrix.indptr = matrix.indices.astype("int32"), matrix.indptr.astype("int32")
        return matrix

    features = narrow(
        vectorizer.fit_transform(word_features(words, place) for words, _ in sentences for place in range(len(words)))
    )
    labels = [label for _, some in sentences for label in some]
    if len(set(labels)) == 1:
        return [[labels[0]] * len(words) for words, _ in unknown], note
    model = SGDClassifier(loss="log_loss", alpha=1e-6, max_iter=10, tol=None, random_state=seed, average=True)
    model.fit(features, labels)
    result = []
    for words, _ in unknown:
        rows = [word_features(words, place) for place in range(len(words))]
        result.append(model.predict(narrow(vectorizer.transform(rows))).tolist() if rows else [])
    return result, note
