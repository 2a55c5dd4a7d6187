"""The training loss as a module, so that everything that wraps a forward pass wraps it whole."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from maple.finetune.packing import PackedRows
from maple.models.cross_entropy import answer_loss
from maple.models.head import body


class AnswerLoss(torch.nn.Module):
    """A model in training whose forward pass returns the loss of the answers.

    The decoder body runs over all positions, the vocabulary projection over the labelled ones
    only. Autocast, gradient synchronisation and sharding hook into a module's forward; a loss
    computed outside it would escape them.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, rows: PackedRows, num_items: int | None = None) -> torch.Tensor:
        """The loss of a pack of rows.

        Args:
            rows: side by side, on the model's device.
            num_items: labelled tokens of the whole optimiser step; None to average over this pack.

        Returns:
            sum of nats over the labelled tokens divided by `num_items`, a scalar.
        """
        hidden = body(self.model)(
            input_ids=rows.input_ids,
            position_ids=rows.position_ids,
            layout=rows.layout,
            use_cache=False,
        ).last_hidden_state
        return answer_loss(self.model, hidden, rows.labels, num_items=num_items)
