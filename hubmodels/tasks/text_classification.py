"""Text classification: a text, or a pair of them, and its class. Token dropout, metrics, baselines and figures."""

import logging
import math
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import HubmodelsError
from ..fields import option
from ..report import Baseline, Figure
from ._one_class import OneClassARow
from ._text import TEXT_NAMES, TextTask, check_texts, text_column, tokenize, vocabulary_size, word_starts
from .contract.columns import class_names, class_numbers, existing_column, label_column, label_maps

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch

    from ._unbound import Batch, Rows

MAX_LENGTH = 512  # tokens of the longest training text that are kept without --max_length
# The baselines see at most this many training texts and words or pairs of words.
BASELINE_ROWS = 200_000
BASELINE_WORDS = 300_000
LINEAR_PENALTIES = (0.3, 1.0, 3.0, 10.0)  # inverse strengths of logistic regression's L2 penalty
BAYES_SMOOTHING = (0.1, 0.3, 1.0)
# The figure of words leaves out one word after the other; it stops after about this many tokens.
OCCLUDED_TOKENS = 300_000
OCCLUDED_ROWS = 300
WORDS_SHOWN = 8  # of each class
CLASSES_SHOWN = 6

logger = logging.getLogger("hubmodels")


@dataclass(kw_only=True)
class TextClassification(OneClassARow, TextTask):
    """One text or pair of texts, one class."""

    tag: ClassVar[str] = "text-classification"
    head: ClassVar[str] = "ForSequenceClassification"
    config_fields: ClassVar[tuple[str, ...]] = ("vocab_size", "pad_token_id", "id2label", "label2id", "problem_type")

    text_pair_column_name: str | None = option(None, "column of a second text beside the first; none when absent")
    label_column_name: str | None = option(None, "column of the classes; the only class column when absent")
    max_length: int | None = option(
        None, "tokens of a text, longer ones are cut; when absent the longest training text's, 512 at most"
    )
    token_dropout: float = option(0.0, "augmentation: share of tokens made unknown, in [0, 1)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and self.max_length < 3:  # one token between two special ones
            raise ValueError(f"max_length must be at least 3, got {self.max_length}")
        if not 0 <= self.token_dropout < 1:
            raise ValueError(f"token_dropout must be at least 0 and below 1, got {self.token_dropout}")

    # ---------------------------------------------------------------- columns

    def select(self, dataset: "datasets.Dataset") -> "datasets.Dataset":
        """The text, the second text where one is named, and the class column, in this order."""
        features = dataset.features
        label = label_column(features, self.label_column_name)
        pair = self.text_pair_column_name
        if pair is not None:
            existing_column(pair, features, "text_pair_column_name")
            text_column(features, pair, "text_pair_column_name")
        others = {name: kind for name, kind in features.items() if name not in (label, pair)}
        text = text_column(features if self.text_column_name else others, self.text_column_name)
        return dataset.select_columns([text, *([pair] if pair else []), label])

    def texts(self, train: "datasets.Dataset") -> Iterator[str]:
        return super().texts(train.select_columns(list(train.features)[:-1]))

    # ---------------------------------------------------------------- what the data decide

    def longest(self, train: "datasets.Dataset", tokenizer: Any) -> int:
        if self.max_length is not None:
            return self.max_length
        longest = 3
        for rows in train.select_columns(list(train.features)[:-1]).iter(batch_size=1000):
            columns = [[text or "" for text in column] for column in rows.values()]
            longest = max(longest, *map(len, tokenize(tokenizer, *columns)))
            if longest >= MAX_LENGTH:
                return MAX_LENGTH
        return longest

    def load_processor(self, path: str, **kwargs: Any) -> Any:
        tokenizer = super().load_processor(path, **kwargs)
        if self.max_length is not None:
            tokenizer.model_max_length = self.max_length
        return tokenizer

    def fit_config(self, train: "datasets.Dataset", processor: Any) -> dict[str, Any]:
        """The vocabulary as the tokenizer has it. The classes are a class column's own names in their order, or the
        distinct texts or integers of the training rows, sorted."""
        *_, label = train.features
        names = class_names(train, label)
        return {
            "vocab_size": vocabulary_size(processor),
            "pad_token_id": processor.pad_token_id,
            **label_maps(names),
            "problem_type": "single_label_classification",
        }

    # ---------------------------------------------------------------- rows -> tensors

    def encoded_features(self, processor: Any, config_values: dict[str, Any]) -> "datasets.Features":
        import datasets

        return datasets.Features(
            input_ids=datasets.List(datasets.Value("int32"), length=processor.model_max_length),
            lengths=datasets.Value("int32"),
            labels=datasets.Value("int64"),
        )

    def encode(
        self,
        rows: dict[str, list],
        row_numbers: list[int],
        features: "datasets.Features",
        processor: Any,
        config_values: dict[str, Any],
    ) -> "Rows":
        """`input_ids` (B, model_max_length) int32 padded on the right, `lengths` (B,) and `labels` (B,) int64 as the
        model numbers them."""
        *texts, label = features
        return {
            **self._encode_texts([rows[name] for name in texts], row_numbers, texts, processor),
            "labels": class_numbers(rows[label], row_numbers, label, features[label], config_values["id2label"]),
        }

    def _encode_texts(self, columns: list[list], row_numbers: list[int], names: list[str], processor: Any) -> "Rows":
        import numpy as np

        for values, name in zip(columns, names, strict=True):
            check_texts(values, row_numbers, name)
        longest = processor.model_max_length
        found = tokenize(processor, *columns)
        long = [place for place, tokens in enumerate(found) if len(tokens) > longest]
        if long:
            some = [[column[place] for place in long] for column in columns]
            cut = tokenize(processor, *some, truncation=True, max_length=longest)
            for place, tokens in zip(long, cut, strict=True):
                found[place] = tokens
            logger.warning(
                "%d of %d texts have more than %d tokens and are cut (--max_length)", len(long), len(found), longest
            )
        input_ids = np.full((len(found), longest), processor.pad_token_id, dtype=np.int32)
        for place, tokens in enumerate(found):
            input_ids[place, : len(tokens)] = tokens
        return {"input_ids": input_ids, "lengths": np.array([len(tokens) for tokens in found], dtype=np.int32)}

    def input_columns(self, processor: Any) -> list[str]:
        names = [self.text_column_name] if self.text_column_name else list(TEXT_NAMES)
        return names + ([self.text_pair_column_name] if self.text_pair_column_name else [])

    def encode_inputs(self, rows: Any, row_numbers: list[int], processor: Any, config_values: dict[str, Any]) -> "Rows":
        """The texts, from the columns that the recipe names, or from one with a usual name."""
        pair = [self.text_pair_column_name] if self.text_pair_column_name else []
        usual = [name for name in TEXT_NAMES if name in rows.column_names and name not in pair]
        names = [self.text_column_name or (usual or TEXT_NAMES)[0], *pair]
        for name in names:
            if name not in rows.column_names:
                raise HubmodelsError(f"there is no column of text {name!r} among {', '.join(rows.column_names)}")
        columns = [rows.column(name).to_pylist() for name in names]
        return self._encode_texts(columns, list(row_numbers), names, processor)

    def transform(
        self, processor: Any, config_values: dict[str, Any], *, training: bool
    ) -> "Callable[[Batch, torch.Generator | None], Batch]":
        """`input_ids` and `attention_mask` (B, longest of the batch), in training with token dropout (as Bowman et al.
        2016, arXiv:1511.06349, section 3.1): a dropped token becomes the unknown one."""
        import torch

        special = torch.tensor(sorted(set(processor.all_special_ids)))
        unknown = next(
            number for number in (processor.unk_token_id, processor.mask_token_id, processor.pad_token_id)
            if number is not None
        )  # fmt: skip

        def trim(batch: "Batch", generator: "torch.Generator | None" = None) -> "Batch":
            batch = dict(batch)
            lengths = batch.pop("lengths")
            tokens = batch["input_ids"][:, : int(lengths.max())].long()
            if training and self.token_dropout:
                drawn = torch.rand(tokens.shape, generator=generator, device=tokens.device) < self.token_dropout
                tokens = tokens.masked_fill(drawn & ~torch.isin(tokens, special.to(tokens.device)), unknown)
            mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            return {**batch, "input_ids": tokens, "attention_mask": mask.long()}

        return trim

    # ---------------------------------------------------------------- results

    def baseline(self, train: Any, test: Any, processor: Any, config_values: dict[str, Any], seed: int) -> Baseline:
        """Logistic regression and multinomial naive Bayes on TF-IDF of words and pairs of words, their settings chosen
        on a tenth of the training rows; the better one there is the baseline, the other stands beside it."""
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer

        from .targets.class_rows import probability_rows

        started = time.perf_counter()
        order = np.random.default_rng(seed).permutation(len(train))[:BASELINE_ROWS]
        note = f" ({len(order):,} of {len(train):,} training texts)" if len(order) < len(train) else ""
        texts, labels = read_texts(train, processor, order), train.tensor("labels").numpy()[order]
        options = {"ngram_range": (1, 2), "sublinear_tf": True, "max_features": BASELINE_WORDS}
        try:
            vectorizer = TfidfVectorizer(**options)
            features = vectorizer.fit_transform(texts)
        except ValueError:  # not one word of two letters
            vectorizer = TfidfVectorizer(analyzer="char", **options)
            features = vectorizer.fit_transform(texts)
        inputs = vectorizer.transform(read_texts(test, processor, np.arange(len(test))))
        shared, targets = time.perf_counter() - started, test.tensor("labels").numpy()
        count = len(order) - math.ceil(len(order) / 10)
        found = []
        for name, models in _baseline_models(seed).items():
            started = time.perf_counter()
            scores = []
            if len(np.unique(labels[:count])) > 1:
                scores = [model.fit(features[:count], labels[:count]).score(features[count:], labels[count:])
                          for model in models]  # fmt: skip
            best = models[int(np.argmax(scores))] if scores else models[0]
            probabilities = np.zeros((len(test), len(config_values["id2label"])))
            if len(np.unique(labels)) == 1:  # nothing to separate
                probabilities[:, labels[0]] = 1
            else:
                best.fit(features, labels)
                probabilities[:, best.classes_] = best.predict_proba(inputs)
            seconds = shared + time.perf_counter() - started
            rows = probability_rows(probabilities, targets)
            found.append((max(scores, default=0.0), Baseline(name=name + note, rows=rows, seconds=seconds)))
        (_, main), *others = sorted(found, key=lambda item: -item[0])
        main.others = [other for _, other in others]
        return main

    def explain(
        self, predict: "Callable[[Any], Rows]", columns: Any, processor: Any, config_values: dict[str, Any]
    ) -> Iterator[Figure]:
        """The words that speak most for each class: how much leaving one out of a test text lowers the log probability
        of the text's true class, averaged over the texts."""
        influence = word_influence(predict, columns, processor)
        names = self.class_names(config_values)
        chosen = {
            label: sorted(words.items(), key=lambda item: -item[1])[:WORDS_SHOWN]
            for label, words in sorted(influence.items())[:CLASSES_SHOWN]
        }
        chosen = {label: [item for item in words if item[1] > 0] for label, words in chosen.items()}
        chosen = {names[label]: words for label, words in chosen.items() if words}
        if chosen:
            yield Figure(
                name="indicative_words",
                caption="Words that speak most for each class: how much the log probability of the true class falls "
                f"without the word, mean over up to {OCCLUDED_ROWS} test texts (words seen once count half).",
                figure=_words_figure(chosen),
            )

    def example(self) -> str:
        return (
            "import hubmodels  # makes transformers know the family\n"
            "from transformers import pipeline\n"
            "\n"
            'classify = pipeline("text-classification", model="{model_id}")\n'
            'print(classify(["a text", "another text"], truncation=True))  # [{"label": ..., "score": ...}, ...]\n'
        )


def read_texts(columns: Any, processor: Any, rows: "np.ndarray") -> list[str]:
    """The texts of encoded rows, as far as the network sees them: special tokens become blanks."""
    import torch

    special = re.compile("|".join(map(re.escape, sorted(processor.all_special_tokens, key=len, reverse=True))))
    texts = []
    for numbers in torch.from_numpy(rows).split(1000):
        batch = columns.batch(numbers)
        found = [tokens[:length] for tokens, length in zip(batch["input_ids"], batch["lengths"].tolist(), strict=True)]
        texts += [special.sub(" ", processor.decode(tokens)) for tokens in found]
    return texts


def word_influence(predict: "Callable[[Any], Rows]", columns: Any, processor: Any) -> dict[int, dict[str, float]]:
    """Label -> word -> how much the log probability of the label falls when the word is left out of a text, in nats:
    the sum over its texts, divided by their number plus one, so that what was seen once counts half."""
    import torch

    sums: dict = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))
    places = torch.linspace(0, len(columns) - 1, min(OCCLUDED_ROWS, len(columns))).round().long().unique()
    # Every k-th row: the order of a data set may be that of its classes.
    places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))]
    special = set(processor.all_special_ids)
    budget = OCCLUDED_TOKENS
    for place in places:
        row = columns.batch(place[None])
        length, label = int(row["lengths"]), int(row["labels"])
        tokens = row["input_ids"][0, :length].tolist()
        starts = word_starts(processor, tokens)
        spans = list(zip(starts, [*starts[1:], length], strict=True))
        spans = [(start, end) for start, end in spans if not special.intersection(tokens[start:end])]
        spans = [span for span in spans if span[1] - span[0] < length]
        if not spans:
            continue
        budget -= length * (len(spans) + 1)
        if budget < 0 and sums:
            break
        variants = [tokens, *(tokens[:start] + tokens[end:] for start, end in spans)]
        losses = predict(_Variants(variants, label, processor.pad_token_id))["losses"]
        for (start, end), loss in zip(spans, losses[1:], strict=True):
            word = processor.decode(tokens[start:end]).strip().lower()
            if word:
                entry = sums[label][word]
                entry[0] += float(loss - losses[0])
                entry[1] += 1
    return {
        label: {word: total / (number + 1) for word, (total, number) in words.items()} for label, words in sums.items()
    }


class _Variants:
    """Rows of tokens as encoded columns give them, all of one label."""

    def __init__(self, rows: list[list[int]], label: int, pad: int) -> None:
        import torch

        self.lengths = torch.tensor([len(row) for row in rows])
        self.tokens = torch.full((len(rows), int(self.lengths.max())), pad)
        for place, row in enumerate(rows):
            self.tokens[place, : len(row)] = torch.tensor(row)
        self.labels = torch.full((len(rows),), label)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: "torch.Tensor") -> "Batch":
        return {"input_ids": self.tokens[rows], "lengths": self.lengths[rows], "labels": self.labels[rows]}


def _baseline_models(seed: int) -> dict[str, list[Any]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import MultinomialNB

    return {
        "logistic regression on TF-IDF of words and pairs": [
            LogisticRegression(C=penalty, max_iter=1_000, random_state=seed) for penalty in LINEAR_PENALTIES
        ],
        "naive Bayes on TF-IDF of words and pairs": [MultinomialNB(alpha=alpha) for alpha in BAYES_SMOOTHING],
    }


def _words_figure(words: dict[str, list[tuple[str, float]]]) -> Any:
    from ..figures import BLUE, house_style, new_figure
    from ..formatting import shorten

    ncols = min(3, len(words))
    nrows = math.ceil(len(words) / ncols)
    with house_style():
        figure, grid = new_figure(2.6 * max(ncols, 2), 2.2 * nrows, nrows, ncols, squeeze=False, sharex=True)
        for axes in grid.flat[len(words) :]:
            axes.axis("off")
        for axes, (name, found) in zip(grid.flat, words.items(), strict=False):
            labels = [shorten(word).replace("$", r"\$") for word, _ in found]
            axes.barh(range(len(found)), [value for _, value in found], color=BLUE)
            axes.set_yticks(range(len(found)), labels)
            axes.invert_yaxis()
            axes.set_title(shorten(name))
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
        for axes in grid[-1]:
            axes.set_xlabel("nats")
    return figure
