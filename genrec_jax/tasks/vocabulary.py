"""One table of tokens: text pieces, item codes by level, user codes.

The text pieces are a SentencePiece model's; codes follow as pieces that can
not be split, written `<i0:17>` (item level 0, code 17) and `<u0:5>`, so that
the same model encodes and decodes both, in Python and in a TensorFlow graph.
"""

from __future__ import annotations

import functools
import io
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece
import seqio
import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2

from genrec_jax.data.token_cache import Ragged
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import EOS_ID, PAD_ID, UNK_ID, GenrecError, PathLike

BYTE_PIECES = 256
_Piece = sentencepiece_model_pb2.ModelProto.SentencePiece

# Nothing is normalised, added or lost: decoding is the inverse of encoding,
# and a character that is no piece is spelt in bytes.
_LOSSLESS = dict(
  normalization_rule_name='identity',
  add_dummy_prefix=False,
  remove_extra_whitespaces=False,
  pad_id=PAD_ID,
  eos_id=EOS_ID,
  unk_id=UNK_ID,
  bos_id=-1,
)


def train_text_model(texts: Iterable[str], num_pieces: int) -> bytes:
  """Trains a SentencePiece model; the same texts give the same bytes.

  Args:
    texts: what to learn the pieces from.
    num_pieces: how many to learn at most, pad, eos, unk and 256 bytes
      included; fewer where the texts have no more to merge.

  Returns:
    The serialized model.

  Raises:
    GenrecError: if there is no text, or too little room for it.
  """
  texts = [text for text in texts if text.strip()]
  if not texts:
    raise GenrecError(
      'Got no text to learn text pieces from; pass text_pieces=0 for a'
      ' vocabulary without text.'
    )
  if num_pieces < BYTE_PIECES + UNK_ID + 2:
    raise GenrecError(
      f'text_pieces={num_pieces} leaves no room: pad, eos, unk and the 256'
      ' bytes come first; expected at least 300, or 0 for no text at all.'
    )
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.train(
      sentence_iterator=iter(texts),
      model_writer=model,
      vocab_size=num_pieces,
      model_type='bpe',
      byte_fallback=True,
      hard_vocab_limit=False,
      character_coverage=0.9995,
      max_sentence_length=1 << 20,
      num_threads=1,
      minloglevel=2,
      **_LOSSLESS,
    )
  except RuntimeError as error:
    raise GenrecError(
      f'SentencePiece cannot learn {num_pieces} pieces from {len(texts)}'
      f' texts: {error}. Raise text_pieces.'
    ) from error
  return model.getvalue()


def read_text_model(path: PathLike) -> bytes:
  """Reads a SentencePiece model file, such as that of T5.

  Raises:
    GenrecError: if it is none, or its first pieces are not pad, eos and unk.
  """
  try:
    model = pathlib.Path(path).read_bytes()
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
  except (OSError, RuntimeError) as error:
    raise GenrecError(
      f'Cannot read the SentencePiece model {path}: {error}.'
    ) from error
  found = processor.pad_id(), processor.eos_id(), processor.unk_id()
  if found != (PAD_ID, EOS_ID, UNK_ID):
    raise GenrecError(
      f'The SentencePiece model {path} has pad, eos and unk at {found};'
      f' expected {(PAD_ID, EOS_ID, UNK_ID)}, as T5 has them. Train one with'
      ' these (pad_id, eos_id, unk_id), or let tokenize learn one.'
    )
  return model


def count_pieces(text_model: bytes) -> int:
  """Returns the number of pieces of a SentencePiece model: num_text_tokens."""
  proto = sentencepiece_model_pb2.ModelProto.FromString(text_model)
  return len(proto.pieces)


class RecommendationVocabulary(seqio.Vocabulary):
  """Text pieces, item codes and user codes, laid out by a `TokenLayout`.

  Decoding takes [L] and, for beams, [K, L]; it stops at the first eos, drops
  padding, and reads tokens past the last code as unk.
  """

  def __init__(self, layout: TokenLayout, text_model: bytes | None = None):
    """Makes the vocabulary.

    Args:
      layout: which token stands for what.
      text_model: a serialized SentencePiece model with pad 0, eos 1 and unk
        2; None for a vocabulary without text.

    Raises:
      GenrecError: if the model is not what the layout has room for.
    """
    super().__init__()
    pieces = UNK_ID + 1 if text_model is None else count_pieces(text_model)
    if pieces != layout.num_text_tokens:
      raise GenrecError(
        f'The text model has {pieces} pieces, but the token layout is for'
        f' {layout.num_text_tokens}; use the model that the layout was made'
        ' with.'
      )
    self.layout = layout
    self.text_model = text_model

  @property
  def bos_id(self) -> int:
    """The decoder starts with pad, as T5 does."""
    return PAD_ID

  @property
  def eos_id(self) -> int:
    """The end of text, and of ids that differ in length."""
    return EOS_ID

  @property
  def unk_id(self) -> int:
    """What is no token."""
    return UNK_ID

  @property
  def vocab_size(self) -> int:
    """The rows of the embedding table, unused ones included."""
    return self.layout.vocab_size

  @property
  def _base_vocab_size(self) -> int:
    return self.layout.num_tokens

  def encode_text(self, text: str) -> list[int]:
    """Encodes text alone: what looks like a code in it stays text.

    Raises:
      GenrecError: if there is text, but the vocabulary has none.
    """
    if not text:
      return []
    if self.text_model is None:
      raise GenrecError(
        f'The vocabulary has no text pieces, but {text!r} is to be encoded;'
        ' use templates of slots alone, or text_pieces=1000.'
      )
    return self._text_processor.encode(text)

  def encode_texts(self, texts: Sequence[str]) -> Ragged:
    """Encodes texts alone, as `encode_text`, a row each."""
    if self.text_model is None:
      texts = [self.encode_text(text) for text in texts]
      return Ragged.from_rows(texts)
    return Ragged.from_rows(self._text_processor.encode(list(texts)))

  def encode_text_tf(self, text: tf.Tensor) -> tf.Tensor:
    """Encodes text alone, as `encode_text`, in a TensorFlow graph."""
    if self.text_model is None:
      raise GenrecError(
        'The vocabulary has no text pieces, but a slot takes text; tokenize'
        ' with text_pieces=1000.'
      )
    return self._text_tokenizer.tokenize(text)

  def decode(self, ids):
    """Decodes [L] to a string, or [K, L] to K strings."""
    if hasattr(ids, 'numpy'):
      ids = ids.numpy()
    if getattr(ids, 'ndim', 1) == 2:
      return [self.decode(row) for row in ids]
    ids = ids.tolist() if hasattr(ids, 'tolist') else list(ids)
    if ids and isinstance(ids[0], (Sequence, np.ndarray)):
      return [self.decode(row) for row in ids]
    # Rows that hold no item may be padded with -1.
    return super().decode([max(token, PAD_ID) for token in ids])

  def _encode(self, s: str) -> list[int]:
    return self._processor.encode(s)

  def _decode(self, ids: Sequence[int]) -> str:
    return self._processor.decode(list(ids))

  def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
    return self._tokenizer.tokenize(s)

  def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
    return self._tokenizer.detokenize(ids)

  @functools.cached_property
  def _model(self) -> bytes:
    """The text model with the codes as further pieces."""
    proto = sentencepiece_model_pb2.ModelProto()
    if self.text_model is None:
      proto.trainer_spec.model_type = proto.trainer_spec.BPE
      for name in ('pad_id', 'eos_id', 'unk_id', 'bos_id'):
        setattr(proto.trainer_spec, name, _LOSSLESS[name])
      proto.normalizer_spec.name = 'identity'
      proto.normalizer_spec.add_dummy_prefix = False
      proto.normalizer_spec.remove_extra_whitespaces = False
      for piece, kind in (
        ('<pad>', _Piece.CONTROL),
        ('</s>', _Piece.CONTROL),
        ('<unk>', _Piece.UNKNOWN),
      ):
        proto.pieces.add(piece=piece, score=0.0, type=kind)
    else:
      proto.ParseFromString(self.text_model)
    for kind, sizes in (
      ('i', self.layout.codebook_sizes),
      ('u', self.layout.user_codebook_sizes),
    ):
      for level, size in enumerate(sizes):
        for code in range(size):
          proto.pieces.add(
            piece=f'<{kind}{level}:{code}>',
            score=0.0,
            type=_Piece.USER_DEFINED,
          )
    return proto.SerializeToString(deterministic=True)

  @functools.cached_property
  def _processor(self) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=self._model)

  @functools.cached_property
  def _text_processor(self) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=self.text_model)

  # Loaded once, outside of the graphs that use them: every slot of every
  # template would load the model anew, and tell so.
  @functools.cached_property
  def _tokenizer(self) -> tf_text.SentencepieceTokenizer:
    with tf.init_scope():
      return tf_text.SentencepieceTokenizer(self._model)

  @functools.cached_property
  def _text_tokenizer(self) -> tf_text.SentencepieceTokenizer:
    with tf.init_scope():
      return tf_text.SentencepieceTokenizer(self.text_model)

  def __getstate__(self):
    # SeqIO and gin copy vocabularies; processors are made again.
    return {'layout': self.layout, 'text_model': self.text_model}

  def __setstate__(self, state):
    self.__init__(**state)

  def __eq__(self, other) -> bool:
    return (
      isinstance(other, RecommendationVocabulary)
      and self.__getstate__() == other.__getstate__()
    )

  def __hash__(self) -> int:
    return hash((self.layout, self.text_model))
