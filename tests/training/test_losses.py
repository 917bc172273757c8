"""Label smoothing and class weights against sums by hand and scikit-learn."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from toy_run import ToyClassifier, ToyColumns, make_model, run_toy

from hubmodels import MlpConfig, MlpForTabularClassification
from hubmodels.errors import HubmodelsError
from hubmodels.recipe import TrainingArguments
from hubmodels.training.losses import balanced_weights, class_loss, make_loss


def loss_by_hand(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray, smoothing: float) -> float:
    """Mean over rows of -sum_c w_c q_c log p_c, with q the smoothed targets."""
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    q = (1 - smoothing) * targets + smoothing / logits.shape[1]
    return float(-(weights * q * log_p).sum(1).mean())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_weighted_smoothed_sum_over_classes(smoothing: float, weighted: bool) -> None:
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(12, 4)), draw.integers(4, size=12)
    weights = draw.uniform(0.5, 2, size=4) if weighted else np.ones(4)
    given_logits = torch.tensor(logits).float()
    given = torch.tensor(weights).float() if weighted else None
    expected = loss_by_hand(logits, np.eye(4)[labels], weights, smoothing)
    # 1e-5: float32 logits
    assert float(class_loss(given_logits, torch.tensor(labels), given, smoothing)) == pytest.approx(expected, rel=1e-5)
    mixed = draw.dirichlet(np.ones(4), size=12)
    expected = loss_by_hand(logits, mixed, weights, smoothing)
    found = class_loss(given_logits, torch.tensor(mixed).float(), given, smoothing)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_token_labels_of_minus_100_count_for_nothing() -> None:
    logits, labels = torch.randn(2, 5, 4), torch.randint(4, (2, 5))
    labels[0, 1:] = -100
    kept = labels.flatten() != -100
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1)[kept], labels.flatten()[kept], label_smoothing=0.1
    )
    found = class_loss(logits, labels, None, 0.1)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    labels = np.array([0] * 50 + [1] * 5 + [2] * 20)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights(torch.tensor(labels), 3).numpy() == pytest.approx(expected, rel=1e-6)


def test_a_class_without_rows_has_weight_zero_and_spoils_nothing() -> None:
    assert balanced_weights(torch.tensor([0, 0, 2]), 4).tolist() == pytest.approx([0.75, 0, 1.5, 0])


def test_labels_that_are_no_classes_have_no_balanced_weights() -> None:
    for labels in (torch.tensor([0.5, 1.0]), torch.tensor([0, 3]), torch.tensor([-1, 0])):
        with pytest.raises(HubmodelsError, match="classes 0 to 2"):
            balanced_weights(labels, 3)


@pytest.mark.parametrize("options", [{"label_smoothing_factor": 0.1}, {"class_weights": "balanced"}])
def test_smoothing_and_weights_are_refused_for_what_is_no_single_label_classifier(options: dict) -> None:
    regression = ToyClassifier()
    regression.config.problem_type = "regression"
    for model in (make_model("gan"), torch.nn.Linear(2, 2), regression):
        with pytest.raises(HubmodelsError, match="one class a row"):
            make_loss(TrainingArguments(**options), model, None, torch.device("cpu"))


def test_training_with_weights_and_smoothing_logs_the_loss_by_hand(tmp_path) -> None:
    columns = ToyColumns(60)
    labels, pixels = columns.tensor("labels"), columns.tensor("pixel_values").float() / 128 - 1
    logits = make_model("classifier", norm=False, dropout=0.0)(pixels).logits.detach().double().numpy()
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    expected = loss_by_hand(logits, np.eye(3)[labels], weights, 0.2)
    _, run = run_toy(
        tmp_path, model={"norm": False, "dropout": 0.0}, num_rows=60, per_device_train_batch_size=60, max_steps=1,
        label_smoothing_factor=0.2, class_weights="balanced",
    )  # fmt: skip
    assert run.train_loss == pytest.approx(expected, rel=1e-5)


def test_a_model_without_a_loss_is_refused(tmp_path) -> None:
    class NoLoss(ToyClassifier):
        def forward(self, pixel_values, labels):
            return super().forward(pixel_values)

    with pytest.raises(HubmodelsError, match="NoLoss gave no loss for pixel_values, labels"):
        run_toy(tmp_path, network=NoLoss())


def test_each_member_of_an_ensemble_has_its_own_smoothed_and_weighted_loss() -> None:
    torch.manual_seed(0)
    model = MlpForTabularClassification(
        MlpConfig(num_numeric_features=4, hidden_sizes=[8], num_ensemble=3, num_labels=4, hidden_dropout_prob=0.0)
    ).train()
    batch = {"numeric_features": torch.randn(6, 4), "labels": torch.tensor([0, 1, 2, 3, 0, 1])}
    arguments = TrainingArguments(label_smoothing_factor=0.1, class_weights="balanced")
    rows = SimpleNamespace(tensor=batch.get)
    loss, outputs = make_loss(arguments, model, rows, torch.device("cpu"))(model, batch, None)
    weights = balanced_weights(batch["labels"], 4).numpy()
    members = outputs.member_logits.detach().double().numpy()  # (B, K, classes)
    assert members.std(axis=1).min() > 0  # the members differ
    alone = [loss_by_hand(members[:, k], np.eye(4)[batch["labels"]], weights, 0.1) for k in range(3)]
    assert loss.item() == pytest.approx(sum(alone) / 3, rel=1e-5)
