// Where one is on the walk, and the links that keep it.

const VIEWS = {
  overview: overviewView,
  picture: pictureView,
  text: textView,
  patches: patchesView,
  tubes: patchesView,
  words: wordsView,
  mask: maskView,
  attention: s => [...lookCards(s), vectorsCard(s)],
  pooler: s => [...lookCards(s), vectorsCard(s)],
  asks: asksView,
  scores: scoresView,
  weights: s => lookCards(s),
  mixed: mixedView,
  choices: choicesView,
  pairs: pairsView,
  terms: termsView,
  scalar: scalarView,
  backward: backwardView,
  pixels: pixelsView,
  'word-gradients': wordGradientsView,
  heads: headsView,
  training: trainingView,
  versus: versusView,
  mlp: s => [vectorsCard(s)],
  side: s => [vectorsCard(s)],
  map: s => [vectorsCard(s)],
  stream: s => [vectorsCard(s)],
  table: s => [vectorsCard(s, 'A row of the table: one picture, a column for each text')],
  logits: s => [vectorsCard(s, 'A row for each word, a column for each piece that could follow it')],
  vector: s => [vectorsCard(s)],
};
const PARTS = [
  ['before', 'Before the model'],
  ['forward', 'Forward'],
  ['loss', 'The loss'],
  ['backward', 'Backward'],
  ['after', 'Looking again'],
];
const $ = id => document.getElementById(id);

// ---- where one is ------------------------------------------------

const rootOf = s => (s.parent ? rootOf(step(s.parent)) : s);
const childrenOf = s => book().steps.filter(c => c.parent === s.key);
const isOpen = s => {
  let c = current();
  while (c) {
    if (c.key === s.key) return true;
    c = c.parent ? step(c.parent) : null;
  }
  return false;
};
const roots = () => book().steps.filter(s => s.depth === 0);

// The next step on the walk: the next one on the same level, or, behind the last of an inner level, what follows outside.
function nextOf(s, by) {
  const level = s.parent ? childrenOf(step(s.parent)) : roots(),
    i = level.findIndex(x => x.key === s.key) + by;
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
const outside = () => {
  if (current().parent) goTo(step(current().parent));
};
const whereTold = () => {
  const s = current(),
    level = s.parent ? childrenOf(step(s.parent)) : roots(),
    i = level.findIndex(x => x.key === s.key) + 1;
  return s.parent ? `inside, ${i} of ${level.length}` : `step ${i} of ${level.length}`;
};

function link(changes = {}) {
  const s = { ...state, ...changes },
    target = book().steps.find(x => x.key === s.step),
    parts = [`step=${s.step}`];
  if (s.layer) parts.push(`layer=${s.layer + 1}`);
  if (s.head >= 0) parts.push(`head=${s.head + 1}`);
  if (s.site) parts.push(`site=${s.site + 1}`);
  const ids = target ? queryIds(target) : null,
    kept = ids && s.query[kindOf(ids)];
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
  const found = Object.fromEntries(
    location.hash
      .slice(1)
      .split('&')
      .map(p => p.split('=')),
  );
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
  const ids = queryIds(current()),
    q = whole('query', 1);
  if (ids && q !== null) choose('query', ids, q);
}
