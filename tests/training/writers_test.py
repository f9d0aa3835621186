import json

import pytest

from genrec_jax.training import writers


def test_rows_after_the_resumed_step_and_a_cut_line_are_dropped(tmp_path):
  path = tmp_path / 'logs' / 'metrics.jsonl'
  writer = writers.JsonLinesWriter(path)
  for step in (1, 2, 3):
    writer.write(step, 'train', {'loss': 0.1 * step})
  writer.close()
  with open(path, 'a') as file:
    file.write('{"step": 4, "spl')
  writer = writers.JsonLinesWriter(path, resumed_step=2)
  writer.write(3, 'validation', {'recall@10': 0.5})
  writer.close()
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert rows == [
    {'step': 1, 'split': 'train', 'loss': 0.1},
    {'step': 2, 'split': 'train', 'loss': 0.2},
    {'step': 3, 'split': 'validation', 'recall@10': 0.5},
  ]


def test_tensorflow_reads_the_event_file(tmp_path):
  tensorflow = pytest.importorskip(
    'tensorflow', reason='TensorFlow reads what we wrote'
  )
  writer = writers.TensorBoardWriter(tmp_path, resumed_step=300)
  writer.write(400, 'train', {'loss': 1.5, 'x' * 200: -2.0})
  writer.close()
  (path,) = tmp_path.iterdir()
  events = list(tensorflow.compat.v1.train.summary_iterator(str(path)))
  assert events[0].file_version == 'brain.Event:2'
  assert events[1].step == 301 and events[1].session_log.status == 1
  assert events[2].step == 400 and events[2].wall_time > 1e9
  found = {value.tag: value.simple_value for value in events[2].summary.value}
  assert found == {'train/loss': 1.5, 'train/' + 'x' * 200: -2.0}
