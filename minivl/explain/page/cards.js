// The cards that a step is shown on: its source, its numbers by hand, its vectors, and tables of all that is drawn.

const card = (title, ...inside) => el('section', { className: 'card' }, title ? el('h2', {}, title) : null, ...inside);
const step = key => book().steps.find(s => s.key === key);
const stepTitle = keys =>
  keys
    .split(' & ')
    .map(key => (step(key) || { title: key }).title)
    .join(' and ');
const current = () => step(state.step) || book().steps[0];
const variantOf = s => s.variants[Math.min(state.layer, s.variants.length - 1)];

// ---- the source, the formula, the shapes ------------------------------------------------

// A line that is too long goes on further in than it began.
const indented = text => {
  const n = text.length - text.trimStart().length + 4;
  return `padding-left:${n}ch;text-indent:-${n}ch`;
};

function sourceCard(s) {
  const parts = [];
  if (s.math) parts.push(el('div', { className: 'formula', tabindex: 0, role: 'group', 'aria-label': 'formula', html: s.math }));
  if (s.code) {
    const lines = s.code.lines.map(([number, text, hot]) =>
      el(
        'span',
        { className: hot ? 'l hot' : 'l' },
        el('span', { className: 'no' }, number ? String(number) : '⋮'),
        el('span', { html: text || '&nbsp;', style: indented(text) }),
      ),
    );
    parts.push(
      el('p', { className: 'where' }, el('span', {}, `${s.code.file}:${s.code.line}`), el('span', {}, s.code.function)),
      el('pre', { tabindex: 0, role: 'group', 'aria-label': `source, ${s.code.file} line ${s.code.line}` }, lines),
    );
  }
  const v = variantOf(s);
  if (v.axes && v.axes.length) parts.push(shapeLine(v.axes));
  if (s.ops)
    parts.push(
      el(
        'details',
        {},
        el('summary', {}, add(s.ops.map(o => o[1])) === 1 ? 'One op ran here' : `${add(s.ops.map(o => o[1]))} ops ran here`),
        el('p', { className: 'note' }, s.ops.map(([op, n]) => (n > 1 ? `${n} × ${op}` : op)).join(', ')),
      ),
    );
  return parts.length ? card(s.part === 'backward' ? 'In the source: the derivative' : 'In the source', ...parts) : null;
}

const LETTERS = {
  B: 'examples in the batch',
  N: 'patches',
  T: 'words',
  C: 'features',
  H: 'heads',
  D: 'features of a head',
  V: 'pieces of the vocabulary',
  Q: 'questions',
  S: 'pixels',
  F: 'frames',
  E: 'features',
  n: 'words of all texts that predict one',
  M: 'keys',
  3: 'colours',
  1: 'one',
};
function shapeLine(axes) {
  const told = axes.map(([letter]) => letter).filter((l, i, all) => all.indexOf(l) === i);
  const says = l =>
    (l === 'N' && theClip() ? 'patches and tubes' : LETTERS[l]) ||
    (/^\d+C$/.test(l)
      ? 'features, wider'
      : l
          .split('+')
          .map(p => LETTERS[p] || (p === '1' ? '[CLS]' : p))
          .join(' and '));
  return el(
    'p',
    { className: 'shape' },
    'shape (',
    axes.map(([letter, size], i) => [i ? ', ' : '', el('b', {}, letter), letter === String(size) ? '' : ` = ${size}`]),
    ') ',
    el('span', { className: 'of' }, told.map(l => `${l} ${says(l)}`).join(', ')),
  );
}

function sumsCard(s) {
  const v = variantOf(s);
  let head = null,
    sums = v.three || [],
    note = null,
    tolerance = 1e-4;
  if (s.sites && ['attention', 'pooler', 'scores', 'weights', 'mixed'].includes(s.kind)) {
    const found = attentionSums(s.kind, siteNow(s), layerNow(s));
    if (found) {
      [head, sums] = found;
      tolerance = 6e-3;
      note = `Head ${head + 1}. Worked out here from queries, keys and values kept in half precision: three digits agree.`;
    }
  }
  if (s.kind === 'mask') sums = maskSums(s);
  if (s.kind === 'heads') sums = headSums();
  if (s.kind === 'training') sums = trainingSums();
  if (s.kind === 'pixels' || s.kind === 'word-gradients') sums = gradientSums(s);
  if (!sums.length) return null;
  const earlier =
    !atEnd() && s.kind !== 'mask'
      ? el('p', { className: 'note' }, `Of the finished model; the slider stands at “${book().times[time()].label}”.`)
      : null;
  return card(
    sums.length === 1 ? 'One number, by hand' : sums.length === 2 ? 'Two numbers, by hand' : 'Three numbers, by hand',
    earlier,
    el(
      'ol',
      { className: 'sums' },
      sums.map(x => sumLine(x, tolerance)),
    ),
    note ? el('p', { className: 'note' }, note) : null,
  );
}

// ---- tables for those who do not see the picture, or want the digits ------------------------------------------------

function asTable(caption, rows, columns, value, corner = '') {
  const details = el('details', { className: 'no-print' }, el('summary', {}, 'as a table'));
  details.ontoggle = () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': caption },
        el(
          'table',
          {},
          el('caption', { className: 'hidden' }, caption),
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              el('td', {}, corner),
              columns.map(c => el('th', { scope: 'col' }, c)),
            ),
          ),
          el(
            'tbody',
            {},
            rows.map((name, i) =>
              el(
                'tr',
                {},
                el('th', { scope: 'row' }, name),
                columns.map((_, j) => el('td', {}, value(i, j))),
              ),
            ),
          ),
        ),
      ),
    );
  };
  return details;
}

// ---- tokens: words as chips, patches as tiles ------------------------------------------------

function tokenButton(ids, i, what, extra = null) {
  const id = ids[i],
    t = token(id),
    on = chosen(what, ids) === i;
  const set = () => {
    choose(what, ids, i);
    render(`${what}-${i}`);
  };
  const common = { 'aria-pressed': String(on), onclick: set, id: `${what}-${i}` };
  if (isPlace(id))
    return el('button', { ...common, className: 'tile', 'aria-label': nameOf(id), title: nameOf(id) }, patchTile(t.place, 30, nameOf(id)));
  return el('button', { ...common, className: `chip ${t.pad ? 'pad' : t.kind}` }, nameOf(id), extra);
}

const tokenStrip = (ids, what, label) =>
  ids.length > 1 && ids.length <= 80
    ? el(
        'div',
        { className: 'strip', role: 'group', 'aria-label': label },
        ids.map((_, i) => tokenButton(ids, i, what)),
      )
    : null;

// Words with a bar for each: how large a number is that belongs to it.
function wordBars(ids, numbers, told, most) {
  return el(
    'div',
    { className: 'strip' },
    ids.map((id, i) =>
      el(
        'span',
        { className: `chip ${token(id).pad ? 'pad' : token(id).kind}` },
        nameOf(id),
        el('small', {}, told(numbers[i], i)),
        el('span', { className: 'bar' }, el('i', { style: `width:${Math.min(100, (100 * numbers[i]) / most)}%` })),
      ),
    ),
  );
}

// ---- vectors: a row for each token ------------------------------------------------

// A column of scores is a piece of the vocabulary; other columns have only their number.
const featureName = (s, n) => (s.kind !== 'logits' ? `feature ${n + 1}` : book().pieces[n] ? `“${book().pieces[n]}”` : `piece ${n}`);

function vectorsCard(s, title = null, forced = null) {
  const v = variantOf(s),
    name = v.name;
  if (!name) return null;
  const show = forced || state.show,
    t = s.parent || s.kind === 'backward' ? lastTime() : time();
  const value = array(`out/${name}`, t),
    grad = array(`grad/${name}`, lastTime());
  let a = show === 'value' ? value : grad;
  if (show === 'product' && value && grad) {
    const last = array(`out/${name}`, lastTime());
    a = { ...grad, data: grad.data.map((g, i) => g * last.data[i]), error: last.error * Math.max(...grad.data.map(Math.abs)) };
  }
  if (!a)
    return card(
      title,
      el(
        'p',
        {},
        show === 'value' ? 'These numbers are kept for the finished model only, to keep the page small.' : 'No gradient came back to here.',
      ),
    );
  const [R, C] = a.shape,
    largest = a.data.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
  const row = chosen('query', v.rows),
    read = el('p', { className: 'note', 'aria-live': 'off' }, ' ');
  const what = { value: 'value', gradient: 'gradient', product: 'value × gradient' }[show];
  const draw = matrix({
    rows: v.rows,
    columns: null,
    height: R,
    width: C,
    colour: (i, j) => signColour(a.data[i * C + j] / largest),
    chosen: [R > 1 ? row : -1, -1],
    label: `${what} of ${R} rows of ${C} features, from ${figure(-largest, 3)} to ${figure(largest, 3)}`,
    most: 600,
    tallest: R > 1 ? 15 : 30,
    pick: i => {
      choose('query', v.rows, i);
      render();
    },
    over: at => {
      read.textContent = at ? `${nameOf(v.rows[at[0]])}, ${featureName(s, at[1])}: ${figure(a.data[at[0] * C + at[1]])}` : ' ';
    },
  });
  const cut = v.features > C ? ` The first ${C} of ${v.features} features are shown.` : '';
  const early = s.parent && !atEnd() ? ' Of the finished model.' : '';
  const length = i => Math.sqrt(add([...a.data.slice(i * C, (i + 1) * C)].map(x => x * x)));
  const extremes = R > 1 ? lengths(v.rows, R, length, what) : el('p', { className: 'note' }, `Length ${figure(length(0), 3)}.`);
  return card(
    title || `${what[0].toUpperCase()}${what.slice(1)}s: a row for each ${R > 1 ? 'token' : 'vector'}, a column for each feature`,
    draw,
    read,
    signLegend(largest),
    extremes,
    el('p', { className: 'note' }, `Kept in 8 bits, off by at most ${figure(a.error, 2)}.${cut}${early}`),
    asTable(
      `${what}, first 12 features`,
      v.rows.map(nameOf),
      [...Array(Math.min(12, C)).keys()].map(j => `${j + 1}`),
      (i, j) => figure(a.data[i * C + j], 3),
    ),
  );
}

function lengths(rows, R, length, what) {
  const all = [...Array(R).keys()].map(length),
    order = [...all.keys()].sort((a, b) => all[b] - all[a]);
  return el(
    'p',
    { className: 'says' },
    `The longest row is that of ${nameOf(rows[order[0]])} (${figure(all[order[0]], 3)}), the shortest that of ${nameOf(rows[order[R - 1]])} (${figure(all[order[R - 1]], 3)}).`,
  );
}
