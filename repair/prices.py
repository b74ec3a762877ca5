"""What each fix costs: how far it stands from the model's own bytes. One table for all of them."""

from __future__ import annotations

from collections.abc import Iterable

from repair.types import Fix, FixKind

PRICES: dict[FixKind, int] = {
    # 1: the same values, spelt as JSON; or bytes beside the call that mean nothing
    FixKind.trailing_comma: 1,
    FixKind.missing_comma: 1,
    FixKind.extra_closer: 1,
    FixKind.raw_control: 1,
    FixKind.byte_order_mark: 1,
    FixKind.escaped_whitespace: 1,
    FixKind.single_quotes: 1,
    FixKind.unquoted_key: 1,
    FixKind.python_literal: 1,
    FixKind.duplicate_key: 1,
    FixKind.special_token: 1,
    FixKind.markdown_fence: 1,
    FixKind.wrapper_key: 1,
    FixKind.double_encoded: 1,
    FixKind.echo: 1,
    FixKind.duplicate_object: 1,
    FixKind.empty_arguments: 1,
    FixKind.name_prefix: 1,
    FixKind.name_suffix: 1,
    FixKind.name_case: 1,
    # 2: an end or a marker that was not there, or was there in another form
    FixKind.missing_closer: 2,
    FixKind.missing_tag: 2,
    FixKind.corrupted_marker: 2,
    FixKind.junk_in_envelope: 2,
    FixKind.promoted: 2,
    # 3: a value that the schema alone decides
    FixKind.invalid_escape: 3,
    FixKind.unescaped_quote: 3,
    FixKind.bare_word: 3,
    FixKind.leading_zero: 3,
    FixKind.to_number: 3,
    FixKind.to_boolean: 3,
    FixKind.to_null: 3,
    FixKind.to_string: 3,
    FixKind.to_integer: 3,
    FixKind.parse_container: 3,
    FixKind.wrap_array: 3,
    FixKind.enum_case: 3,
    FixKind.drop_null: 3,
}


def price(fixes: Iterable[Fix]) -> int:
    """The sum over `fixes`; 0 for a clean call."""
    return sum(PRICES[fix.kind] for fix in fixes)
