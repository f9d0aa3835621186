// Filters and sorts the ledger. Without it the page shows everything.
// The choice stands behind # in the address, so that it can be kept and sent:
// #task=sequential&part=test&q=words&sort=3&order=descending
(() => {
  const form = document.getElementById('filter');
  const table = document.getElementById('results');
  if (!form || !table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const choices = ['run', 'task', 'part', 'data', 'method'];
  const known = ['q', ...choices, 'sort', 'order'];

  const readAddress = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    if (!known.some((name) => said.has(name))) return false;
    for (const name of known) {
      const field = form.elements[name];
      if (!field) continue;
      field.value = said.get(name) ?? field.dataset.usual ?? '';
      if (field.selectedIndex === -1) field.selectedIndex = 0;
    }
    return true;
  };

  const writeAddress = () => {
    const said = new URLSearchParams();
    for (const name of known) {
      const field = form.elements[name];
      if (field && field.value !== (field.dataset.usual ?? '')) said.set(name, field.value);
    }
    const text = said.toString();
    try {
      history.replaceState(null, '', text ? '#' + text : location.pathname + location.search);
    } catch { /* A page in a frame may not; the filter works all the same. */ }
  };

  const fits = (element) => choices.every((name) => {
    const wanted = form.elements[name]?.value;
    const own = element.dataset[name];
    if (!wanted || own === undefined) return true;
    return name === 'task' ? own.split(' ').includes(wanted) : own === wanted;
  });

  const filter = () => {
    const words = form.elements.q.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const element of document.querySelectorAll('[data-run],[data-task],[data-part],[data-data],[data-method]')) {
      let on = fits(element);
      if (element.parentNode === body) {
        const text = element.textContent.toLowerCase();
        on = on && words.every((word) => text.includes(word));
        shown += on;
      }
      element.toggleAttribute('data-off', !on);
    }
    form.elements.count.value = shown + ' of ' + rows.length + ' results';
  };

  const sort = () => {
    const column = form.elements.sort.value;
    const down = form.elements.order.value === 'descending';
    heads.forEach((head, place) => {
      if (String(place) === column) head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
    const ordered = column === '' ? rows : [...rows].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === '' || b === '') return (a === '') - (b === ''); // what is not known comes last
      const numbers = a !== '' && b !== '' && !isNaN(a) && !isNaN(b);
      const order = numbers ? a - b : a.localeCompare(b, 'en', { numeric: true });
      return down ? -order : order;
    });
    body.append(...ordered);
  };

  const update = () => { filter(); sort(); writeAddress(); };

  heads.forEach((head, place) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const again = form.elements.sort.value === String(place);
      form.elements.order.value = again && form.elements.order.value === 'ascending' ? 'descending' : 'ascending';
      form.elements.sort.value = String(place);
      update();
    });
  });
  form.addEventListener('input', update);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(update));
  addEventListener('hashchange', () => { if (readAddress()) { filter(); sort(); } });
  form.hidden = false;
  readAddress();
  filter();
  sort();
})();
