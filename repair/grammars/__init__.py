"""The wire formats as Lark rules: one module per way of writing arguments."""
