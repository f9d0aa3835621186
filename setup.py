"""Packaging of genrec_jax: a lean base, and extras for what else one does."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).parent

# What `genrec train`, `evaluate` and `recommend` need; no TensorFlow.
BASE = [
  'absl-py>=2.1',
  'clu>=0.0.12',
  'flax>=0.12',
  'gin-config>=0.5.0',
  'jax>=0.7',
  'jaxtyping>=0.3',
  'numpy>=2.0',
  'optax>=0.2.5',
  'orbax-checkpoint>=0.11.20',
  'pyarrow>=17',
  'scipy>=1.15',
  'tqdm>=4.60',
]

# What `genrec tokenize` needs: the SeqIO tasks. tensorflow-text brings the
# full TensorFlow, so naming tensorflow-cpu here would install it twice.
TASKS = [
  'importlib_resources>=5',  # tfds imports it and does not require it
  'seqio>=0.0.20',
  'sentencepiece>=0.2',
  'tensorflow-datasets>=4.9.7',
]

# What reading and measuring generated texts needs, and the baseline that
# copies one.
TEXT = [
  'rouge-score>=0.1.2',
  'sacrebleu>=2.5',
  'scikit-learn>=1.5',
  'sentencepiece>=0.2',
]

# `genrec export --format=hugging_face` and `genrec import` of such files.
EXPORT = ['safetensors>=0.5', 'sentencepiece>=0.2']

# What loads such an export; its tests are skipped where it is not installed.
HF = ['safetensors>=0.5', 'torch>=2.4', 'transformers>=5']

# The matrix factorizations among `genrec baselines`.
BASELINES = ['implicit>=0.7.2']

REPORT = ['jinja2>=3.1', 'scikit-learn>=1.5']

TEST = [
  'fairlearn>=0.12',
  'hypothesis>=6.100',
  'pytest>=8',
  'pytest-xdist>=3.6',
  'ranx>=0.3.20',
  'ruff>=0.9',
]

# `genrec count_cooccurrences` and, with 'tasks', `seqio_cache_tasks`, for what
# one machine cannot hold. Not in 'test': it brings older versions of protobuf
# and pyarrow along, and sentencepiece after 0.2.1 wants a newer protobuf.
# google-crc32c is what Beam writes TFRecords with.
BEAM = ['apache-beam>=2.60', 'google-crc32c>=1.5', 'sentencepiece<=0.2.1']

# The peers of tools/benchmarks/id_peers.py; nothing else needs them.
BENCH = ['faiss-cpu>=1.9', 'scikit-learn>=1.5']

setuptools.setup(
  name='genrec_jax',
  version='0.1.0',
  description=(
    'A language model that generates recommendations, in JAX: items as'
    ' token sequences, the catalogue as a trie.'
  ),
  long_description=(HERE / 'README.md').read_text(encoding='utf-8'),
  long_description_content_type='text/markdown',
  license='Apache-2.0',
  python_requires='>=3.11',
  # Named one by one: a package found by itself in gin/ would shadow
  # gin-config when a command runs from the root.
  packages=[
    'genrec_jax',
    'genrec_jax.answering',
    'genrec_jax.baselines',
    'genrec_jax.data',
    'genrec_jax.data.readers',
    'genrec_jax.decoding',
    'genrec_jax.evaluation',
    'genrec_jax.exchange',
    'genrec_jax.experiments',
    'genrec_jax.ids',
    'genrec_jax.measuring',
    'genrec_jax.models',
    'genrec_jax.reporting',
    'genrec_jax.retrieval',
    'genrec_jax.tasks',
    'genrec_jax.training',
    'genrec_jax._configs',
    'genrec_jax._gin',
  ],
  package_dir={
    'genrec_jax._configs': 'configs',
    'genrec_jax._gin': 'gin',
  },
  package_data={
    'genrec_jax.reporting': ['*.css', '*.html', '*.js'],
    'genrec_jax.tasks': ['templates/*.toml'],
    'genrec_jax._configs': ['*/*.toml'],
    'genrec_jax._gin': ['*/*.gin'],
  },
  install_requires=BASE,
  extras_require={
    'tasks': TASKS + TEXT,
    'text': TEXT,
    'report': REPORT,
    'baselines': BASELINES,
    'export': EXPORT,
    'hf': HF,
    'beam': BEAM,
    'bench': BENCH,
    'all': TASKS + TEXT + REPORT + EXPORT + BASELINES,
    'test': TASKS + TEXT + REPORT + EXPORT + BASELINES + TEST,
  },
  entry_points={'console_scripts': ['genrec = genrec_jax.main:main']},
)
