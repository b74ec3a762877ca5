"""The training recipe of the bundled model: tokenizer, network, curriculum, training loop, export."""
