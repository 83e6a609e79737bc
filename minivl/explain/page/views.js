// What is seen of a step. Each view is a function of the step, and returns cards.

const card = (title, ...inside) => el('section', { className: 'card' }, title ? el('h2', {}, title) : null, ...inside);
const step = key => book().steps.find(s => s.key === key);
const stepTitle = keys => keys.split(' & ').map(key => (step(key) || { title: key }).title).join(' and ');
const current = () => step(state.step) || book().steps[0];
const variantOf = s => s.variants[Math.min(state.layer, s.variants.length - 1)];

// ---- the source, the formula, the shapes -----------------------------------------------------------------------------------

// A line that is too long goes on further in than it began.
const indented = text => { const n = text.length - text.trimStart().length + 4; return `padding-left:${n}ch;text-indent:-${n}ch`; };

function sourceCard(s) {
  const parts = [];
  if (s.math) parts.push(el('div', { className: 'formula', tabindex: 0, role: 'group', 'aria-label': 'formula', html: s.math }));
  if (s.code) {
    const lines = s.code.lines.map(([number, text, hot]) => el('span', { className: hot ? 'l hot' : 'l' },
      el('span', { className: 'no' }, number ? String(number) : '⋮'), el('span', { html: text || '&nbsp;', style: indented(text) })));
    parts.push(el('p', { className: 'where' }, el('span', {}, `${s.code.file}:${s.code.line}`), el('span', {}, s.code.function)),
      el('pre', { tabindex: 0, role: 'group', 'aria-label': `source, ${s.code.file} line ${s.code.line}` }, lines));
  }
  const v = variantOf(s);
  if (v.axes && v.axes.length) parts.push(shapeLine(v.axes));
  if (s.ops) parts.push(el('details', {}, el('summary', {}, add(s.ops.map(o => o[1])) === 1 ? 'One op ran here' : `${add(s.ops.map(o => o[1]))} ops ran here`),
    el('p', { className: 'note' }, s.ops.map(([op, n]) => (n > 1 ? `${n} × ${op}` : op)).join(', '))));
  return parts.length ? card(s.part === 'backward' ? 'In the source: the derivative' : 'In the source', ...parts) : null;
}

const LETTERS = {
  B: 'examples in the batch', N: 'patches', T: 'words', C: 'features', H: 'heads', D: 'features of a head', V: 'pieces of the vocabulary',
  Q: 'questions', S: 'pixels', E: 'features', n: 'words of all texts that predict one', M: 'keys', 3: 'colours', 1: 'one',
};
function shapeLine(axes) {
  const told = axes.map(([letter]) => letter).filter((l, i, all) => all.indexOf(l) === i);
  const says = l => LETTERS[l] || (/^\d+C$/.test(l) ? 'features, wider' : l.split('+').map(p => LETTERS[p] || (p === '1' ? '[CLS]' : p)).join(' and '));
  return el('p', { className: 'shape' }, 'shape (', axes.map(([letter, size], i) => [i ? ', ' : '', el('b', {}, letter), letter === String(size) ? '' : ` = ${size}`]), ') ',
    el('span', { className: 'of' }, told.map(l => `${l} ${says(l)}`).join(', ')));
}

function sumsCard(s) {
  const v = variantOf(s);
  let head = null, sums = v.three || [], note = null, tolerance = 1e-4;
  if (s.sites && ['attention', 'pooler', 'scores', 'weights', 'mixed'].includes(s.kind)) {
    const found = attentionSums(s.kind, siteNow(s), layerNow(s));
    if (found) {
      [head, sums] = found; tolerance = 6e-3;
      note = `Head ${head + 1}. Worked out here from queries, keys and values kept in half precision: three digits agree.`;
    }
  }
  if (s.kind === 'mask') sums = maskSums(s);
  if (s.kind === 'heads') sums = headSums();
  if (s.kind === 'training') sums = trainingSums();
  if (s.kind === 'pixels' || s.kind === 'word-gradients') sums = gradientSums(s);
  if (!sums.length) return null;
  const earlier = !atEnd() && s.kind !== 'mask' ? el('p', { className: 'note' }, `Of the finished model; the slider stands at “${book().times[time()].label}”.`) : null;
  return card(sums.length === 1 ? 'One number, by hand' : sums.length === 2 ? 'Two numbers, by hand' : 'Three numbers, by hand', earlier,
    el('ol', { className: 'sums' }, sums.map(x => sumLine(x, tolerance))), note ? el('p', { className: 'note' }, note) : null);
}

// ---- tables for those who do not see the picture, or want the digits ---------------------------------------------------------

function asTable(caption, rows, columns, value, corner = '') {
  const details = el('details', { className: 'no-print' }, el('summary', {}, 'as a table'));
  details.ontoggle = () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(el('div', { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption }, el('table', {}, el('caption', { className: 'hidden' }, caption),
      el('thead', {}, el('tr', {}, el('td', {}, corner), columns.map(c => el('th', { scope: 'col' }, c)))),
      el('tbody', {}, rows.map((name, i) => el('tr', {}, el('th', { scope: 'row' }, name), columns.map((_, j) => el('td', {}, value(i, j)))))))));
  };
  return details;
}

// ---- tokens: words as chips, patches as tiles ----------------------------------------------------------------------------------

function tokenButton(ids, i, what, extra = null) {
  const id = ids[i], t = token(id), on = chosen(what, ids) === i;
  const set = () => { choose(what, ids, i); render(`${what}-${i}`); };
  const common = { 'aria-pressed': String(on), onclick: set, id: `${what}-${i}` };
  if (t.kind === 'patch') return el('button', { ...common, className: 'tile', 'aria-label': nameOf(id), title: nameOf(id) }, patchTile(t.place, 30, nameOf(id)));
  return el('button', { ...common, className: `chip ${t.pad ? 'pad' : t.kind}` }, nameOf(id), extra);
}

const tokenStrip = (ids, what, label) => (ids.length > 1 && ids.length <= 80
  ? el('div', { className: 'strip', role: 'group', 'aria-label': label }, ids.map((_, i) => tokenButton(ids, i, what))) : null);

// Words with a bar for each: how large a number is that belongs to it.
function wordBars(ids, numbers, told, most) {
  return el('div', { className: 'strip' }, ids.map((id, i) => el('span', { className: `chip ${token(id).pad ? 'pad' : token(id).kind}` }, nameOf(id),
    el('small', {}, told(numbers[i], i)), el('span', { className: 'bar' }, el('i', { style: `width:${Math.min(100, 100 * numbers[i] / most)}%` })))));
}

// ---- vectors: a row for each token -----------------------------------------------------------------------------------------------

function vectorsCard(s, title = null, forced = null) {
  const v = variantOf(s), name = v.name;
  if (!name) return null;
  const show = forced || state.show, t = s.parent || s.kind === 'backward' ? lastTime() : time();
  const value = array(`out/${name}`, t), grad = array(`grad/${name}`, lastTime());
  let a = show === 'value' ? value : grad;
  if (show === 'product' && value && grad) {
    const last = array(`out/${name}`, lastTime());
    a = { ...grad, data: grad.data.map((g, i) => g * last.data[i]), error: last.error * Math.max(...grad.data.map(Math.abs)) };
  }
  if (!a) return card(title, el('p', {}, show === 'value' ? 'These numbers are kept for the finished model only, to keep the page small.' : 'No gradient came back to here.'));
  const [R, C] = a.shape, largest = a.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
  const row = chosen('query', v.rows), read = el('p', { className: 'note', 'aria-live': 'off' }, ' ');
  const what = { value: 'value', gradient: 'gradient', product: 'value × gradient' }[show];
  const draw = matrix({
    rows: v.rows, columns: null, height: R, width: C, colour: (i, j) => signColour(a.data[i * C + j] / largest), chosen: [R > 1 ? row : -1, -1],
    label: `${what} of ${R} rows of ${C} features, from ${figure(-largest, 3)} to ${figure(largest, 3)}`, most: 600, tallest: R > 1 ? 15 : 30,
    pick: (i) => { choose('query', v.rows, i); render(); },
    over: at => { read.textContent = at ? `${nameOf(v.rows[at[0]])}, feature ${at[1] + 1}: ${figure(a.data[at[0] * C + at[1]])}` : ' '; },
  });
  const cut = v.features > C ? ` The first ${C} of ${v.features} features are shown.` : '';
  const early = s.parent && !atEnd() ? ' Of the finished model.' : '';
  const length = i => Math.sqrt(add([...a.data.slice(i * C, (i + 1) * C)].map(x => x * x)));
  const extremes = R > 1 ? lengths(v.rows, R, length, what) : el('p', { className: 'note' }, `Length ${figure(length(0), 3)}.`);
  return card(title || `${what[0].toUpperCase()}${what.slice(1)}s: a row for each ${R > 1 ? 'token' : 'vector'}, a column for each feature`, draw, read, signLegend(largest), extremes,
    el('p', { className: 'note' }, `Kept in 8 bits, off by at most ${figure(a.error, 2)}.${cut}${early}`),
    asTable(`${what}, first 12 features`, v.rows.map(nameOf), [...Array(Math.min(12, C)).keys()].map(j => `${j + 1}`), (i, j) => figure(a.data[i * C + j], 3)));
}

function lengths(rows, R, length, what) {
  const all = [...Array(R).keys()].map(length), order = [...all.keys()].sort((a, b) => all[b] - all[a]);
  return el('p', { className: 'says' }, `The longest row is that of ${nameOf(rows[order[0]])} (${figure(all[order[0]], 3)}), the shortest that of ${nameOf(rows[order[R - 1]])} (${figure(all[order[R - 1]], 3)}).`);
}

// ---- the first steps ----------------------------------------------------------------------------------------------------------------

function pictureView() {
  const e = book().example, read = el('p', { className: 'note' }, 'Point at a pixel to read it.'), image = thePicture(), size = 320;
  const c = canvas(size, size, `the picture, ${e.size} by ${e.size} pixels: ${e.text}`, pen => paintLit(pen, size, null, 1, 1));
  c.onmousemove = event => {
    const [x, y] = placeIn(c, event, e.size, e.size).map(Math.floor), o = (y * image.width + x) * 4;
    read.textContent = `pixel (${y + 1}, ${x + 1}): red ${image.data[o]}, green ${image.data[o + 1]}, blue ${image.data[o + 2]}`;
  };
  const channel = k => canvas(100, 100, `the ${['red', 'green', 'blue'][k]} of each pixel`, pen => {
    const S = image.width, f = 100 / S;
    for (let y = 0; y < S; y++) for (let x = 0; x < S; x++) {
      const v = image.data[(y * S + x) * 4 + k];
      pen.fillStyle = rgb([0, 1, 2].map(i => (i === k ? v : v * 0.12)));
      pen.fillRect(x * f, y * f, f + 0.5, f + 0.5);
    }
  });
  return [card('What the model sees', el('div', { className: 'row' }, el('figure', {}, c, el('figcaption', {}, read)),
    el('div', { className: 'smalls', style: 'flex-direction:column' }, [0, 1, 2].map(k => el('figure', {}, channel(k), el('figcaption', {}, ['red', 'green', 'blue'][k]))))))];
}

function textView() {
  const e = book().example;
  return [card('Pieces and their numbers', el('div', { className: 'strip' }, e.words.map((w, t) => el('span', { className: `chip ${t >= e.length ? 'pad' : t === 0 || t === e.length - 1 ? 'learned' : ''}` }, w, el('small', {}, String(e.ids[t]))))),
    el('p', { className: 'says' }, `“${e.text}” is ${e.length - 2} pieces; with start and end ${e.length} tokens${e.words.length > e.length ? `, and ${e.words.length - e.length} pads` : ''}.`))];
}

function patchesView(s) {
  const rows = variantOf(s).rows.filter(id => token(id).kind === 'patch'), e = book().example, i = chosen('query', rows), [r, c] = e.grid;
  return [card('The patches', el('div', { className: 'row' },
    el('figure', {}, litPicture(288, null, `the picture cut into ${r} rows of ${c} patches; patch ${i + 1} is chosen`, { grid: true, ring: token(rows[i]).place, pick: p => { choose('query', rows, rows.findIndex(id => token(id).place === p)); render(); } }),
      el('figcaption', {}, 'Press a patch to choose it.')),
    el('figure', {}, patchTile(token(rows[i]).place, 150, nameOf(rows[i])), el('figcaption', {}, `${nameOf(rows[i])}: ${e.size / c} × ${e.size / r} pixels in three colours, ${3 * (e.size / c) * (e.size / r)} numbers`))),
  tokenStrip(rows, 'query', 'the patches in reading order')), vectorsCard(s)];
}

const wordsView = s => [card('Each piece looks up its row', el('div', { className: 'strip' }, variantOf(s).rows.map(id => el('span', { className: `chip ${token(id).pad ? 'pad' : ''}` }, nameOf(id), el('small', {}, `row ${book().example.ids[token(id).place]}, place ${token(id).place + 1}`))))), vectorsCard(s)];

// ---- masks ------------------------------------------------------------------------------------------------------------------------------

function whyNot(m, number, i, j) {
  const q = token(m.queries[i]), k = token(m.keys[j]), whole = array(`mask/${number}`, lastTime());
  const from = nameOf(m.queries[i]), to = nameOf(m.keys[j]), T = m.keys.length;
  if (whole.data[i * T + j]) return `Yes: “${from}” may look at “${to}”${i === j ? ', itself' : ''}.`;
  const by = m.parts.filter((_, p) => !array(`mask/${number}/${p}`, lastTime()).data[i * T + j]).map(p => p.name);
  const reasons = [];
  if (k.pad) reasons.push(`“${to}” is no word, it only fills the row`);
  if (j > i && m.queries.length === m.keys.length) reasons.push(k.kind === 'learned' ? `“${to}” stands behind all words: if words saw it, they would see through it what comes later`
    : `“${to}” comes later: “${from}” must help to predict what follows without having seen it`);
  if (!reasons.length) reasons.push(q.pad ? `“${from}” itself is a pad` : `they do not belong to the same group`);
  return `No: ${reasons.join('; and ')}. ${by.length ? `Forbidden by ${by.join(' and by ')}.` : ''}`;
}

// The pair that is asked about: as chosen, or at first one that is forbidden.
function pairOf(m, whole) {
  const i = chosen('query', m.queries), T = m.keys.length;
  if (state.key[kindOf(m.keys)] === undefined) {
    const no = [...Array(T).keys()].filter(j => !whole.data[i * T + j]);
    if (no.length) choose('key', m.keys, no[Math.min(1, no.length - 1)]);
  }
  return [i, chosen('key', m.keys)];
}

function maskView(s) {
  const m = book().masks[s.mask], whole = array(`mask/${s.mask}`, lastTime()), [R, T] = whole.shape, [i, j] = pairOf(m, whole);
  const why = el('p', { className: 'says', id: 'why', 'aria-live': 'polite' }, whyNot(m, s.mask, i, j));
  const drawn = (a, most, at) => matrix({
    rows: m.queries, columns: m.keys, height: R, width: T, colour: () => shareColour(2.5), forbidden: (x, y) => !a.data[x * T + y], chosen: at, most,
    label: `mask of ${R} by ${T} pairs, ${add([...a.data])} allowed`, pick: (x, y) => { choose('query', m.queries, x); choose('key', m.keys, y); render(); },
    over: at => { why.textContent = at ? whyNot(m, s.mask, ...at) : whyNot(m, s.mask, i, j); },
  });
  const allowed = add([...whole.data]);
  const cards = [card('May the row look at the column?', drawn(whole, 480, [i, j]), why,
    el('p', { className: 'note' }, `Filled: it may. Crossed out: it may not. ${allowed} of ${R * T} pairs are allowed.`),
    asTable('mask', m.queries.map(nameOf), m.keys.map(nameOf), (x, y) => (whole.data[x * T + y] ? 'yes' : 'no')))];
  if (m.parts.length) cards.push(card(m.parts.length > 1 ? 'What it is made of' : 'Where it comes from', el('div', { className: 'row' }, m.parts.map((part, p) => el('figure', {},
    m.parts.length > 1 && !part.whole ? drawn(array(`mask/${s.mask}/${p}`, lastTime()), 290, [-1, -1]) : null,
    el('figcaption', {}, el('code', {}, part.told), el('br'), part.says, el('br'), el('span', { className: 'note' }, part.place)))))));
  return cards;
}

function maskSums(s) {
  const m = book().masks[s.mask], whole = array(`mask/${s.mask}`, lastTime()), T = m.keys.length, [i, j] = pairOf(m, whole);
  const pairs = [[i, j], [i, i], [i, T - 1]].filter((p, n, all) => all.findIndex(q => q[0] === p[0] && q[1] === p[1]) === n);
  for (const extra of [[0, T - 1], [0, 0]]) if (pairs.length < 3) pairs.push(extra);
  return pairs.map(([a, b]) => ({ at: { name: `M of ${nameOf(m.queries[a])} and ${nameOf(m.keys[b])}` }, form: 'masked', value: whole.data[a * T + b] ? 0 : -Infinity, from: whyNot(m, s.mask, a, b) }));
}

// ---- losses -------------------------------------------------------------------------------------------------------------------------------

const pieceName = id => book().pieces[id];

function choicesView(s) {
  const c = s.choices[time()], e = book().example;
  const rows = c.rows.map(r => {
    const likely = r.top.filter(([id, p], i) => i === 0 || p >= 0.005 || id === r.truth), shown = likely.some(([id]) => id === r.truth) ? likely : [...likely.slice(0, 4), [r.truth, r.p]];
    return el('tr', {}, el('th', { scope: 'row' }, nameOf(r.row)),
      el('td', { className: 'left' }, el('span', { className: 'expects' }, shown.map(([id, p]) => el('span', { className: id === r.truth ? 'true' : '' }, `${id === r.truth ? '✓ ' : ''}${pieceName(id)} ${p.toFixed(2)}`, el('i', { style: `width:${100 * p}%` }))))),
      el('td', {}, r.rank === 1 ? '1st' : `${r.rank}.`), el('td', {}, figure(r.term, 3)), el('td', { className: 'left' }, el('span', { className: 'meter', style: `width:${Math.min(6, r.term)}rem` })));
  });
  const own = add(c.rows.map(r => r.term)), worst = c.rows.reduce((a, b) => (b.term > a.term ? b : a));
  return [card('What the model expects next', el('div', { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'expected words' }, el('table', {},
    el('thead', {}, el('tr', {}, el('th', { scope: 'col', className: 'left' }, 'behind'), el('th', { scope: 'col', className: 'left' }, 'it expects (✓ and a frame: what really follows)'), el('th', { scope: 'col' }, 'place'), el('th', { scope: 'col' }, '−log p'), el('td'))),
    el('tbody', {}, rows))),
  el('p', { className: 'says' }, worst.term < 0.05 ? 'Nothing here surprises the model.' : `What surprised it most is “${pieceName(worst.truth)}” behind “${nameOf(worst.row)}”: it had given it ${(100 * worst.p).toFixed(worst.p < 0.01 ? 2 : 0)} %.`),
  el('p', {}, `The ${c.rows.length} words of this text: ${figure(own)}; ${c.others[0]} words of the other ${book().about.rows - 1} texts in the batch: ${figure(c.others[1])}. `,
    el('b', {}, `Loss: (${figure(own)} + ${figure(c.others[1])}) / ${c.n} = ${figure((own + c.others[1]) / c.n)}`), Math.abs((own + c.others[1]) / c.n - c.loss) < 1e-4 * Math.max(1, c.loss) ? '.' : ` (with label smoothing: ${figure(c.loss)}).`))];
}

function pairShares(a, how) {
  const B = a.shape[0];
  const soft = get => { const x = [...Array(B).keys()].map(get), top = Math.max(...x), e = x.map(v => Math.exp(v - top)), sum = add(e); return e.map(v => v / sum); };
  if (how === 'sigmoid') { const p = [...Array(B).keys()].map(i => [...Array(B).keys()].map(j => 1 / (1 + Math.exp(-a.data[i * B + j])))); return { rows: p, columns: p }; }
  const rows = [...Array(B).keys()].map(i => soft(j => a.data[i * B + j])), down = [...Array(B).keys()].map(j => soft(i => a.data[i * B + j]));
  return { rows, columns: rows.map((_, i) => down.map(column => column[i])) };
}

function pairsView(s) {
  const a = array(`pairs/${s.key}`), B = a.shape[0], { rows, columns } = pairShares(a, s.pairs.how), others = book().example.others;
  const side = id => (token(id).kind === 'picture' ? el('img', { src: others[token(id).row].picture, alt: nameOf(id) }) : el('span', {}, shortened(others[token(id).row].text, 40)));
  const softmax = s.pairs.how === 'softmax', first = nameOf(s.pairs.rows[0]).split(' ')[0], other = nameOf(s.pairs.columns[0]).split(' ')[0];
  const body = s.pairs.rows.map((id, i) => el('tr', {}, el('th', { scope: 'row' }, side(id)), s.pairs.columns.map((_, j) => {
    const p = rows[i][j], back = shareColour(p * 8);
    return el('td', { className: i === j ? 'true' : '', style: `background:${rgb(back)};color:${inkOn(back)}` }, `${p.toFixed(2)}`, el('br'), el('small', {}, figure(a.data[i * B + j], 3)));
  })));
  const right = [...Array(B).keys()].filter(i => Math.max(...rows[i]) === rows[i][i]).length;
  return [card(softmax ? `Each ${first} chooses among the texts` : 'Each pair by itself', el('div', { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'pictures and texts' }, el('table', { className: 'pairs' },
    el('caption', { className: 'hidden' }, `share that each ${first} gives to each ${other}; small: the logit`), el('thead', {}, el('tr', {}, el('td'), s.pairs.columns.map(id => el('th', { scope: 'col' }, side(id))))), el('tbody', {}, body))),
  el('p', { className: 'note' }, `Large: ${softmax ? `the share of the row, which adds up to 1` : 'the probability that the two belong together'}. Small: the logit, the cosine times ${softmax ? 'e to the temperature' : 'a scale, plus a bias'}. Framed: the truth.`),
  el('p', { className: 'says' }, `${right} of ${B} ${first}s prefer their own ${other}. This one gives it ${rows[0][0].toFixed(3)}; −log ${figure(rows[0][0])} = ${figure(-Math.log(rows[0][0]))}.`,
    softmax ? ` The other way, ${other} 1 gives its ${first} ${columns[0][0].toFixed(3)}: ${figure(-Math.log(columns[0][0]))}.` : ''))];
}

function scalarView(s) {
  const v = variantOf(s);
  return [card('One number', el('p', { style: 'font:600 3rem/1.1 var(--serif);margin:.2rem 0' }, figure(v.value[time()])), book().times.length > 1 ? el('p', { className: 'note' }, `At first, untrained: ${figure(v.value[0])}.`) : null,
    el('p', { className: 'says' }, ...Object.entries(book().times[time()].losses).map(([name, x], i) => `${i ? ' · ' : ''}${name.replaceAll('_', ' ')} ${figure(x)}`)))];
}
