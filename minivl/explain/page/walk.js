// Going through the page: keys, links, sliders, the outline; and drawing a step anew whenever something is chosen.

const VIEWS = {
  overview: overviewView, picture: pictureView, text: textView, patches: patchesView, words: wordsView, mask: maskView,
  attention: s => [...lookCards(s), vectorsCard(s)], pooler: s => [...lookCards(s), vectorsCard(s)], asks: asksView, scores: scoresView,
  weights: s => lookCards(s), mixed: mixedView, choices: choicesView, pairs: pairsView, scalar: scalarView, backward: backwardView,
  pixels: pixelsView, 'word-gradients': wordGradientsView, heads: headsView, training: trainingView, versus: versusView,
  mlp: s => [vectorsCard(s)], side: s => [vectorsCard(s)], map: s => [vectorsCard(s)], stream: s => [vectorsCard(s)], vector: s => [vectorsCard(s)],
};
const PARTS = [['before', 'Before the model'], ['forward', 'Forward'], ['loss', 'The loss'], ['backward', 'Backward'], ['after', 'Looking again']];
const $ = id => document.getElementById(id);

// ---- where one is --------------------------------------------------------------------------------------------------------------

const rootOf = s => (s.parent ? rootOf(step(s.parent)) : s);
const childrenOf = s => book().steps.filter(c => c.parent === s.key);
const isOpen = s => { let c = current(); while (c) { if (c.key === s.key) return true; c = c.parent ? step(c.parent) : null; } return false; };
const roots = () => book().steps.filter(s => s.depth === 0);

// The next step on the walk: the next one on the same level, or, behind the last of an inner level, what follows outside.
function nextOf(s, by) {
  const level = s.parent ? childrenOf(step(s.parent)) : roots(), i = level.findIndex(x => x.key === s.key) + by;
  if (i >= 0 && i < level.length) return level[i];
  return s.parent ? (by > 0 ? nextOf(step(s.parent), 1) : step(s.parent)) : s;
}
function goTo(s, focus = null) {
  if (!s || s.key === state.step) return;
  state.step = s.key;
  state.site = 0;
  render(focus);
  $('step').scrollTop = 0;
  if (getComputedStyle(document.body).display === 'block') scrollTo(0, 0);
  $('said').textContent = `${s.title}. ${whereTold()}`;
}
const move = by => goTo(nextOf(current(), by));
const inside = () => goTo(childrenOf(current())[0]);
const outside = () => { if (current().parent) goTo(step(current().parent)); };
const whereTold = () => {
  const s = current(), level = s.parent ? childrenOf(step(s.parent)) : roots(), i = level.findIndex(x => x.key === s.key) + 1;
  return s.parent ? `inside, ${i} of ${level.length}` : `step ${i} of ${level.length}`;
};

function link(changes = {}) {
  const s = { ...state, ...changes }, target = book().steps.find(x => x.key === s.step), parts = [`step=${s.step}`];
  if (s.layer) parts.push(`layer=${s.layer + 1}`);
  if (s.head >= 0) parts.push(`head=${s.head + 1}`);
  if (s.site) parts.push(`site=${s.site + 1}`);
  const ids = target ? queryIds(target) : null, kept = ids && s.query[kindOf(ids)];
  if (kept !== undefined && kept !== null) parts.push(`query=${kept + 1}`);
  if (s.time >= 0 && s.time < lastTime()) parts.push(`time=${book().times[s.time].step}`);
  if (s.show !== 'value') parts.push(`show=${s.show}`);
  if (s.book) parts.push(`model=${s.book + 1}`);
  return `#${parts.join('&')}`;
}
function queryIds(s) {
  if (s.sites && s.sites.length) return site(entryNow(s).site).queries;
  if (s.mask !== undefined) return book().masks[s.mask].queries;
  const v = s.variants[Math.min(state.layer, s.variants.length - 1)];
  return v && v.rows ? v.rows : null;
}
function readLink() {
  const found = Object.fromEntries(location.hash.slice(1).split('&').map(p => p.split('=')));
  const whole = (name, least) => (/^\d+$/.test(found[name] || '') ? Math.max(0, Number(found[name]) - least) : null);
  state.book = Math.min(whole('model', 1) ?? 0, books.length - 1);
  if (found.step && step(found.step)) state.step = found.step;
  else if (!step(state.step)) state.step = 'overview';
  state.layer = whole('layer', 1) ?? 0;
  state.head = whole('head', 1) ?? -1;
  state.site = whole('site', 1) ?? 0;
  state.show = ['gradient', 'product'].includes(found.show) ? found.show : 'value';
  const t = found.time === undefined ? -1 : book().times.findIndex(x => String(x.step) === found.time);
  state.time = t === lastTime() ? -1 : t;
  const ids = queryIds(current()), q = whole('query', 1);
  if (ids && q !== null) choose('query', ids, q);
}

// ---- controls -------------------------------------------------------------------------------------------------------------------------

function slider(id, label, value, most, told, set) {
  const input = el('input', { type: 'range', id, min: 0, max: most, step: 1, 'aria-valuetext': told, oninput: e => { set(Number(e.target.value)); render(id); } });
  input.value = value;
  return el('div', { className: 'control' }, el('label', { for: id }, label), input, el('output', { for: id }, told));
}
function pressed(id, label, options, value, set) {
  return el('div', { className: 'control' }, el('span', { id: `${id}-label` }, label), el('div', { className: 'group', role: 'group', 'aria-labelledby': `${id}-label` },
    options.map(([v, text]) => el('button', { id: `${id}-${v}`, 'aria-pressed': String(v === value), onclick: () => { set(v); render(`${id}-${v}`); } }, text))));
}

function layerCount(s) {
  if (s.sites && s.sites.length) return layersOf(s).filter(l => site(siteNow(s)).kept.includes(l)).length;
  return s.variants.length;
}
function controls(s) {
  const found = [], looks = s.sites && s.sites.length;
  if (looks && s.sites.length > 1) found.push(pressed('site', 'looking at', s.sites.map((e, i) => { const n = site(e.site); return [i, n.through ? 'the picture' : kindOf(n.queries) === kindOf(n.keys) ? 'each other' : `the ${manyOf(n.keys)}`]; }), Math.min(state.site, s.sites.length - 1), v => { state.site = v; }));
  const layers = layerCount(s);
  if (layers > 1) found.push(slider('layer', 'layer', Math.min(state.layer, layers - 1), layers - 1, `${Math.min(state.layer, layers - 1) + 1} of ${layers}`, v => { state.layer = v; }));
  if (looks) {
    const H = site(siteNow(s)).heads, single = ['asks', 'scores', 'mixed'].includes(s.kind), head = Math.min(single ? Math.max(0, state.head) : state.head, H - 1);
    found.push(slider('head', 'head', head + (single ? 0 : 1), single ? H - 1 : H, head < 0 ? 'mean of all' : `${head + 1} of ${H}`, v => { state.head = v - (single ? 0 : 1); }));
  }
  const ids = queryIds(s);
  if (ids && ids.length > 1 && s.kind !== 'backward') found.push(slider('query', looks || s.mask !== undefined ? 'query' : 'token', chosen('query', ids), ids.length - 1, nameOf(ids[chosen('query', ids)]), v => choose('query', ids, v)));
  if (s.mask !== undefined) { pairOf(book().masks[s.mask], array(`mask/${s.mask}`, lastTime())); const keys = book().masks[s.mask].keys; found.push(slider('key', 'key', chosen('key', keys), keys.length - 1, nameOf(keys[chosen('key', keys)]), v => choose('key', keys, v))); }
  if (lastTime() > 0 && !['picture', 'text', 'mask', 'heads', 'versus'].includes(s.kind)) found.push(slider('time', 'model', time(), lastTime(), book().times[time()].label, v => { state.time = v === lastTime() ? -1 : v; }));
  if (s.kind === 'overview' || ((s.variants[0].name || looks) && s.kind !== 'backward' && s.part !== 'loss' && !['asks', 'scores', 'mixed'].includes(s.kind)))
    found.push(pressed('show', 'show', s.kind === 'overview' ? [['value', 'forward'], ['gradient', 'backward']] : [['value', 'value'], ['gradient', 'gradient'], ['product', 'value × gradient']], s.kind === 'overview' && state.show === 'product' ? 'gradient' : state.show, v => { state.show = v; }));
  return found.length ? el('div', { className: 'controls' }, found) : null;
}

// ---- drawing -----------------------------------------------------------------------------------------------------------------------------

function crumbs(s) {
  const chain = [];
  for (let c = s.parent ? step(s.parent) : null; c; c = c.parent ? step(c.parent) : null) chain.unshift(c);
  const part = PARTS.find(([name]) => name === rootOf(s).part);
  return el('p', { className: 'crumbs' }, part ? part[1] : '', chain.map(c => [' › ', el('a', { href: link({ step: c.key }) }, c.title)]));
}

function stepPage(s) {
  const wide = ['overview', 'versus', 'training', 'heads'].includes(s.kind);
  const cards = VIEWS[s.kind](s).filter(Boolean), beside = [sourceCard(s), sumsCard(s), childrenCard(s)].filter(Boolean);
  const question = quizCard(s);
  const body = question && !question.done ? el('div', { className: 'columns' }, el('div', {}, question.card), el('div', {}, sourceCard(s)))
    : wide && beside.length ? el('div', { className: 'columns wide' }, el('div', {}, question ? question.card : null, cards), el('div', {}, beside))
    : wide ? el('div', { className: 'columns', style: 'grid-template-columns:minmax(0,1fr)' }, el('div', {}, question ? question.card : null, cards))
      : el('div', { className: 'columns' }, el('div', {}, question ? question.card : null, cards), el('div', {}, beside));
  return [crumbs(s), el('h1', {}, s.title), el('p', { className: 'lead' }, s.lead), controls(s), body];
}

function childrenCard(s) {
  const inner = childrenOf(s);
  return inner.length ? card('Inside this step', el('ol', { style: 'margin:.2rem 0;padding-left:1.3rem' }, inner.map(c => el('li', {}, el('a', { href: link({ step: c.key }) }, c.title)))), el('p', { className: 'note no-print' }, el('kbd', {}, '↓'), ' goes in, ', el('kbd', {}, '↑'), ' comes out again')) : null;
}

function outlineList(steps) {
  return el('ol', {}, steps.map(s => el('li', { className: isOpen(s) ? 'open' : '' }, el('a', { href: link({ step: s.key, site: 0 }), 'aria-current': s.key === state.step ? 'step' : null }, s.title),
    isOpen(s) && childrenOf(s).length ? outlineList(childrenOf(s)) : null)));
}
function outline() {
  const nav = $('outline'), at = nav.scrollTop;
  nav.replaceChildren(...PARTS.flatMap(([part, title]) => { const some = roots().filter(s => s.part === part); return some.length ? [el('h2', {}, title), outlineList(some)] : []; }));
  nav.scrollTop = at;
  const here = nav.querySelector('[aria-current]');
  if (here && nav.clientHeight && (here.offsetTop < nav.scrollTop + 40 || here.offsetTop > nav.scrollTop + nav.clientHeight - 60)) nav.scrollTop = here.offsetTop - nav.clientHeight / 2;
}

function foot(s) {
  const level = s.parent ? childrenOf(step(s.parent)) : roots(), i = level.findIndex(x => x.key === s.key), inner = childrenOf(s).length;
  $('foot').replaceChildren(
    el('button', { id: 'back', onclick: () => move(-1), disabled: s.key === 'overview' }, '← Back'),
    s.parent ? el('button', { id: 'out', onclick: outside }, '↑ Out') : el('button', { id: 'in', onclick: inside, disabled: !inner }, '↓ Inside'),
    el('div', { className: 'track', 'aria-hidden': 'true' }, el('i', { style: `width:${100 * (i + 1) / level.length}%` })),
    el('span', { className: 'count' }, whereTold()),
    el('button', { id: 'next', onclick: () => move(1), disabled: nextOf(s, 1).key === s.key }, 'Next →'));
}

function head() {
  const about = book().about;
  $('model').textContent = `· ${about.model}`;
  $('sentence').textContent = `“${book().example.text}”`;
  const theme = document.documentElement.dataset.theme || 'auto';
  $('tools').replaceChildren(
    el('button', { id: 'contents', className: 'narrow-only', 'aria-expanded': String($('outline').classList.contains('shown')), onclick: () => { $('outline').classList.toggle('shown'); render('contents'); } }, 'Steps'),
    ...(books.length > 1 ? [el('button', { id: 'versus', onclick: switchBook }, `show ${books[1 - state.book].about.model}${books[0].about.model === books[1].about.model ? ` (${books[1 - state.book].about.run})` : ''}`)] : []),
    el('button', { id: 'theme', onclick: switchTheme, 'aria-label': `colours: ${theme}; change` }, { auto: '◐ auto', light: '☀ light', dark: '☾ dark' }[theme]),
    el('button', { id: 'keys', onclick: showHelp, 'aria-label': 'keys' }, '?'));
}

let drawn = '';
function render(focus = null) {
  const s = current(), main = $('step'), at = main.scrollTop, page = scrollY, same = drawn === s.key;
  state.step = s.key;
  if (s.variants.length && state.layer >= Math.max(1, layerCount(s))) state.layer = Math.max(1, layerCount(s)) - 1;
  const open = same ? [...main.querySelectorAll('details[open] > summary')].map(x => x.textContent) : [];
  main.replaceChildren(...stepPage(s).filter(Boolean));
  for (const summary of main.querySelectorAll('summary')) if (open.includes(summary.textContent)) summary.parentElement.open = true;
  head(); outline(); foot(s);
  document.title = `${s.title} · minivl explain ${book().about.model}`;
  if (same) { main.scrollTop = at; if (getComputedStyle(document.body).display === 'block') scrollTo(0, page); }
  drawn = s.key;
  const hash = link();
  if (location.hash !== hash) history.replaceState(null, '', hash);
  if (focus && $(focus)) $(focus).focus({ preventScroll: true });
}

function switchBook() {
  if (books.length < 2) return;
  const was = current();
  state.book = 1 - state.book;
  const same = book().steps.find(s => s.key === was.key) || book().steps.find(s => s.title === was.title) || book().steps.find(s => s.kind === was.kind && s.depth === was.depth);
  state.step = same ? same.key : 'overview';
  state.time = -1;
  render('versus');
  $('said').textContent = `now ${book().about.model}, ${current().title}`;
}
function switchTheme() {
  const order = ['auto', 'light', 'dark'], root = document.documentElement, next = order[(order.indexOf(root.dataset.theme || 'auto') + 1) % 3];
  if (next === 'auto') delete root.dataset.theme; else root.dataset.theme = next;
  render('theme');
}

const KEYS = [
  ['→ Space J', 'the next step'], ['← K', 'the step before'], ['↓ ↑', 'look inside a step, come out again'], ['Home End', 'the first and the last step'],
  ['1 … 9', 'this head; 0 the mean of all heads'], [', .', 'the query before, the next query'], ['[ ]', 'the layer below, the layer above'], ['− +', 'an earlier, a later model'],
  ['G', 'value, gradient, value × gradient'], ['V', 'the other model, if there are two'], ['T', 'light, dark, or as the system has it'], ['?', 'these keys'],
];
function showHelp() {
  const dialog = $('help');
  dialog.replaceChildren(el('h2', { id: 'help-title', style: 'margin:0' }, 'Keys'), el('dl', {}, KEYS.flatMap(([keys, what]) => [el('dt', {}, keys.split(' ').map((k, i) => [i ? ' ' : '', k === '…' ? k : el('kbd', {}, k)])), el('dd', {}, what)])),
    el('p', { className: 'note' }, 'The address keeps the step and all that is chosen: copy it to show somebody else this very view. Print gives a handout of the whole walk.'),
    el('button', { onclick: () => dialog.close(), autofocus: true }, 'Close'));
  dialog.showModal();
}

function stepBy(name, by) {
  const s = current();
  if (name === 'layer') state.layer = Math.max(0, Math.min(layerCount(s) - 1, state.layer + by));
  if (name === 'query') { const ids = queryIds(s); if (ids) choose('query', ids, chosen('query', ids) + by); }
  if (name === 'time') { const t = Math.max(0, Math.min(lastTime(), time() + by)); state.time = t === lastTime() ? -1 : t; }
  render();
}

function pressedKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  const key = event.key, target = event.target, typing = target.matches && target.matches('input[type=range]');
  if (typing && ['ArrowLeft', 'ArrowRight', 'ArrowUp', 'ArrowDown', 'Home', 'End', 'PageUp', 'PageDown'].includes(key)) return;
  if (key === ' ' && target.matches && target.matches('button, summary, a')) return;
  const scrolls = target.matches && target.matches('pre, .scroll') && target.scrollWidth > target.clientWidth;
  if (scrolls && ['ArrowLeft', 'ArrowRight'].includes(key)) return;
  const does = {
    ArrowRight: () => move(1), ' ': () => move(1), j: () => move(1), ArrowLeft: () => move(-1), k: () => move(-1), ArrowDown: inside, ArrowUp: outside,
    Home: () => goTo(roots()[0]), End: () => goTo(roots().at(-1)), '[': () => stepBy('layer', -1), ']': () => stepBy('layer', 1), ',': () => stepBy('query', -1), '.': () => stepBy('query', 1),
    '-': () => stepBy('time', -1), '−': () => stepBy('time', -1), '+': () => stepBy('time', 1), '=': () => stepBy('time', 1), '?': showHelp, v: switchBook, t: switchTheme,
    g: () => { state.show = { value: 'gradient', gradient: 'product', product: 'value' }[state.show]; render(); },
  }[key.length === 1 ? key.toLowerCase() : key];
  const digit = /^[0-9]$/.test(key);
  if (!does && !digit) return;
  event.preventDefault();
  if (digit) { state.head = Number(key) - 1; render(); $('said').textContent = headTold(state.head); } else does();
}

// ---- print: the whole walk, one step after the other --------------------------------------------------------------------------------------

function handout() {
  const before = { ...state };
  const sheets = roots().map(s => { state.step = s.key; return el('section', { className: 'sheet' }, stepPage(s).filter(Boolean)); });
  Object.assign(state, before);
  $('step').replaceChildren(...sheets);
}

addEventListener('keydown', pressedKey);
addEventListener('hashchange', () => { if (location.hash !== link()) { readLink(); render(); } });
addEventListener('beforeprint', handout);
addEventListener('afterprint', () => render());
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => render());
let width = innerWidth;
addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; render(); } });
window.explain = { books, state, array, step, render, ready: false };
loadPictures(() => { readLink(); render(); window.explain.ready = true; });
