"""What goes to other libraries, and comes from them.

t5_names       T5's weights: their names here and in Hugging Face's library
hugging_face   a model in that library's files, written and read
tokenizer      the vocabulary as its tokenizer
t5x            checkpoints of T5X, read
architecture   the sizes that weights have, and the model file of these
vocabulary     token tables of a foreign model, extended by ID tokens
program        encoder, search and filters as one file of `jax.export`
items          the catalogue as a file
rankings       ranked lists as JSON lines and TREC files
"""
