"""Our engine as a model of lm-evaluation-harness.

    python -m maple.lm_eval --model maple --model_args model=demo:gemma-3-270m,bits=16 --tasks NAME

is the harness's own command line with this model added; in Python it is
`lm_eval.simple_evaluate(model=MapleLM("demo:gemma-3-270m"), tasks=[NAME])`. How texts become
tokens, where a choice begins and what is cut from a long context follows the harness's `hf` model,
so that the two give the same numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from jinja2 import TemplateError
from tqdm import tqdm

from maple import provenance
from maple.errors import DataError, MapleError, ModelError
from maple.models.adapter_files import check_adapter
from maple.models.engine import TransformersModel
from maple.models.files import resolve
from maple.models.loading import load
from maple.records import GenerateRequest, Sampling
from maple.tasks.harness import generation, require

try:
    require()
except DataError as missing:
    if __name__ == "__main__":
        sys.exit(f"error: {missing}")
    raise

from lm_eval.__main__ import cli_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

Tokens = list[int]
_T = TypeVar("_T")

_PAIRS_AT_ONCE, _ANSWERS_AT_ONCE = 2048, 256
"""Requests in one call of the engine; between calls progress is shown, and kept in a cache."""


@register_model("maple")
class MapleLM(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """A base model, bare or through one adapter, loaded and run by us.

    What the base class asks for is documented there.
    """

    def __init__(
        self,
        model: str = "",
        bits: int = 16,
        adapter: str | Path | None = None,
        seed: int = 0,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **unknown: object,
    ) -> None:
        """
        Args:
            model: hub id, folder, GGUF file or demo:NAME, as in a study. No default, but the
                harness's command line may leave it out.
            bits: precision of the base: 4, 8, 16 or 32.
            adapter: PEFT folder to answer through; None for the bare base.
            seed: of sampled answers, for tasks that ask for some; each request draws its own.
            batch_size, max_batch_size: without effect, the harness sends them to every model;
                batches follow from the requests and the base alone.
            device: the first GPU, or the CPU where there is none: the engine takes no other.
                "cuda:0", the harness's default, stands for both.
            unknown: refused; its command line passes on whatever it is given.

        Raises:
            ModelError: the model or adapter cannot be loaded, another device is named, or an
                argument that there is not.
        """
        super().__init__()
        if unknown:
            raise ModelError(
                f"the model maple has no argument {', '.join(map(repr, sorted(unknown)))}",
                "known: model, bits, adapter, seed, device; dtype follows from bits, and remote "
                "code never runs",
            )
        if not model:
            raise ModelError("the model maple needs to know which", "--model_args model=MODEL")
        del batch_size, max_batch_size
        base = resolve(model)
        self._adapter = None if adapter is None else Path(adapter)
        if self._adapter is not None:
            check_adapter(self._adapter, base)
        loaded = load(base, bits)
        taken = str(loaded.model.device)
        if device not in (None, "cuda", "cuda:0", taken):
            raise ModelError(
                f"device is {device!r}; the engine runs on {taken}",
                "leave the device out; CUDA_VISIBLE_DEVICES chooses a GPU, or none",
            )
        self._engine = TransformersModel(loaded)
        self._about = {"model": base.name, "base": base.identity, "bits": bits, "adapter": adapter}
        self._seed = seed
        self.tokenizer = loaded.tokenizer

    @property
    def eot_token_id(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def tokenizer_name(self) -> str:
        return self._engine.tokenizer_id.replace(":", "-")

    def get_model_info(self) -> dict[str, object]:
        """What stands in the harness's results file about this model."""
        return {
            **{name: value and str(value) for name, value in self._about.items()},
            "compute_dtype": self._engine.compute_dtype,
            "maple": provenance.versions()["maple"],
        }

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: object
    ) -> Tokens:
        if add_special_tokens is None:
            # A chat template writes BOS itself.
            add_special_tokens = not string.startswith(
                str(self.tokenizer.decode([self.prefix_token_id]))
            )
        ids: Tokens = self.tokenizer.encode(string, add_special_tokens=add_special_tokens)
        return ids

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as the tokenizer's template writes it.

        Without its system messages where the template refuses them, as `hf` does.

        Raises:
            ModelError: no template, or one that refuses the conversation.
        """
        kept = [message for message in chat_history if message["role"] != "system"]
        try:
            try:
                return self._templated(chat_history, add_generation_prompt)
            except TemplateError:
                return self._templated(kept, add_generation_prompt)
        except (TemplateError, ValueError) as error:
            raise ModelError(f"the chat template cannot be applied: {error}") from error

    def _templated(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, Tokens, Tokens]],
        disable_tqdm: bool = False,
    ) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = []
        for part in _parts(requests, _PAIRS_AT_ONCE, disable_tqdm):
            pairs = [self._fitting(context, choice) for _, context, choice in part]
            answers = self._engine.token_logprobs(pairs, self._adapter)
            for (texts, _, _), answer in zip(part, answers, strict=True):
                found.append((answer.logprob, answer.greedy))
                if texts is not None:  # a window of a longer text is no answer to keep
                    self.cache_hook.add_partial("loglikelihood", texts, found[-1])
        return found

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        windows: list[tuple[None, Tokens, Tokens]] = []
        owners: list[int] = []
        for number, request in enumerate(requests):
            (text,) = request.args
            for window in get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self._engine.max_context,
                context_len=1,
            ):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(number)
        totals = [0.0] * len(requests)
        found = self._loglikelihood_tokens(windows, disable_tqdm)
        for owner, (logprob, _) in zip(owners, found, strict=True):
            totals[owner] += logprob
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Answers, greedy or sampled. A context that does not fit is an error; `hf` cuts it."""
        texts: list[str] = []
        for part in _parts(requests, _ANSWERS_AT_ONCE, disable_tqdm):
            asked = [
                self._generation(request, len(texts) + number)
                for number, request in enumerate(part)
            ]
            # In tokens, as `loglikelihood`: whether a chat template has written BOS is seen there.
            prompts = [self.tok_encode(request.args[0]) for request in part]
            answers = self._engine.generate_from(prompts, asked, self._adapter)
            for request, answer in zip(part, answers, strict=True):
                texts.append(answer.text)
                self.cache_hook.add_partial("generate_until", request.args, answer.text)
        return texts

    def _generation(self, request: Instance, number: int) -> GenerateRequest:
        context, settings = request.args
        wanted = generation(str(request.task_name), settings)
        sampling = None
        if wanted.temperature is not None:
            # An item that is asked several times is the same request at several numbers.
            seed = provenance.derive_seed(self._seed, "lm_eval", str(number))
            sampling = Sampling(wanted.temperature, wanted.top_p, seed)
        return GenerateRequest("", context, wanted.stop, wanted.max_new_tokens, sampling)

    def _fitting(self, context: Tokens, choice: Tokens) -> tuple[Tokens, Tokens]:
        """The pair with its context cut from the left to fit; the last token is never read."""
        room = self._engine.max_context + 1 - len(choice)
        return context[-room:] if room > 0 else [], choice


def _parts(requests: Sequence[_T], size: int, disable_tqdm: bool) -> Iterator[Sequence[_T]]:
    for start in tqdm(range(0, len(requests), size), disable=disable_tqdm):
        yield requests[start : start + size]


def main() -> None:
    """The harness's command line, with "maple" among its models."""
    try:
        cli_evaluate()
    except MapleError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
