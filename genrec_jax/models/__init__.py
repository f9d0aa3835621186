"""The language model, in Flax linen.

layers.py           dropout, dense, RMSNorm, MLP, embedding, position bias
attention.py        multi-head attention: packing, KV cache, grouped beams
transformer.py      T5Config and the T5 encoder-decoder of those layers
losses.py           cross entropy, label smoothing, z-loss, normalisation
encoder_decoder.py  EncoderDecoder: what every trainer and decoder drives
"""
