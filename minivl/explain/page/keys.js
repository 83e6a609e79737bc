// Keys, printing, and the beginning of it all.

function switchBook() {
  if (books.length < 2) return;
  const was = current();
  state.book = 1 - state.book;
  const same =
    book().steps.find(s => s.key === was.key) ||
    book().steps.find(s => s.title === was.title) ||
    book().steps.find(s => s.kind === was.kind && s.depth === was.depth);
  state.step = same ? same.key : 'overview';
  state.time = -1;
  render('versus');
  $('said').textContent = `now ${book().about.model}, ${current().title}`;
}
function switchTheme() {
  const order = ['auto', 'light', 'dark'],
    root = document.documentElement,
    next = order[(order.indexOf(root.dataset.theme || 'auto') + 1) % 3];
  if (next === 'auto') delete root.dataset.theme;
  else root.dataset.theme = next;
  render('theme');
}

const KEYS = [
  ['→ Space J', 'the next step'],
  ['← K', 'the step before'],
  ['↓ ↑', 'look inside a step, come out again'],
  ['Home End', 'the first and the last step'],
  ['1 … 9', 'this head; 0 the mean of all heads'],
  [', .', 'the query before, the next query'],
  ['[ ]', 'the layer below, the layer above'],
  ['− +', 'an earlier, a later model'],
  ['G', 'value, gradient, value × gradient'],
  ['V', 'the other model, if there are two'],
  ['T', 'light, dark, or as the system has it'],
  ['?', 'these keys'],
];
function showHelp() {
  const dialog = $('help');
  dialog.replaceChildren(
    el('h2', { id: 'help-title', style: 'margin:0' }, 'Keys'),
    el(
      'dl',
      {},
      KEYS.flatMap(([keys, what]) => [
        el(
          'dt',
          {},
          keys.split(' ').map((k, i) => [i ? ' ' : '', k === '…' ? k : el('kbd', {}, k)]),
        ),
        el('dd', {}, what),
      ]),
    ),
    el(
      'p',
      { className: 'note' },
      'The address keeps the step and all that is chosen: copy it to show somebody else this very view. Print gives a handout of the whole walk.',
    ),
    el('button', { onclick: () => dialog.close(), autofocus: true }, 'Close'),
  );
  dialog.showModal();
}

function stepBy(name, by) {
  const s = current();
  if (name === 'layer') state.layer = Math.max(0, Math.min(layerCount(s) - 1, state.layer + by));
  if (name === 'query') {
    const ids = queryIds(s);
    if (ids) choose('query', ids, chosen('query', ids) + by);
  }
  if (name === 'time') {
    const t = Math.max(0, Math.min(lastTime(), time() + by));
    state.time = t === lastTime() ? -1 : t;
  }
  render();
}

function pressedKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  const key = event.key,
    target = event.target,
    typing = target.matches && target.matches('input[type=range]');
  if (typing && ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', 'PageUp', 'PageDown'].includes(key)) return;
  if (key === ' ' && target.matches && target.matches('button, summary, a')) return;
  const scrolls = target.matches && target.matches('pre, .scroll') && target.scrollWidth > target.clientWidth;
  if (scrolls && ['ArrowLeft', 'ArrowRight'].includes(key)) return;
  const does = {
    ArrowRight: () => move(1),
    ' ': () => move(1),
    j: () => move(1),
    ArrowLeft: () => move(-1),
    k: () => move(-1),
    ArrowDown: inside,
    ArrowUp: outside,
    Home: () => goTo(roots()[0]),
    End: () => goTo(roots().at(-1)),
    '[': () => stepBy('layer', -1),
    ']': () => stepBy('layer', 1),
    ',': () => stepBy('query', -1),
    '.': () => stepBy('query', 1),
    '-': () => stepBy('time', -1),
    '−': () => stepBy('time', -1),
    '+': () => stepBy('time', 1),
    '=': () => stepBy('time', 1),
    '?': showHelp,
    v: switchBook,
    t: switchTheme,
    g: () => {
      state.show = { value: 'gradient', gradient: 'product', product: 'value' }[state.show];
      render();
    },
  }[key.length === 1 ? key.toLowerCase() : key];
  const digit = /^[0-9]$/.test(key);
  if (!does && !digit) return;
  event.preventDefault();
  if (digit) {
    state.head = Number(key) - 1;
    render();
    $('said').textContent = headTold(state.head);
  } else does();
}

// ---- print: the whole walk, one step after the other ------------------------------------------------

function handout() {
  const before = { ...state };
  const sheets = roots().map(s => {
    state.step = s.key;
    return el('section', { className: 'sheet' }, stepPage(s).filter(Boolean));
  });
  Object.assign(state, before);
  $('step').replaceChildren(...sheets);
}

addEventListener('keydown', pressedKey);
addEventListener('hashchange', () => {
  if (location.hash !== link()) {
    readLink();
    render();
  }
});
addEventListener('beforeprint', handout);
addEventListener('afterprint', () => render());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => render());
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth !== width) {
    width = innerWidth;
    render();
  }
});
window.explain = { books, state, array, step, render, ready: false };
loadPictures(() => {
  readLink();
  render();
  window.explain.ready = true;
});
