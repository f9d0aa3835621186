"""The language model, in Flax linen.

layers.py           dropout, dense, RMSNorm, MLP, embedding, position bias
attention.py        multi-head attention: packing, KV cache, grouped beams
blocks.py           which tokens of an input are one block
stacks.py           layers on top of each other
encoder.py          the T5 encoder
transformer.py      the T5 decoder, and both as one module
token_tables.py     the tables that have a row a token
losses.py           cross entropy, label smoothing, z-loss, normalisation
encoder_decoder.py  EncoderDecoder: what every trainer and decoder drives
"""
