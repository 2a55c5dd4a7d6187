"""The training loss as a module, so that everything that wraps a forward pass wraps it whole."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from maple.models.head import answer_loss, body


class AnswerLoss(torch.nn.Module):
    """A model in training whose forward pass returns the loss of the answers.

    The decoder body runs over all positions, the vocabulary projection over the labelled ones
    only. Autocast, gradient synchronisation and sharding hook into a module's forward; a loss
    computed outside it would escape them.
    """

    accepts_loss_kwargs = True
    """Tells transformers' Trainer to pass `num_items_in_batch`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> dict[str, torch.Tensor]:
        """The loss of a micro-batch.

        Args:
            input_ids: [B, T] ids, padded on the right.
            attention_mask: [B, T] 1 for tokens, 0 for padding.
            labels: [B, T] the token itself where it is learned, else -100.
            num_items_in_batch: labelled tokens of the whole optimiser step; None to average over
                this micro-batch.

        Returns:
            "loss": sum of nats over the labelled tokens divided by `num_items_in_batch`.
        """
        hidden = body(self.model)(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        return {"loss": answer_loss(self.model, hidden, labels, num_items=num_items_in_batch)}
