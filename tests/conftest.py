"""Settings of every test: eight CPU devices, and strict array arithmetic."""

import os

# Set before JAX is imported: the same program must run on one device and on
# several, and most tests here are too small to notice.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

import jax

jax.config.update('jax_numpy_rank_promotion', 'raise')
