"""The recurrence that every head shares: layers of torch's fused kernels over a batch of sequences.

Cells: Elman 1990; LSTM (Hochreiter and Schmidhuber 1997) with forget gates (Gers et al. 2000); GRU (Cho et al. 2014,
arXiv:1406.1078) with the reset gate behind the recurrent map, as cuDNN has it. Dropout as in AWD-LSTM (Merity et al.
2017, arXiv:1708.02182, section 4). Recurrent matrices start orthogonal gate by gate (Saxe et al. 2013,
arXiv:1312.6120), input matrices as Glorot and Bengio 2010 say, forget gates open (Jozefowicz et al. 2015).
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_rnn import RnnConfig
from .modeling_rnn_shared import known_arguments

# B batch, T steps, E width of the input, H hidden_size, R directions, D = R * H width of a layer's output, L layers,
# P parts of a cell's state (2 for an LSTM: hidden and cell; else 1), V longest number of valid steps

LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
NUM_GATES = {"rnn": 1, "lstm": 4, "gru": 3}
FUSED = {"rnn_tanh": torch.rnn_tanh, "rnn_relu": torch.rnn_relu, "lstm": torch.lstm, "gru": torch.gru}
CELLS = {
    "rnn_tanh": torch.rnn_tanh_cell,
    "rnn_relu": torch.rnn_relu_cell,
    "lstm": torch.lstm_cell,
    "gru": torch.gru_cell,
}
SHUT = 1e4  # its logistic is exactly 1 in float32 and bfloat16, and that of -1e4 exactly 0


def drop_features(hidden: Tensor, share: float, training: bool) -> Tensor:
    """Apply variational dropout (Gal and Ghahramani 2015, arXiv:1512.05287): (B, T, D) with one draw for all steps."""
    if not training or share == 0:
        return hidden
    return hidden * F.dropout(hidden.new_ones(hidden.shape[0], 1, hidden.shape[2]), share)


def lacks_autocast(device: torch.device) -> bool:
    """Tell whether autocast is on where torch's LSTM kernel cannot follow it: on a CPU that has bfloat16 only in
    software oneDNN refuses (torch 2.13). The recurrence is in float32 there, which is faster anyway."""
    if device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    native = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return native is not None and not native()


@dataclass
class ValidSteps:
    """Says where the valid steps of a padded batch are, and how they move to the front, in order, and back."""

    mask: Tensor  # (B, T, 1), True for valid steps
    order: Tensor  # (B, V, 1): the step that comes to each position
    position: Tensor  # (B, T, 1): to which each valid step comes
    padding: Tensor  # (B, V, 1), True behind a row's last valid step
    last: Tensor  # (B, 1, 1): the position of a row's last valid step
    backward: Tensor  # (B, V, 1): the positions in reverse, the padding left where it is

    @classmethod
    def find(cls, mask: Tensor) -> "ValidSteps":
        """Find the valid steps from a mask (B, T) of zeros and ones. Raises ValueError where a row has no valid
        step."""
        mask = mask.bool()
        lengths = mask.sum(1, keepdim=True)  # (B, 1)
        shortest, longest = lengths.aminmax()
        if shortest == 0:
            row = int(lengths.argmin())
            raise ValueError(f"every sequence needs a valid step, but attention_mask is 0 all along row {row}")
        order = mask.byte().argsort(dim=1, descending=True, stable=True)[:, : int(longest)]
        position = (mask.cumsum(1) - 1).clamp_min(0)
        positions = torch.arange(order.shape[1], device=mask.device)
        padding, last = positions >= lengths, lengths - 1
        backward = torch.where(padding, positions, last - positions)
        return cls(*(index[..., None] for index in (mask, order, position, padding, last, backward)))

    def pack(self, inputs: Tensor) -> Tensor:
        """Map (B, T, E) -> (B, V, E), valid steps first, then zeros."""
        return inputs.take_along_dim(self.order, dim=1).masked_fill(self.padding, 0)

    def unpack(self, hidden: Tensor) -> Tensor:
        """Map (B, V, D) -> (B, T, D) with zeros at the steps that are not valid."""
        return hidden.take_along_dim(self.position, dim=1).masked_fill(~self.mask, 0)


class RnnEncoder(nn.Module):
    """Layers of recurrence over (B, T, E) with a state.

    The state is one tensor (B, L * R, P, H): for each layer and direction (forward first, as in torch) the hidden
    vector and, for an LSTM, the cell. `config.state_shape` is that of a row. A sequence starts from zeros.
    """

    def __init__(self, config: RnnConfig, input_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, config.hidden_size
        self.num_layers, self.num_directions = config.num_hidden_layers, config.num_directions
        self.state_shape = config.state_shape
        self.kind = f"rnn_{config.hidden_act}" if config.cell == "rnn" else config.cell
        self.hidden_dropout_prob, self.weight_dropout_prob = config.hidden_dropout_prob, config.weight_dropout_prob
        options = {"nonlinearity": config.hidden_act} if config.cell == "rnn" else {}
        self.recurrence = LAYERS[config.cell](
            input_size, config.hidden_size, config.num_hidden_layers, batch_first=True,
            bidirectional=config.bidirectional, **options,
        )  # fmt: skip
        self.recurrence.forget_gate_bias = config.forget_gate_bias  # `init_recurrence` reads it

    def forward(
        self,
        inputs: Tensor,
        attention_mask: Tensor | None = None,
        state: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...] | None]:
        """Compute the outputs of this module.

        Args:
            inputs: (B, T, E), floating-point; what stands at steps that are not valid does not matter.
            attention_mask: (B, T), 1 for valid steps, which may be anywhere; all are valid when absent. With a state it
                may be longer, the steps before this call included.
            state: (B, L * R, P, H), what an earlier call gave; zeros when absent.
            output_hidden_states: give the inputs and each layer's outputs too.

        Returns:
            The last layer's outputs (B, T, D), zero where the mask is; the state behind each row's last valid step; the
            hidden states, or None.

        Raises:
            ValueError: another shape, a batch without rows or steps, or a row without a valid step.
        """
        self.check(inputs, attention_mask, state)
        if state is not None:
            state = state.to(inputs.dtype)
        steps = None
        if attention_mask is not None:
            attention_mask = attention_mask[:, -inputs.shape[1] :]
            if not attention_mask.all():  # with all ones nothing needs to move
                steps = ValidSteps.find(attention_mask)
        by_layers = self.training and self.hidden_dropout_prob > 0 and self.num_layers > 1
        if steps is not None or output_hidden_states or by_layers:
            return self.run_by_layers(inputs, state, steps, output_hidden_states)
        learning = self.training or torch.is_grad_enabled()
        if inputs.shape[1] == self.num_directions == 1 and inputs.device.type == "cpu" and not learning:
            return *self.step(inputs, state), None
        return *self.run(inputs, state, self.weights()), None

    def weights(self) -> list[list[Tensor]]:
        """Return for each layer and direction its input matrix, recurrent matrix and their biases, with weight dropout
        drawn: the kernels see ordinary weights, which are the same at each step."""
        weights = self.recurrence.all_weights
        if not self.training or self.weight_dropout_prob == 0:
            return weights
        return [[ih, F.dropout(hh, self.weight_dropout_prob), *biases] for ih, hh, *biases in weights]

    def run(self, inputs: Tensor, state: Tensor | None, weights: list[list[Tensor]]) -> tuple[Tensor, Tensor]:
        """Call torch's kernel once for the layers and directions of `weights`: outputs (B, T, D) and their
        state."""
        if state is None:
            state = inputs.new_zeros(len(inputs), len(weights), *self.state_shape[1:])
        tensors = tuple(one.transpose(0, 1).contiguous() for one in state.unbind(2))  # each (layers * R, B, H)
        flat = [weight for group in weights for weight in group]
        # The kernels keep what a gradient needs only when told that they train, whatever the model's mode.
        training = self.training or torch.is_grad_enabled()
        start: Any = tensors if self.kind == "lstm" else tensors[0]
        layers, bidirectional = len(weights) // self.num_directions, self.num_directions == 2
        if len(weights) == 1:
            layers, bidirectional = 1, False
        options = (True, layers, 0.0, training, bidirectional, True)
        if lacks_autocast(inputs.device):
            start = tuple(one.float() for one in start) if self.kind == "lstm" else start.float()
            with torch.autocast("cpu", enabled=False):
                outputs, *ends = FUSED[self.kind](inputs.float(), start, [one.float() for one in flat], *options)
        else:
            outputs, *ends = FUSED[self.kind](inputs, start, flat, *options)
        return outputs, torch.stack(ends, dim=2).transpose(0, 1)  # (B, layers * R, P, H)

    def step(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run one step of all layers by torch's cells: the fused kernel orders its weights anew in each call.

        That takes 2,540 us, the cells 215 us (LSTM 2 x 304, one row, one thread of an EPYC with AVX-512)."""
        if state is None:
            state = inputs.new_zeros(len(inputs), *self.state_shape)
        hidden, states = inputs[:, 0], []
        for layer, weights in enumerate(self.recurrence.all_weights):
            if self.kind == "lstm":
                hidden, cell = torch.lstm_cell(hidden, (state[:, layer, 0], state[:, layer, 1]), *weights)
                states += [hidden, cell]
            else:
                hidden = CELLS[self.kind](hidden, state[:, layer, 0], *weights)
                states.append(hidden)
        return hidden[:, None], torch.stack(states, dim=1).view(state.shape)

    def run_by_layers(
        self, inputs: Tensor, state: Tensor | None, steps: ValidSteps | None, output_hidden_states: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...] | None]:
        """Run as `run`, but layer by layer, with dropout between them and without the steps that are not valid."""
        R, weights, states = self.num_directions, self.weights(), []
        hidden = inputs if steps is None else steps.pack(inputs)
        hidden_states = []
        if output_hidden_states:
            hidden_states.append(inputs if steps is None else steps.unpack(hidden))
        for layer in range(self.num_layers):
            if layer > 0:
                hidden = drop_features(hidden, self.hidden_dropout_prob, self.training)
            group = slice(layer * R, (layer + 1) * R)
            start = None if state is None else state[:, group]
            run = self.run if steps is None else self.run_valid
            hidden, end = run(hidden, start, weights[group], *([] if steps is None else [steps]))
            states.append(end)
            if output_hidden_states:
                hidden_states.append(hidden if steps is None else steps.unpack(hidden))
        hidden = hidden if steps is None else steps.unpack(hidden)
        return hidden, torch.cat(states, dim=1), tuple(hidden_states) if output_hidden_states else None

    def run_valid(
        self, hidden: Tensor, state: Tensor | None, weights: list[list[Tensor]], steps: ValidSteps
    ) -> tuple[Tensor, Tensor]:
        """Return one layer over packed steps (B, V, E).

        A direction at a time, the backward one on reversed steps, so that the padding comes last and meets no valid
        step. The hidden state is the output at the last valid step. An LSTM's cell is kept through the padding by one
        more input, which is 1 there, shuts the input gate and opens the forget gate. A training step takes 383 ms; with
        torch's packed sequences it takes 1,261 (LSTM 2 x 256, 32 rows of 64 to 128 steps, one thread of an EPYC)."""
        outputs, states = [], []
        for direction, (input_weight, *others) in enumerate(weights):
            directed = hidden.take_along_dim(steps.backward, dim=1) if direction else hidden
            if self.kind == "lstm":
                directed = torch.cat([directed, steps.padding.to(directed.dtype)], dim=2)  # (B, V, E + 1)
                gates = input_weight.new_tensor([-SHUT, SHUT, 0.0, 0.0]).repeat_interleave(self.hidden_size)
                input_weight = torch.cat([input_weight, gates[:, None]], dim=1)
            start = None if state is None else state[:, direction : direction + 1]
            output, end = self.run(directed, start, [[input_weight, *others]])
            final = output.take_along_dim(steps.last, dim=1)[:, :, None]  # (B, 1, 1, H)
            states.append(torch.cat([final, end[:, :, 1:]], dim=2))
            outputs.append(output.take_along_dim(steps.backward, dim=1) if direction else output)
        return torch.cat(outputs, dim=2), torch.cat(states, dim=1)

    def check(self, inputs: Tensor, attention_mask: Tensor | None, state: Tensor | None) -> None:
        """Refuse what the kernels cannot take."""
        if inputs.dim() != 3 or inputs.shape[2] != self.input_size or 0 in inputs.shape:
            raise ValueError(
                f"a batch of sequences needs the shape (rows, steps, {self.input_size}), at least one of each, got "
                f"{tuple(inputs.shape)}"
            )
        B, T, _ = inputs.shape
        if attention_mask is not None and (
            attention_mask.dim() != 2
            or len(attention_mask) != B
            or (attention_mask.shape[1] != T and (state is None or attention_mask.shape[1] < T))
        ):
            raise ValueError(f"attention_mask must have the shape ({B}, {T}), got {tuple(attention_mask.shape)}")
        if state is not None and state.shape != (B, *self.state_shape):
            raise ValueError(f"state must have the shape {(B, *self.state_shape)}, got {tuple(state.shape)}")


def init_recurrence(module: nn.RNNBase) -> None:
    """Write the weights of a torch.nn.RNN, LSTM or GRU; what a checkpoint has loaded is left as it is."""
    H, num_gates = module.hidden_size, NUM_GATES[module.mode.lower().split("_")[0]]
    for name, weight in module.named_parameters(recurse=False):
        fresh = torch.zeros(weight.shape)
        for gate in fresh.split(H):
            if name.startswith("weight_hh"):
                nn.init.orthogonal_(gate)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(gate)
        if name.startswith("bias_ih") and num_gates == 4:  # the other bias of the gate stays 0: their sum counts
            fresh[H : 2 * H] = module.forget_gate_bias
        init.copy_(weight, fresh)


class RnnPreTrainedModel(PreTrainedModel):
    """Loads, saves and initialises every recurrent network."""

    config: RnnConfig
    base_model_prefix = "rnn"
    main_input_name = "input_ids"
    input_modalities = ("text",)
    accepts_loss_kwargs = False  # the loss is a mean over the batch: Trainer must scale it itself
    _no_split_modules = ["RnnEncoder"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Write every weight of `module`; what a checkpoint has loaded is left as it is."""
        if isinstance(module, nn.RNNBase):
            init_recurrence(module)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=getattr(module, "initial_std", 0.1))


@dataclass
class RnnOutput(ModelOutput):
    """Holds what an `RnnModel` gives."""

    last_hidden_state: Tensor | None = None  # (B, T, D) of the last layer, 0 at padding
    pooler_output: Tensor | None = None  # (B, D), as config.pooling says
    state: Tensor | None = None  # (B, L * R, P, H) behind each row's last valid step
    hidden_states: tuple[Tensor, ...] | None = None  # the embeddings and each layer's outputs


class RnnModel(RnnPreTrainedModel):
    """Embeddings, recurrent layers, pooling.

    Raises:
        ValueError: ids outside of the vocabulary, another shape, a batch without tokens, or a row without a valid one.
            Off the CPU ids are looked at only in evaluation, where this costs no training time.
    """

    def __init__(self, config: RnnConfig) -> None:
        super().__init__(config)
        # Heads for series embed them by themselves.
        is_text = config.num_input_channels == 0
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size) if is_text else None
        self.encoder = RnnEncoder(config, config.embedding_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding | None:
        return self.embeddings

    def set_input_embeddings(self, embeddings: nn.Embedding) -> None:
        self.embeddings = embeddings

    def embed(self, input_ids: Tensor) -> Tensor:
        """Map (B, T) -> (B, T, E), in training with whole words dropped."""
        if self.embeddings is None:
            raise ValueError("this model reads series: give inputs_embeds, or a text model's config")
        if input_ids.dim() != 2 or input_ids.is_floating_point():
            raise ValueError(
                f"input_ids must be integers of shape (rows, tokens), got {input_ids.dtype} of shape "
                f"{tuple(input_ids.shape)}; use the checkpoint's tokenizer with return_tensors='pt'"
            )
        V = self.embeddings.num_embeddings
        # A CPU's embedding looks by itself; elsewhere looking waits for the device, and so is left out in training.
        looks = input_ids.device.type != "cpu" and not self.training and input_ids.numel() > 0
        if looks and (input_ids.min() < 0 or input_ids.max() >= V):
            raise unknown_id(input_ids, V)
        try:
            hidden = self.embeddings(input_ids)
        except IndexError:
            raise unknown_id(input_ids, V) from None
        share = self.config.embedding_dropout_prob
        if self.training and share > 0:
            hidden = hidden * F.dropout(hidden.new_ones(V), share)[input_ids][..., None]
        return hidden

    def pool(self, hidden: Tensor, state: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Map (B, T, D) -> (B, D) as config.pooling says, whatever stands at padding."""
        if self.config.pooling == "last":
            return state[:, -self.config.num_directions :, 0].flatten(1)
        mask = hidden.new_ones(hidden.shape[:2]) if attention_mask is None else attention_mask[:, -hidden.shape[1] :]
        mask = mask[..., None].bool()  # (B, T, 1)
        if self.config.pooling == "max":
            return hidden.masked_fill(~mask, -torch.inf).amax(1)
        return hidden.sum(1) / mask.sum(1)  # padding is 0

    @known_arguments()
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        state: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> RnnOutput | tuple:
        """Compute the outputs, and the loss where targets are given.

        Args:
            input_ids: (B, T), tokens.
            attention_mask: (B, T), 1 for tokens, 0 for padding, wherever it is; no padding when absent.
            state: (B, L * R, P, H), an earlier call's, to go on from there; from the start when absent.
            inputs_embeds: (B, T, E) instead of input_ids.
            output_hidden_states: give the embeddings and each layer's outputs too; the config's choice when None.
            return_dict: a ModelOutput (True) or a tuple (False); the config's choice when None.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        config = self.config
        hidden = self.embed(input_ids) if inputs_embeds is None else inputs_embeds  # (B, T, E)
        hidden = drop_features(hidden, config.input_dropout_prob, self.training)
        every = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        hidden, state, hidden_states = self.encoder(hidden, attention_mask, state, every)  # (B, T, D)
        pooled = self.pool(hidden, state, attention_mask)
        if config.return_dict if return_dict is None else return_dict:
            return RnnOutput(last_hidden_state=hidden, pooler_output=pooled, state=state, hidden_states=hidden_states)
        return (hidden, pooled, state) if hidden_states is None else (hidden, pooled, state, hidden_states)


def unknown_id(input_ids: Tensor, vocab_size: int) -> ValueError:
    """Return the error for tokens outside of the vocabulary."""
    low, high = input_ids.aminmax()
    return ValueError(
        f"input_ids must be at least 0 and below vocab_size {vocab_size}, got {low} to {high}; use the checkpoint's "
        "tokenizer"
    )


__all__ = ["RnnEncoder", "RnnModel", "RnnOutput", "RnnPreTrainedModel", "drop_features"]
