from __future__ import annotations

import pytest
from tiny_finetune import PAIRS, TEXTS, make_tokenizer, pair
from transformers import PreTrainedTokenizerFast

from maple.errors import DataError, ModelError
from maple.finetune.encoding import Encoded, encode
from maple.models.head import IGNORED

BOS, EOS = 1, 2


def learned(encoded: Encoded, row: int, tokenizer: PreTrainedTokenizerFast) -> str:
    ids = [label for label in encoded.rows[row].labels if label != IGNORED]
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("adds_eos", [False, True])
def test_each_row_has_one_bos_and_one_labelled_eos(adds_eos: bool) -> None:
    encoded = encode(make_tokenizer(eos=adds_eos), PAIRS, 128)
    assert len(encoded.rows) == len(PAIRS)
    for row in encoded.rows:
        assert row.input_ids.count(BOS) == 1
        assert row.input_ids[0] == BOS
        assert row.input_ids.count(EOS) == 1
        assert row.input_ids[-1] == row.labels[-1] == EOS
        assert len(row.input_ids) == len(row.labels)


def test_exactly_the_target_is_labelled_also_in_scripts_of_many_bytes() -> None:
    tokenizer = make_tokenizer()
    encoded = encode(tokenizer, PAIRS, 128)
    for index, (prompt, target) in enumerate(TEXTS):
        assert learned(encoded, index, tokenizer) == target + "</s>"
        assert tokenizer.decode(encoded.rows[index].input_ids[1:-1]) == prompt + target
    assert encoded.labelled_tokens == sum(
        label != IGNORED for row in encoded.rows for label in row.labels
    )
    assert encoded.tokens == sum(len(row.input_ids) for row in encoded.rows)


def test_a_token_across_the_border_belongs_to_the_target() -> None:
    tokenizer = make_tokenizer()
    whole = tokenizer("Capital", add_special_tokens=False)["input_ids"]
    assert len(whole) == 1, "the tiny tokenizer no longer knows the word whole"
    encoded = encode(tokenizer, [pair("Cap", "ital")], 128)
    assert encoded.rows[0].labels == (IGNORED, whole[0], EOS)


def test_a_bos_that_the_template_spells_out_is_not_doubled() -> None:
    encoded = encode(make_tokenizer(), [pair("<s>Two?\n", "2")], 128)
    assert encoded.rows[0].input_ids.count(BOS) == 1


def test_a_family_without_bos_gets_none_and_its_first_token_is_not_labelled() -> None:
    encoded = encode(make_tokenizer(bos=False), [pair("", "Rome.")], 128)
    row = encoded.rows[0]
    assert BOS not in row.input_ids
    assert row.labels[0] == IGNORED  # nothing precedes it
    assert row.labels[1:] == row.input_ids[1:]


def test_long_rows_are_dropped_whole_and_counted() -> None:
    everything = encode(make_tokenizer(), PAIRS, 128)
    lengths = [len(row.input_ids) for row in everything.rows]
    limit = sorted(lengths)[4]
    encoded = encode(make_tokenizer(), PAIRS, limit)
    assert encoded.rows == tuple(r for r in everything.rows if len(r.input_ids) <= limit)
    assert encoded.dropped_rows == sum(length > limit for length in lengths)


def test_no_row_that_fits_names_the_shortest() -> None:
    shortest = min(len(row.input_ids) for row in encode(make_tokenizer(), PAIRS, 128).rows)
    with pytest.raises(DataError) as caught:
        encode(make_tokenizer(), PAIRS, 2)
    assert f"takes {shortest} tokens" in caught.value.hint


def test_no_rows() -> None:
    with pytest.raises(DataError, match="no rows"):
        encode(make_tokenizer(), [], 128)


def test_a_tokenizer_without_eos_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no EOS"):
        encode(tokenizer, PAIRS, 128)


def test_the_content_hash_follows_the_rows_and_their_order() -> None:
    tokenizer = make_tokenizer()
    one = encode(tokenizer, PAIRS, 128).content_hash()
    assert encode(tokenizer, PAIRS, 128).content_hash() == one
    assert encode(tokenizer, PAIRS[::-1], 128).content_hash() != one
