"""The loop: when it evaluates, stops, logs and refuses."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from torch import nn
from toy_run import ToyClassifier, ToyColumns, make_model, plain, run_toy

from hubmodels.data import StreamedBatches
from hubmodels.errors import HubmodelsError
from hubmodels.figures import new_figure
from hubmodels.report import Figure
from hubmodels.training import devices


def scores(values: list[float], steps: list[int] | None = None):
    """An evaluation that gives these accuracies one after the other."""
    left = list(values)

    def evaluate(model: nn.Module) -> tuple[dict[str, float], list[Figure]]:
        torch.rand(3)  # draws that must not reach the training
        return {"accuracy": left.pop(0)}, []

    return evaluate


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_a_small_set_is_learnt_and_the_loss_reaches_zero(tmp_path) -> None:
    model, run = run_toy(tmp_path, num_rows=32, num_train_epochs=60, model={"dropout": 0.0}, logging_steps=10)
    columns = ToyColumns(32)
    predicted = model(plain(columns.batch(torch.arange(32)), None)["pixel_values"]).logits.argmax(1)
    assert torch.equal(predicted, columns.tensor("labels"))
    assert run.train_loss < 0.05
    assert not model.training


def test_metrics_and_loss_figure_are_always_written(tmp_path) -> None:
    _, run = run_toy(tmp_path, logging_steps=4, evaluate=scores([0.5, 0.7]))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.history
    assert [line["step"] for line in lines if "loss" in line] == [4, 5, 8, 10]  # 5: read before the evaluation
    assert [(line["step"], line["epoch"], line["eval_accuracy"]) for line in lines if "eval_accuracy" in line] == [
        (5, 1.0, 0.5),
        (10, 2.0, 0.7),
    ]
    assert set(lines[0]) == {"step", "epoch", "loss", "learning_rate", "grad_norm", "samples_per_second"}
    assert (tmp_path / "figures" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (run.steps, run.epochs, run.metric) == (10, 2.0, None)
    assert run.figures()[0].name == "loss"


def test_evaluating_and_saving_change_nothing_in_the_training(tmp_path) -> None:
    plain_run, _ = run_toy(tmp_path / "a", augment=True, eval_strategy="no", save_strategy="no")
    watched, _ = run_toy(
        tmp_path / "b", augment=True, eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=3,
        evaluate=scores([0.1] * 9),
    )  # fmt: skip
    assert all(map(torch.equal, weights_of(plain_run), weights_of(watched)))


def test_fetching_batches_ahead_changes_nothing_in_the_training(tmp_path) -> None:
    first, _ = run_toy(tmp_path / "a", augment=True)
    second, _ = run_toy(tmp_path / "b", augment=True, num_workers=3)
    assert all(map(torch.equal, weights_of(first), weights_of(second)))


def test_another_seed_gives_other_weights(tmp_path) -> None:
    first, _ = run_toy(tmp_path / "a", seed=1)
    second, _ = run_toy(tmp_path / "b", seed=2)
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


@pytest.mark.parametrize(
    ("options", "steps"), [({"max_steps": 7}, 7), ({"num_train_epochs": 1.5}, 8), ({"num_train_epochs": 0.1}, 1)]
)
def test_the_run_has_as_many_steps_as_asked(tmp_path, options: dict, steps: int) -> None:
    _, run = run_toy(tmp_path, evaluate=scores([0.1] * 3), **options)
    assert run.steps == steps
    assert run.history[-1]["step"] == steps
    assert run.history[-1]["learning_rate" if "loss" in run.history[-1] else "eval_accuracy"] is not None
    assert [line["step"] for line in run.history if "eval_accuracy" in line][-1] == steps


BEST = {"metric_for_best_model": "accuracy", "num_train_epochs": 6}


def test_early_stopping_ends_after_patience_without_enough_improvement(tmp_path) -> None:
    evaluate = scores([0.5, 0.6, 0.601, 0.602, 0.9, 0.9])
    _, run = run_toy(tmp_path, evaluate=evaluate, early_stopping_patience=2, early_stopping_threshold=0.01, **BEST)
    assert run.stopped_early
    assert run.steps == 4 * 5
    assert (run.best_metric, run.best_step) == (0.602, 20)


def test_the_best_weights_are_kept_and_loaded_at_the_end(tmp_path) -> None:
    seen = []

    def evaluate(model: nn.Module) -> tuple[dict[str, float], list[Figure]]:
        seen.append(weights_of(model))
        return {"loss": [0.9, 0.3, math.nan, 0.5, 0.4, 0.8][len(seen) - 1]}, []

    options = {**BEST, "metric_for_best_model": "loss", "greater_is_better": False, "ema_decay": 0.5}
    model, run = run_toy(tmp_path, evaluate=evaluate, load_best_model_at_end=True, save_total_limit=1, **options)
    assert (run.best_metric, run.best_step) == (0.3, 10)
    assert all(map(torch.equal, weights_of(model), seen[1]))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-00000010", "step-00000030"]  # the best beside the newest
    assert [line["step"] for line in run.history if line.get("eval_loss", 0) is None] == [15]  # JSON has no NaN


def test_what_decides_must_be_measured(tmp_path) -> None:
    with pytest.raises(HubmodelsError, match="need validation rows and a metric"):
        run_toy(tmp_path, early_stopping_patience=2)
    with pytest.raises(HubmodelsError, match="'f1' is none of accuracy"):
        run_toy(tmp_path, evaluate=scores([0.1]), metric_for_best_model="f1")


def poison(step: int, pixels: float):
    """A transform that spoils the given step's first row, from 1."""
    count = 0

    def wrap(transform):
        def spoiled(batch, generator):
            nonlocal count
            count += 1
            result = transform(batch, generator)
            if count == step:
                result["pixel_values"][0] = pixels
            return result

        return spoiled

    return wrap


def test_a_loss_that_is_not_finite_names_step_rows_and_last_good_checkpoint(tmp_path) -> None:
    rows = []

    def wrap(transform):
        inner = poison(8, math.nan)(transform)
        return lambda batch, generator: rows.append(batch["rows"].tolist()) or inner(batch, generator)

    with pytest.raises(HubmodelsError, match="the loss of step 8 is not finite") as error:
        run_toy(tmp_path, wrap=wrap, logging_steps=100, save_strategy="steps", save_steps=3, num_train_epochs=4)
    assert f"rows are {', '.join(map(str, rows[7][:16]))} and 16 more" in str(error.value)
    assert "step-00000006" in str(error.value)
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["rows"], last["not_finite"]) == (8, rows[7], ["nan"])
    # Step 9 was due for saving: nothing after the last good one is there.
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000003", "step-00000006"]


class Cliff(ToyClassifier):
    """A finite loss whose gradient is infinite in the third step."""

    calls = 0

    def forward(self, pixel_values, labels=None):
        outputs = super().forward(pixel_values, labels)
        self.calls += 1
        if self.calls == 3:
            outputs.loss = outputs.loss + (self.classifier.bias * 0).abs().sqrt().sum()
        return outputs


def test_a_gradient_that_is_not_finite_is_found_with_and_without_clipping(tmp_path) -> None:
    with pytest.raises(HubmodelsError, match="the gradient of step 3 is not finite"):
        run_toy(tmp_path / "a", network=Cliff(), logging_steps=100)
    with pytest.raises(HubmodelsError, match="not finite at step 3, though the losses were"):
        run_toy(tmp_path / "b", network=Cliff(), max_grad_norm=0, max_steps=3)
    with pytest.raises(HubmodelsError, match="not finite at step 3, though"):
        run_toy(tmp_path / "c", network=Cliff(), max_grad_norm=0, max_steps=3, save_strategy="no")
    assert not (tmp_path / "b" / "checkpoints").exists()


class Hungry(ToyClassifier):
    """Runs out of memory with more than ten rows, as a GPU tells it."""

    def forward(self, pixel_values, labels=None):
        if len(pixel_values) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(pixel_values, labels)


def test_out_of_memory_shrinks_the_micro_batch_and_keeps_the_global_batch(tmp_path, capsys) -> None:
    options = {"gradient_accumulation_steps": 2, "ema_decay": 0.9, "per_device_train_batch_size": 30}
    expected, whole = run_toy(tmp_path / "a", model={"norm": False, "dropout": 0.0}, **options)
    torch.manual_seed(7)
    hungry = Hungry(norm=False, dropout=0.0)
    found, run = run_toy(tmp_path / "b", network=hungry, auto_find_batch_size=True, **options)
    assert "10 forward passes of 6 rows" in "".join(capsys.readouterr())
    assert run.steps == whole.steps
    for one, other in zip(weights_of(found), weights_of(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_batch_that_fits_is_left_alone_and_trying_it_changes_nothing(tmp_path) -> None:
    expected, _ = run_toy(tmp_path / "a", augment=True)
    found, _ = run_toy(tmp_path / "b", augment=True, auto_find_batch_size=True)
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))


def test_a_model_of_which_no_row_fits_is_refused(tmp_path) -> None:
    class Endless(ToyClassifier):
        def forward(self, pixel_values, labels=None):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(HubmodelsError, match="not even one row fits"):
        run_toy(tmp_path, network=Endless(), auto_find_batch_size=True)


def test_bf16_trains_float32_weights_to_nearly_the_same_loss(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(devices, "computes_bf16", lambda device: True)
    options = {"model": {"dropout": 0.0}, "num_train_epochs": 4}
    _, full = run_toy(tmp_path / "a", **options)
    model, half = run_toy(tmp_path / "b", bf16=True, **options)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    # bfloat16 has 8 bits of mantissa: 0.4 % in each product
    assert half.train_loss == pytest.approx(full.train_loss, rel=0.05)
    assert half.train_loss != full.train_loss


def test_where_bf16_is_only_slower_training_is_in_float32_and_the_log_says_so(tmp_path, monkeypatch, caplog) -> None:
    capabilities = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    _, full = run_toy(tmp_path / "a", num_train_epochs=1)
    _, half = run_toy(tmp_path / "b", num_train_epochs=1, bf16=True)
    assert half.train_loss == full.train_loss
    assert "this CPU computes bfloat16 in software" in caplog.text


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(36, 3)

    def forward(self, pixel_values, labels):
        loss = nn.functional.cross_entropy(self.classifier(pixel_values.flatten(1)), labels)
        return SimpleNamespace(loss=loss)


def test_a_compiled_model_learns_the_same(tmp_path) -> None:
    def linear() -> nn.Module:  # the fewer kernels, the shorter the compiler takes
        torch.manual_seed(7)
        return Linear()

    expected, _ = run_toy(tmp_path / "a", network=linear(), max_steps=4)
    found, _ = run_toy(tmp_path / "b", network=linear(), max_steps=4, torch_compile=True)
    for one, other in zip(weights_of(found), weights_of(expected), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_convolutions_train_in_channels_last(tmp_path) -> None:
    class Watch(ToyClassifier):
        def forward(self, pixel_values, labels=None):
            assert pixel_values.is_contiguous(memory_format=torch.channels_last)
            return super().forward(pixel_values, labels)

    wide = Watch()
    wide.convolution = nn.Conv2d(2, 4, 3)

    def wrap(transform):
        def doubled(batch, generator):
            batch = transform(batch, generator)
            return {**batch, "pixel_values": batch["pixel_values"].repeat(1, 2, 1, 1)}

        return doubled

    run_toy(tmp_path, network=wide, wrap=wrap, max_steps=1)
    assert wide.convolution.weight.is_contiguous(memory_format=torch.channels_last)


def test_fp16_on_a_cpu_unknown_trackers_and_a_missing_folder_are_refused(tmp_path) -> None:
    with pytest.raises(HubmodelsError, match="fp16 needs a GPU"):
        run_toy(tmp_path, fp16=True)
    with pytest.raises(HubmodelsError, match="did you mean 'tensorboard'"):
        run_toy(tmp_path, report_to=["tensorbord"])
    with pytest.raises(HubmodelsError, match="--output_dir"):
        run_toy(None)


def test_tensorboard_gets_the_same_numbers(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, run = run_toy(tmp_path, report_to=["tensorboard"], max_steps=3, evaluate=scores([0.25] * 2))
    record = EventAccumulator(str(tmp_path / "hubmodels"))
    record.Reload()
    found = [(event.step, event.value) for event in record.Scalars("loss")]
    expected = [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in run.history if "loss" in line]
    assert found == expected
    assert [event.value for event in record.Scalars("eval_accuracy")] == [0.25]


def make_stream(num_rows: int | None) -> StreamedBatches:
    columns = ToyColumns(60)
    data = {"pixel_values": columns.tensor("pixel_values").tolist(), "labels": columns.tensor("labels").tolist()}

    def encode(rows, numbers):
        pixels = torch.tensor(rows["pixel_values"], dtype=torch.uint8)
        return {"pixel_values": pixels.numpy(), "labels": torch.tensor(rows["labels"]).numpy()}

    return StreamedBatches(Dataset.from_dict(data).to_iterable_dataset(), encode, seed=0, num_rows=num_rows)


def test_a_stream_trains_by_steps_and_by_epochs_where_its_length_is_known(tmp_path) -> None:
    _, run = run_toy(tmp_path / "steps", batches=make_stream(None), max_steps=5, evaluate=scores([0.1] * 9))
    assert (run.steps, run.epochs) == (5, 2.0)  # 60 rows are two steps of 32; of an unknown length whole epochs count
    assert [line["step"] for line in run.history if "eval_accuracy" in line] == [2, 4, 5]
    _, run = run_toy(tmp_path / "epochs", batches=make_stream(60), num_train_epochs=3)
    assert (run.steps, run.epochs) == (6, 3.0)
    with pytest.raises(HubmodelsError, match="--max_steps"):
        run_toy(tmp_path / "unknown", batches=make_stream(None))


class Talkative(ToyClassifier):
    """Says of each step its mean logit, of every second one its spread; is troubled by the third line of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.means: list[float] = []

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> SimpleNamespace:
        outputs = super().forward(pixel_values, labels)
        self.means.append(float(outputs.logits.detach().mean()))
        measures = {"mean_logit": outputs.logits.detach().mean()}
        if len(self.means) % 2:
            measures["spread"] = outputs.logits.detach().std()
        return SimpleNamespace(loss=outputs.loss, logits=outputs.logits, measures=measures)

    def diagnose(self, measures: dict[str, float]) -> str | None:
        return f"mean_logit is {measures['mean_logit']:.1f}" if measures["step"] in (6, 8) else None


def test_what_a_model_measures_is_logged_and_its_diagnosis_said_once(tmp_path, capsys) -> None:
    model, run = run_toy(tmp_path, network=Talkative(), num_rows=64, max_steps=8, logging_steps=2,
                         per_device_train_batch_size=16, eval_strategy="no")  # fmt: skip
    lines = [entry for entry in run.history if "loss" in entry]
    for place, entry in enumerate(lines):
        assert entry["mean_logit"] == pytest.approx(sum(model.means[2 * place : 2 * place + 2]) / 2, rel=1e-5)
        assert entry["spread"] > 0
    warnings = [entry for entry in run.history if "warning" in entry]
    assert [entry["step"] for entry in warnings] == [6]
    assert capsys.readouterr().err.count("step 6: mean_logit is") == 1


def test_what_an_evaluation_draws_is_kept_with_its_step(tmp_path) -> None:
    def evaluate(model: nn.Module) -> tuple[dict[str, float], list[Figure]]:
        return {"loss": 1.0}, [Figure("samples", "Samples.", new_figure(1, 1)[0])]

    run_toy(tmp_path, evaluate=evaluate, max_steps=4, eval_strategy="steps", eval_steps=2)
    names = sorted(path.name for path in (tmp_path / "figures").glob("samples-*.png"))
    assert names == ["samples-00000002.png", "samples-00000004.png"]


def test_the_model_of_the_caller_is_trained_in_place(tmp_path) -> None:
    model = make_model("classifier")
    before = weights_of(model)
    run_toy(tmp_path, network=model)
    assert not torch.equal(before[0], weights_of(model)[0])


def test_what_another_user_of_accelerate_left_in_the_process_does_not_matter(tmp_path) -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    expected, _ = run_toy(tmp_path / "a", max_steps=2)
    AcceleratorState._reset_state()  # as transformers' TrainingArguments does
    Accelerator(mixed_precision="bf16")
    found, _ = run_toy(tmp_path / "b", max_steps=2)
    assert all(map(torch.equal, weights_of(found), weights_of(expected)))
