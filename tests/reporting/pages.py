"""What tests ask of pages: what they would load, what their tables say."""

import html
import html.parser
import json
import re
import shutil
import subprocess

import pytest

# Of a tag, what a browser fetches by itself, or where it goes.
LOADING = ('src', 'srcset', 'href', 'data', 'poster', 'action', 'background')
FETCHING = re.compile(
  r'@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon'
  r'|\bimport\(|importScripts|\bopen\(|https?:'
)
VOID = {'meta', 'input', 'br', 'link', 'img', 'hr'}


class Page(html.parser.HTMLParser):
  """Tags with their attributes, texts of scripts and styles, and tables."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.code, self.open = [], [], []
    self.rows = []  # attributes of each row, and of each cell with its text
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.tags.append((tag, attributes))
    if tag not in VOID:
      self.open.append(tag)
    if tag == 'tr':
      self.rows.append((attributes, []))
    if tag in ('td', 'th') and self.rows:
      self.rows[-1][1].append([attributes, ''])

  def handle_startendtag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    while self.open and self.open.pop() != tag:
      pass

  def handle_data(self, data):
    if self.open and self.open[-1] in ('script', 'style'):
      self.code.append(data)
    elif {'td', 'th'} & set(self.open):
      self.rows[-1][1][-1][1] += data

  def named(self, tag):
    return [attributes for name, attributes in self.tags if name == tag]

  def cells(self):
    """Returns the texts of each row."""
    return [
      [' '.join(text.split()) for _, text in cells] for _, cells in self.rows
    ]


def requests(text):
  """Returns what a page would ask of the network, or anyone else."""
  page = Page(text)
  found = [
    (tag, name, value)
    for tag, attributes in page.tags
    for name, value in attributes.items()
    if name in LOADING and not (value or '').startswith('#')
    # `data` of our filter's elements is data-data, which is none of these.
  ]
  found += [
    (tag, attributes)
    for tag, attributes in page.tags
    if tag in ('link', 'iframe', 'object', 'embed', 'base')
    or attributes.get('http-equiv') == 'refresh'
  ]
  styles = [a['style'] for _, a in page.tags if 'style' in a]
  for one in (*page.code, *styles):
    found += FETCHING.findall(one)
  return found


def policy(text):
  """Returns the directives of a page's policy."""
  (found,) = (
    attributes['content']
    for attributes in Page(text).named('meta')
    if attributes.get('http-equiv') == 'Content-Security-Policy'
  )
  parts = (part.split() for part in found.split(';'))
  return {part[0]: part[1:] for part in parts}


def browser():
  """Returns the path of a Chromium, or skips the test."""
  for name in ('chromium', 'chromium-browser', 'google-chrome', 'chrome'):
    if found := shutil.which(name):
      return found
  pytest.skip('no Chromium on this machine (Debian: apt-get install chromium)')


def open_page(path, directory, fragment='', options=()):
  """Returns the DOM that Chromium makes of a page, and what it asked for.

  Args:
    path: of the page.
    directory: for the browser's own files.
    fragment: of the address, with its #.
    options: of the browser.
  """
  log = directory / 'net.json'
  done = subprocess.run(
    [
      browser(),
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      f'--user-data-dir={directory / "profile"}',
      f'--log-net-log={log}',
      '--virtual-time-budget=4000',
      '--dump-dom',
      *options,
      f'{path.resolve().as_uri()}{fragment}',
    ],
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout, _asked(json.loads(log.read_text()))


def _asked(log):
  """Returns the addresses that pages asked for; not those of the browser."""
  kind = log['constants']['logEventTypes']['URL_REQUEST_START_JOB']
  return [
    event['params']['url']
    for event in log['events']
    if event['type'] == kind
    and 'url' in event.get('params', {})
    and event['params'].get('initiator') != 'not an origin'
  ]


def too_wide(path, directory, width):
  """Returns what of a page is wider than a screen of so many pixels.

  But not what one scrolls by itself, such as a wide table.
  """
  frame = directory / f'frame_{width}.html'
  frame.write_text(
    f'''<iframe style="width:{width}px;height:700px;border:0"
src="{path.resolve().as_uri()}"></iframe><p id="found"></p><script>
document.querySelector('iframe').onload = (event) => {{
  const page = event.target.contentDocument;
  const screen = page.documentElement.clientWidth;
  const wide = [...page.querySelectorAll('*')].filter((one) =>
    one.getBoundingClientRect().right > screen + 1
    && !one.parentNode.closest('.scroll, pre, thead, svg'));
  const found = wide.map((one) => one.outerHTML.slice(0, 80));
  if (page.documentElement.scrollWidth > screen) found.push('the page');
  document.getElementById('found').textContent = JSON.stringify(found);
}};</script>'''
  )
  dom, _ = open_page(
    frame, directory, options=['--allow-file-access-from-files']
  )
  (found,) = re.findall(r'<p id="found">(.+?)</p>', dom, re.DOTALL)
  return json.loads(html.unescape(found))
