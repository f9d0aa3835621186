"""The vocabulary of a run as Hugging Face's tokenizer files.

Text is cut by the pieces of the run's SentencePiece model, and each code is a
token of its own, written as our vocabulary writes it: `<i0:17>` (item level 0,
code 17), `<u0:5>`. Numbers are ours. Written is JSON, so that making it needs
no library of Hugging Face.
"""

from __future__ import annotations

import base64
import pathlib
from typing import Any

from genrec_jax import artifacts
from genrec_jax.ids.item_ids import TokenLayout
from genrec_jax.types import UNK_ID, GenrecError

_SPACE = '▁'  # how SentencePiece writes a space
_SPECIAL = ('<pad>', '</s>', '<unk>')


def code_pieces(layout: TokenLayout) -> list[str]:
  """Returns how the codes are written, in the order of their tokens.

  >>> code_pieces(TokenLayout(codebook_sizes=(2, 1)))
  ['<i0:0>', '<i0:1>', '<i1:0>']
  """
  return [
    f'<{kind}{level}:{code}>'
    for kind, sizes in (
      ('i', layout.codebook_sizes),
      ('u', layout.user_codebook_sizes),
    )
    for level, size in enumerate(sizes)
    for code in range(size)
  ]


def read_pieces(model: bytes):
  """Returns the SentencePiece model as the message that its file holds."""
  from sentencepiece import sentencepiece_model_pb2  # late: of an extra

  return sentencepiece_model_pb2.ModelProto.FromString(model)


def write_tokenizer(
  directory: pathlib.Path, layout: TokenLayout, text_model: bytes | None
) -> None:
  """Writes tokenizer.json and tokenizer_config.json, and the text model.

  `AutoTokenizer.from_pretrained` reads them; it adds no end to what it
  encodes, as our prompts have none.

  Args:
    directory: where to; it exists.
    layout: which token stands for what.
    text_model: the SentencePiece model; None where there is no text.

  Raises:
    GenrecError: if the text model is of a kind that cannot be written so.
  """
  if text_model is None:
    pieces, special = list(_SPECIAL), list(range(len(_SPECIAL)))
    plain = []
    parts = {
      'normalizer': None,
      'pre_tokenizer': {'type': 'WhitespaceSplit'},
      'decoder': {'type': 'Fuse'},
      'model': {
        'type': 'WordLevel',
        'vocab': {piece: token for token, piece in enumerate(pieces)},
        'unk_token': pieces[UNK_ID],
      },
    }
  else:
    proto = read_pieces(text_model)
    kinds = proto.SentencePiece
    pieces = [piece.piece for piece in proto.pieces]
    special, plain = (
      [n for n, piece in enumerate(proto.pieces) if piece.type in wanted]
      for wanted in ((kinds.CONTROL, kinds.UNKNOWN), (kinds.USER_DEFINED,))
    )
    parts = _text_parts(proto)
    (directory / 'spiece.model').write_bytes(text_model)
  codes = enumerate(code_pieces(layout), start=layout.num_text_tokens)
  added = [
    *((token, pieces[token], True) for token in special),
    *((token, pieces[token], False) for token in plain),
    *((token, piece, False) for token, piece in codes),
  ]
  artifacts.write_json(
    directory / 'tokenizer.json',
    {
      'version': '1.0',
      'truncation': None,
      'padding': None,
      'added_tokens': [
        {
          'id': token,
          'content': content,
          'single_word': False,
          'lstrip': False,
          'rstrip': False,
          'normalized': False,
          'special': is_special,
        }
        for token, content, is_special in sorted(added)
      ],
      'post_processor': None,
      **parts,
    },
  )
  artifacts.write_json(
    directory / 'tokenizer_config.json',
    {
      'tokenizer_class': 'PreTrainedTokenizerFast',
      'pad_token': pieces[0],
      'eos_token': pieces[1],
      'unk_token': pieces[UNK_ID],
      'clean_up_tokenization_spaces': False,
      'model_input_names': ['input_ids', 'attention_mask'],
    },
  )


def _text_parts(proto) -> dict[str, Any]:
  """Returns the parts of tokenizer.json that say how text is cut."""
  spec, trainer = proto.normalizer_spec, proto.trainer_spec
  models = {trainer.BPE: _bpe, trainer.UNIGRAM: _unigram}
  if (
    trainer.model_type not in models
    or trainer.treat_whitespace_as_suffix
    or not spec.escape_whitespaces
  ):
    raise GenrecError(
      'The text model of this run cuts words or characters, or marks the ends'
      ' of words; a tokenizer can be exported of a unigram or BPE model that'
      ' marks their beginnings. Tokenize with such a text_model.'
    )
  steps: list[dict[str, Any]] = []
  if spec.precompiled_charsmap:
    charsmap = base64.b64encode(spec.precompiled_charsmap).decode()
    steps.append({'type': 'Precompiled', 'precompiled_charsmap': charsmap})
  if spec.remove_extra_whitespaces:
    steps.append({'type': 'Strip', 'strip_left': True, 'strip_right': True})
    several = {'Regex': ' {2,}'}
    steps.append({'type': 'Replace', 'pattern': several, 'content': ' '})
  if spec.add_dummy_prefix:
    steps.append({'type': 'Prepend', 'prepend': _SPACE})
  space = {'type': 'Replace', 'pattern': {'String': ' '}, 'content': _SPACE}
  decoders: list[dict[str, Any]] = [
    {'type': 'Replace', 'pattern': {'String': _SPACE}, 'content': ' '},
    {'type': 'ByteFallback'},
    {'type': 'Fuse'},
  ]
  if spec.add_dummy_prefix:
    decoders.append({'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0})
  return {
    'normalizer': {'type': 'Sequence', 'normalizers': [*steps, space]},
    'pre_tokenizer': None,
    'decoder': {'type': 'Sequence', 'decoders': decoders},
    'model': models[trainer.model_type](proto),
  }


def _unigram(proto) -> dict[str, Any]:
  return {
    'type': 'Unigram',
    'unk_id': UNK_ID,
    'vocab': [[piece.piece, piece.score] for piece in proto.pieces],
    'byte_fallback': bool(proto.trainer_spec.byte_fallback),
  }


def _bpe(proto) -> dict[str, Any]:
  """Pieces with their merges: what SentencePiece joins, best scores first."""
  normal = proto.SentencePiece.NORMAL
  score = {p.piece: p.score for p in proto.pieces if p.type == normal}
  merges = [
    (-score[piece], piece[:cut], piece[cut:])
    for piece in score
    for cut in range(1, len(piece))
    if piece[:cut] in score and piece[cut:] in score
  ]
  # A stable sort: the splits of a piece stay in the order of their places.
  merges.sort(key=lambda merge: merge[0])
  return {
    'type': 'BPE',
    'unk_token': proto.pieces[UNK_ID].piece,
    'fuse_unk': True,
    'byte_fallback': bool(proto.trainer_spec.byte_fallback),
    'vocab': {p.piece: token for token, p in enumerate(proto.pieces)},
    'merges': [[left, right] for _, left, right in merges],
  }
