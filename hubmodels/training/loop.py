"""The training loop: one for every family, exact, resumable, on one process or many (accelerate).

It takes a model whose `forward(**batch)` gives a `loss` (of several players `forward(**batch, player=name)` that
player's), and batches, see `contracts.TrainingBatches`.
"""

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..abilities import Diagnoses, carries_state
from ..errors import HubmodelsError
from ..figures import save_figure
from ..recipe import TrainingArguments
from . import checkpoints
from .contracts import Batch, Evaluate, TrainingBatches, Transform
from .control import Interrupted, Interruption, lock_folder, on_main, plain_errors
from .devices import describe_hardware, float32_precision, largest_batch_size, make_accelerator, make_autocast, place
from .freezing import freeze_body, training_mode
from .losses import make_loss
from .optimization import Player, WeightAverage, all_tensors, copy_tensors, make_players
from .records import Records, StepValues
from .run import Run
from .state import Position, TrainingState, best_tensors, derive_seed, make_agreement

READ_EVERY = 1000  # steps after which losses are looked at, however rarely they are logged
NOTHING = contextlib.nullcontext()


def train(
    model: nn.Module,
    batches: TrainingBatches,
    arguments: TrainingArguments,
    *,
    transform: Transform | None = None,
    evaluate: Evaluate | None = None,
    output_dir: str | os.PathLike | None = None,
    metric_for_best_model: str | None = None,
    greater_is_better: bool | None = None,
    recipe: dict[str, Any] | None = None,
    weighted: bool = False,
) -> Run:
    """Train a model in place; it ends on its device, in eval mode, with the last, averaged or best weights.

    Every process of a distributed run calls this with the same arguments.

    Args:
        model: the model to train.
        batches: the training rows, see this module's head.
        arguments: how to train.
        transform: (batch, generator) -> batch, on the device; its random numbers come from the generator alone.
        evaluate: model -> the metrics on the validation split, the same on every process, and figures, of the main
            process alone, which are written to the run's figures with the step in their name.
        output_dir: folder of checkpoints, metrics.jsonl and figures; `arguments.output_dir` by default.
        metric_for_best_model: key of `evaluate`'s metrics that decides about the best checkpoint and early stopping.
        greater_is_better: whether a larger value of it is better.
        recipe: plain values that a resumed run must have in common with the stopped one (family, model, data).
        weighted: whether the batches hold `sample_weight`, the weights of their rows.

    Raises:
        HubmodelsError: what a person can mend: arguments that do not fit the model, a loss that is not finite, a folder
            in use, a checkpoint of another run, a full disk.
        SystemExit: 143 after SIGTERM, 130 after Ctrl-C, when the state is saved.
    """
    output_dir = output_dir or arguments.output_dir
    if output_dir is None:
        raise HubmodelsError("no folder for the run: give --output_dir")
    metric = metric_for_best_model or arguments.metric_for_best_model
    greater = arguments.greater_is_better if greater_is_better is None else greater_is_better
    loop = Loop(model, batches, arguments, transform, evaluate, Path(output_dir), metric, greater is not False, recipe)
    loop.weighted = weighted
    with contextlib.ExitStack() as stack:
        on_main(loop.accelerator, lambda: lock_folder(loop.folder, stack))
        stack.enter_context(plain_errors(loop.accelerator, loop.checkpoints))
        stack.enter_context(float32_precision(loop.device, arguments.tf32))
        loop.prepare()
        stack.callback(loop.records.close)
        stack.enter_context(loop.interruption)
        return loop.run()


class Loop:
    """Trains one model: `run` is the loop; below it stand its steps in the order in which it takes them."""

    def __init__(
        self,
        model: nn.Module,
        batches: TrainingBatches,
        arguments: TrainingArguments,
        transform: Transform | None,
        evaluate: Evaluate | None,
        folder: Path,
        metric: str | None,
        greater_is_better: bool,
        recipe: dict[str, Any] | None,
    ) -> None:
        self.model, self.batches, self.arguments, self.folder = model, batches, arguments, folder
        self.transform, self.evaluate, self.recipe = transform, evaluate, recipe
        self.metric, self.greater_is_better = metric, greater_is_better
        if arguments.carry_state and not carries_state(model):
            raise HubmodelsError(
                f"carry_state needs a model whose forward takes and gives a state; {type(model).__name__} does not: "
                "leave it out"
            )
        needs_metric = arguments.load_best_model_at_end or arguments.early_stopping_patience
        if needs_metric and (evaluate is None or metric is None):
            raise HubmodelsError("load_best_model_at_end and early_stopping_patience need validation rows and a metric")
        self.checkpoints = folder / "checkpoints"
        self.said = [freeze_body(model)] if arguments.freeze_backbone else []  # what the records say first
        self.accelerator = make_accelerator(model, arguments, folder)
        self.device, self.num_processes = self.accelerator.device, self.accelerator.num_processes
        self.autocast = make_autocast(self.device, arguments)
        self.interruption = Interruption(self.accelerator)
        self.weighted = False  # whether the batches hold weights of their rows
        self.troubled = False  # whether the last logged values had a diagnosis
        self.saved_step: int | None = None  # of the newest checkpoint
        self.window_start, self.window_rows = 0.0, 0  # when the losses were last read, and the rows until then

    def run(self) -> Run:
        """Take all steps, with evaluations and checkpoints between them."""
        position, arguments = self.state.position, self.arguments
        training_mode(self.model)
        if position.evaluation_due:
            self.validate()
            self.saved_step = None
            self.save()
        for step, last_of_epoch in self.steps() if not self.done() else ():
            self.optimize(step)
            self.advance(step, last_of_epoch)
            if position.step % arguments.logging_steps == 0 or self.done() or len(self.values.positions) >= READ_EVERY:
                self.log()
            if self.due(arguments.eval_strategy, arguments.eval_steps, last_of_epoch):
                self.validate()
            if self.due(arguments.save_strategy, arguments.save_steps, last_of_epoch) or self.is_best():
                self.save()
            if signal_number := self.interruption.agreed():
                self.leave(signal_number)
            if self.done():
                break
        return self.finish()

    def done(self) -> bool:
        """Tell whether the training has ended."""
        return self.state.position.stopped or self.state.position.step >= self.total_steps

    def due(self, strategy: str, every: int, last_of_epoch: bool) -> bool:
        """Tell whether something that is done by `strategy` and `every` is done after this step."""
        if strategy == "no":
            return False
        return self.done() or (last_of_epoch if strategy == "epoch" else self.state.position.step % every == 0)

    def is_best(self) -> bool:
        """Tell whether this step's model is the best so far, and is wanted at the end."""
        return self.arguments.load_best_model_at_end and self.state.position.best_step == self.state.position.step

    def steps(self) -> Iterator[tuple[list[tuple[float, Batch]], bool]]:
        """Give the steps from where the run is, epoch after epoch, each with whether it is its epoch's last."""
        while True:
            position = self.state.position
            steps = self.batches.steps(
                position.epoch,
                position.step_in_epoch,
                batch_size=self.batch_size,
                accumulation=self.accumulation,
                num_processes=self.num_processes,
                process_index=self.accelerator.process_index,
                device=self.device,
            )
            with contextlib.closing(steps):
                current = next(steps, None)
                if current is None:
                    raise HubmodelsError(f"epoch {position.epoch} has no rows from step {position.step_in_epoch} on")
                while current is not None:
                    following = next(steps, None)
                    yield current, following is None
                    current = following

    def optimize(self, step: list[tuple[float, Batch]]) -> None:
        """Take one optimizer step of each player, on the same rows."""
        prepared: Iterable[tuple[float, Batch]] = map(self.prepare_batch, step)
        if len(self.state.players) > 1:
            prepared = list(prepared)
        for player in self.state.players:
            total = None
            for index, (weight, batch) in enumerate(prepared, start=1):
                if self.arguments.carry_state and index in self.state.carried:
                    batch["state"] = self.state.carried[index]
                with NOTHING if index == len(step) else self.no_sync():
                    with self.autocast():
                        loss, outputs = self.loss(self.forward_model, batch, player.name)
                    self.values.measure(outputs)
                    if self.arguments.carry_state:
                        self.state.carried[index] = outputs.state.detach()
                    if weight != 1:
                        loss = loss * weight
                    (self.state.scaler.scale(loss) if self.state.scaler else loss).backward()
                total = loss.detach() if total is None else total + loss.detach()
            self.values.losses.append(total)
            self.step_player(player)
        if self.state.scaler:
            self.state.scaler.update()
        if self.state.average:
            self.state.average.update()

    def step_player(self, player: Player) -> None:
        """Clip the gradients, step the player's optimizer and schedule, and clear all gradients."""
        scaler = self.state.scaler
        if self.arguments.max_grad_norm > 0:
            if scaler:
                scaler.unscale_(player.optimizer)
            weights, limit = player.parameters.values(), self.arguments.max_grad_norm
            self.values.norms.append(nn.utils.clip_grad_norm_(weights, limit, foreach=self.foreach))
        if scaler:
            scaler.step(player.optimizer)
        else:
            player.optimizer.step()
        player.scheduler.step()
        for parameter in self.parameters:  # of the whole model: a turn leaves gradients on the other players too
            parameter.grad = None

    def prepare_batch(self, item: tuple[float, Batch]) -> tuple[float, Batch]:
        """Normalise and augment on the device; images in the layout that the convolutions want."""
        weight, batch = item
        if self.transform is not None:
            batch = self.transform(batch, self.state.generator)
        if self.channels_last:
            batch = {
                name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
                for name, value in batch.items()
            }
        return weight, batch

    def advance(self, step: list[tuple[float, Batch]], last_of_epoch: bool) -> None:
        """Count the step that was taken."""
        position = self.state.position
        position.step += 1
        self.values.positions.append((position.step, position.epoch, position.step_in_epoch))
        position.step_in_epoch += 1
        position.rows += self.num_processes * sum(len(next(iter(batch.values()))) for _, batch in step)
        if last_of_epoch:
            position.epoch, position.step_in_epoch = position.epoch + 1, 0
            self.state.carried.clear()

    def log(self) -> None:
        """Read the losses since the last time, refuse what is not finite, write a line."""
        position, players = self.state.position, self.state.players
        positions, losses, norms = self.values.read()
        if not positions:
            return
        seconds, rows = time.perf_counter() - self.window_start, position.rows - self.window_rows
        position.training_seconds += seconds
        self.window_start, self.window_rows = self.window_start + seconds, position.rows
        finite = losses.isfinite().all(dim=1)
        if norms.numel() and not self.state.scaler:  # a loss scaler skips steps whose gradient is infinite
            finite &= norms.isfinite().all(dim=1)
        if not finite.all():
            index = int(finite.logical_not().nonzero()[0])
            self.refuse(*positions[index], losses[index].tolist())
        position.train_loss = float(losses.sum(dim=1).mean())
        entry = {"step": position.step, "epoch": self.epochs(), "loss": position.train_loss}
        if len(players) > 1:
            entry |= {f"loss_{player.name}": float(losses[:, i].mean()) for i, player in enumerate(players)}
        entry |= self.values.read_measures() | {"learning_rate": players[0].optimizer.param_groups[0]["lr"]}
        if norms.numel():
            entry["grad_norm"] = float(norms.mean())
        entry["samples_per_second"] = round(rows / seconds, 1)
        self.records.write(entry)
        self.warn(entry)
        self.records.show(position.step, loss=f"{position.train_loss:.4f}", epoch=f"{self.epochs():.2f}")

    def warn(self, entry: dict[str, Any]) -> None:
        """Say what the model reads in its logged values, once for each trouble that comes."""
        diagnosis = self.model.diagnose(entry) if isinstance(self.model, Diagnoses) else None
        if diagnosis and not self.troubled:
            self.records.say(f"step {entry['step']}: {diagnosis}")
            self.records.write({"step": entry["step"], "warning": diagnosis})
        self.troubled = diagnosis is not None

    def refuse(self, step: int, epoch: int, step_in_epoch: int, losses: list[float]) -> None:
        """Raise for the first loss or gradient that is not finite, naming its step and rows."""
        rows = self.batches.row_numbers(epoch, step_in_epoch, self.rows_per_step)
        shown = ", ".join(map(str, rows[:16])) + (f" and {len(rows) - 16} more" if len(rows) > 16 else "")
        self.records.write({"step": step, "not_finite": [str(loss) for loss in losses], "rows": rows})
        what = "gradient" if all(map(math.isfinite, losses)) else "loss"
        raise HubmodelsError(
            f"the {what} of step {step} is not finite; its training rows are {shown} (all are in {self.records.path}); "
            f"the last good checkpoint is {self.newest_checkpoint()}: look at those rows, or lower learning_rate"
        )

    def newest_checkpoint(self) -> Path | str:
        """Return the newest checkpoint's folder, "none" where there is none."""
        return next(iter(checkpoints.list_checkpoints(self.checkpoints)), "none")

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Stop the clock of the training inside the block; the losses before it are read first."""
        self.log()
        try:
            yield
        finally:
            self.window_start = time.perf_counter()

    def validate(self) -> None:
        """Evaluate the averaged or present weights, and keep in mind which were the best."""
        if self.evaluate is None:
            return
        position = self.state.position
        devices = [self.device] if self.device.type == "cuda" else []
        position.evaluation_due = True
        try:
            # The run goes on with the random numbers that it would have had without the evaluation.
            with self.pause(), self.interruption.breakable(), torch.random.fork_rng(devices), torch.no_grad():
                model = self.state.average.model if self.state.average else self.model
                model.eval()
                metrics, figures = self.evaluate(model)
        except Interrupted:
            return
        finally:
            training_mode(self.model)
        position.evaluation_due = False
        for figure in figures:
            save_figure(figure.figure, self.folder / "figures" / f"{figure.name}-{position.step:08d}.png")
        if (metric := self.metric) is not None:
            if metric not in metrics:
                raise HubmodelsError(f"metric_for_best_model {metric!r} is none of {', '.join(metrics)}")
            value = on_main(self.accelerator, lambda: float(metrics[metric]))
            position.judge(value, self.greater_is_better, self.arguments)
        entry = {f"eval_{name.removeprefix('eval_')}": float(value) for name, value in metrics.items()}
        self.records.write({"step": position.step, "epoch": self.epochs(), **entry})

    def save(self) -> Path:
        """Write a checkpoint of this step, unless it is there, and remove old ones."""
        position = self.state.position
        path = checkpoints.checkpoint_path(self.checkpoints, position.step)
        if self.saved_step == position.step:
            return path
        with self.pause():
            self.check_weights()
            position.seconds = self.seconds()
            process_tensors = self.state.process_tensors()
            on_main(
                self.accelerator, lambda: self.state.write(path, process_tensors, self.agreement, finished=self.done())
            )
            best = position.best_step if self.arguments.load_best_model_at_end else None
            if self.accelerator.is_main_process:
                checkpoints.remove_old(self.checkpoints, self.arguments.save_total_limit, best)
            self.saved_step = position.step
        return path

    def check_weights(self) -> None:
        """Refuse weights that are not finite: a finite loss may still have had a gradient that was not."""
        if not torch.stack([parameter.detach().isfinite().all() for parameter in self.parameters]).all():
            raise HubmodelsError(
                f"weights are not finite at step {self.state.position.step}, though the losses were; the last good "
                f"checkpoint is {self.newest_checkpoint()}: lower learning_rate, or clip with max_grad_norm"
            )

    def leave(self, signal_number: int) -> None:
        """Save and end the process, as a signal asked."""
        path = self.save()
        self.records.say(
            f"{signal.Signals(signal_number).name}: saved {path}; go on with --resume_from_checkpoint latest"
        )
        raise SystemExit(128 + signal_number)

    def finish(self) -> Run:
        """Set the weights that the run ends with, and sum it up."""
        position = self.state.position
        if on_main(self.accelerator, lambda: bool(checkpoints.list_checkpoints(self.checkpoints))):
            self.save()  # so that the newest checkpoint says that the run is finished
        self.check_weights()
        if self.arguments.load_best_model_at_end and position.best_step not in (None, position.step):
            path = checkpoints.checkpoint_path(self.checkpoints, position.best_step)
            checkpoints.load_tensors(self.model, best_tensors(path), path)
        elif self.state.average:
            copy_tensors(self.state.average.model, self.model)
        self.model.eval()
        self.records.finish(self.metric)
        return Run(
            steps=position.step,
            epochs=self.epochs(),
            seconds=self.seconds(),
            train_loss=position.train_loss,
            samples_per_second=position.rows / position.training_seconds if position.training_seconds else 0.0,
            best_metric=position.best_metric,
            best_step=position.best_step,
            metric=self.metric,
            stopped_early=position.stopped,
            hardware=describe_hardware(self.accelerator),
            history=self.records.history,
        )

    def epochs(self) -> float:
        """Count the passes over the rows so far; of a stream of unknown length the whole ones."""
        position = self.state.position
        if self.batches.num_rows is None:
            return float(position.epoch)
        return round(position.epoch + position.step_in_epoch * self.rows_per_step / self.batches.num_rows, 4)

    def seconds(self) -> float:
        """Return the seconds of training so far, over all resumed runs."""
        return self.earlier_seconds + time.perf_counter() - self.started

    def prepare(self) -> None:
        """Place the model, make what trains it, and put back a checkpoint's state where one is asked for."""
        arguments = self.arguments
        self.channels_last = place(self.model, self.device)
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # None would look at the type of every gradient in every step; only MPS lacks the foreach kernels.
        self.foreach = self.device.type in ("cpu", "cuda") or None
        self.loss = make_loss(arguments, self.model, self.batches, self.device, self.weighted)
        self.batch_size, self.accumulation = (
            arguments.per_device_train_batch_size,
            arguments.gradient_accumulation_steps,
        )
        self.rows_per_step = self.batch_size * self.accumulation * self.num_processes
        self.agreement = make_agreement(arguments, self.model, self.batches.num_rows, self.rows_per_step, self.recipe)
        self.total_steps = self.count_steps()
        self.state = TrainingState(
            model=self.model,
            players=make_players(self.model, arguments, self.total_steps),
            average=None,
            scaler=torch.amp.GradScaler(self.device.type) if arguments.fp16 else None,
            generator=torch.Generator(self.device),
            position=Position(),
            accelerator=self.accelerator,
        )
        notes = self.said + (self.fit_memory() if arguments.auto_find_batch_size else [])
        # Dropout and augmentation draw other numbers on each process.
        torch.manual_seed(derive_seed("dropout", arguments.seed, self.accelerator.process_index))
        self.state.generator.manual_seed(derive_seed("augmentation", arguments.seed, self.accelerator.process_index))
        self.forward_model = torch.compile(self.model) if arguments.torch_compile else self.model
        self.no_sync = contextlib.nullcontext
        if self.num_processes > 1:
            self.forward_model = self.accelerator.prepare_model(self.forward_model)
            self.no_sync = self.forward_model.no_sync
        if arguments.ema_decay:
            self.state.average = WeightAverage(self.model, arguments.ema_decay)
        asked = arguments.resume_from_checkpoint
        path, more = on_main(self.accelerator, lambda: checkpoints.find_checkpoint(asked, self.checkpoints))
        notes += more
        if path is not None:
            notes += self.state.restore(Path(path), self.agreement)
        position = self.state.position
        self.saved_step, self.earlier_seconds = position.step, position.seconds
        self.values = StepValues(self.num_processes)
        self.records = Records(
            self.accelerator, self.folder, position.step, self.total_steps, dataclasses.asdict(arguments), notes
        )
        self.started = self.window_start = time.perf_counter()
        self.window_rows = position.rows

    def count_steps(self) -> int:
        """Count the steps of the whole training."""
        if self.arguments.max_steps > 0:
            return self.arguments.max_steps
        return math.ceil(self.arguments.num_train_epochs * self.batches.steps_per_epoch(self.rows_per_step))

    def fit_memory(self) -> list[str]:
        """Choose the largest micro-batch that fits into memory, by taking a step that is undone afterwards."""
        rows = self.batch_size * self.accumulation
        before = {name: tensor.detach().to("cpu", copy=True) for name, tensor in all_tensors(self.model).items()}

        def attempt(batch_size: int) -> None:
            steps = self.batches.steps(
                0, batch_size=batch_size, num_processes=self.num_processes, device=self.device,
                process_index=self.accelerator.process_index,
            )  # fmt: skip
            with contextlib.closing(steps):
                _, batch = self.prepare_batch(next(steps)[0])
            for player in self.state.players:
                with self.autocast():
                    loss, _ = self.loss(self.model, batch, player.name)
                loss.backward()
                player.optimizer.step()

        def clean() -> None:
            for parameter in self.parameters:
                parameter.grad = None
            for player in self.state.players:
                player.optimizer.state.clear()
            checkpoints.load_tensors(self.model, before, self.folder)

        training_mode(self.model)
        self.batch_size = largest_batch_size(self.batch_size, rows, attempt, clean, self.accelerator)
        self.accumulation = rows // self.batch_size
        if self.batch_size == self.arguments.per_device_train_batch_size:
            return []
        return [f"memory is short: each step takes {self.accumulation} forward passes of {self.batch_size} rows"]
