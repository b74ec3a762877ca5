"""The wire formats as Lark rules for constrained decoding: one module per way of writing arguments."""
