// The beginning, the map, and what stands at the end: the way back, the heads, the training, two models side by side.

function overviewView() {
  const e = book().example, about = book().about, choices = book().steps.find(s => s.kind === 'choices'), pairs = book().steps.find(s => s.kind === 'pairs');
  const says = [];
  if (about.says) says.push(el('p', { className: 'says' }, 'Asked to describe the picture, it writes: ', el('b', {}, `“${about.says}”`), about.says === e.text ? ' — word for word.' : '.'));
  if (choices) {
    const rows = choices.choices[time()].rows;
    says.push(el('p', { className: 'says' }, 'Reading the sentence, it gave each next word this probability:'),
      wordBars(rows.map(r => r.row), rows.map(r => r.p), (p, i) => `→ ${pieceName(rows[i].truth)} ${p.toFixed(2)}`, 1));
  }
  if (pairs) {
    const p = pairShares(array(`pairs/${pairs.key}`), pairs.pairs.how).rows[0], best = p.indexOf(Math.max(...p));
    says.push(el('p', { className: 'says' }, `Among ${p.length} texts, it prefers `, el('b', {}, `“${e.others[best].text}”`), ` for this picture (${p[best].toFixed(3)})${best === 0 ? ', the right one.' : ', which is not the right one.'}`));
  }
  const go = el('button', { className: 'begin', onclick: () => move(1), id: 'begin' }, 'Walk through it  →');
  const hero = el('section', { className: 'card' }, el('div', { className: 'hero' }, el('img', { src: e.picture, alt: `the picture: ${e.text}` }),
    el('div', {}, el('blockquote', {}, `“${e.text}”`), says, el('p', { className: 'no-print' }, go, ' ', el('span', { className: 'note' }, el('kbd', {}, '→'), ' next  ', el('kbd', {}, '↓'), ' look inside  ', el('kbd', {}, '?'), ' all keys')))));
  const small = e.small ? el('p', { className: 'note' }, 'The model is nearly sure of this example: its loss is small, and so are its gradients. They show what is left to learn, not what matters.') : null;
  const run = el('p', { className: 'note' }, `${about.model}, ${about.parameters.toLocaleString('en')} numbers, ${about.steps ? `trained for ${about.steps} steps on ${about.data}` : about.data} (run ${about.run}). ${about.told[0].toUpperCase()}${about.told.slice(1)}; not the paper's weights. ${about.calls} ops ran forward.`);
  return [hero, card(state.show === 'value' ? 'The way of the numbers' : 'The way back: how long the gradient is at each', mapView(), small, run)];
}

// The steps as boxes, in rows by how far they are from the input; the picture's on the left, the text's on the right.
function mapView() {
  const steps = book().steps.filter(s => s.depth === 0 && s.comment), edges = book().map, rank = {};
  for (const s of steps) rank[s.key] = Math.max(0, ...edges.filter(e => e[1] === s.key).map(e => (rank[e[0]] ?? 0) + 1));
  const lane = s => (s.sees.length === 1 ? s.sees[0] : 'both'), holder = el('div', { className: 'map' });
  const nodes = new Map();
  // A row of the grid holds one step of each lane, or one that belongs to both, or two of these side by side.
  const grid = {};
  let row = 0;
  for (const r of [...new Set(Object.values(rank))].sort((a, b) => a - b)) {
    const here = steps.filter(s => rank[s.key] === r), single = here.filter(s => lane(s) !== 'both'), both = here.filter(s => lane(s) === 'both');
    for (const name of ['picture', 'text']) single.filter(s => lane(s) === name).forEach((s, i) => { grid[s.key] = [row + i + 1, '']; });
    row += Math.max(...['picture', 'text'].map(name => single.filter(s => lane(s) === name).length));
    both.forEach((s, i) => { const pair = both.length - (i - i % 2) > 1; grid[s.key] = [row + (i - i % 2) / 2 + 1, pair ? ['left', 'right'][i % 2] : '']; });
    row += Math.ceil(both.length / 2);
  }
  for (const s of [...steps].sort((a, b) => grid[a.key][0] - grid[b.key][0])) {
    const v = s.variants[s.variants.length - 1], axes = v.axes.filter(([l]) => l !== 'B' && l !== '1').map(([, size]) => size).join(' × ');
    const told = v.value ? figure(v.value[time()]) : state.show !== 'value' && v.gradient ? `gradient ${figure(v.gradient, 2)}` : axes ? `${axes} numbers` : '';
    const node = el('a', { className: `node ${lane(s)} ${grid[s.key][1]}`, href: link({ step: s.key }), style: `grid-row:${grid[s.key][0]}` }, s.title, el('small', {}, told));
    nodes.set(s.key, node); holder.append(node);
  }
  const svg = el('div', { html: '<svg aria-hidden="true"></svg>' }).firstChild;
  holder.prepend(svg);
  requestAnimationFrame(() => {
    const box = holder.getBoundingClientRect();
    for (const [from, to] of edges) {
      if (!nodes.has(from) || !nodes.has(to)) continue;
      const a = nodes.get(from).getBoundingClientRect(), b = nodes.get(to).getBoundingClientRect();
      const x1 = a.left + a.width / 2 - box.left, y1 = a.bottom - box.top, x2 = b.left + b.width / 2 - box.left, y2 = b.top - box.top - 5;
      const path = document.createElementNS(svg.namespaceURI, 'path'), head = document.createElementNS(svg.namespaceURI, 'path');
      path.setAttribute('d', `M${x1} ${y1} C${x1} ${y1 + 24} ${x2} ${y2 - 26} ${x2} ${y2}`);
      head.setAttribute('d', state.show === 'value' ? `M${x2 - 4} ${y2 - 3} L${x2} ${y2 + 3} L${x2 + 4} ${y2 - 3}` : `M${x1 - 4} ${y1 + 7} L${x1} ${y1 + 1} L${x1 + 4} ${y1 + 7}`);
      svg.append(path, head);
    }
  });
  return holder;
}

// ---- back ---------------------------------------------------------------------------------------------------------------------

function backwardView(s) {
  const v = s.variants[0], cards = [], ways = s.ways, most = Math.max(...ways.map(w => w[1]), 1e-30);
  if (v.value) cards.push(card('The gradient', el('p', { style: 'font:600 2.6rem/1.1 var(--serif);margin:.2rem 0' }, figure(v.value[time()])), el('p', { className: 'says' }, ways.length ? 'A number by which everything before it is multiplied: how much the whole loss rises with this part of it.' : 'Where the way back begins: the loss rises by 1 if it rises by 1.')));
  if (ways.length) cards.push(card(ways.length > 1 ? 'The ways meet here' : 'It came along one way', el('table', {}, el('tbody', {}, ways.map(([key, norm]) => el('tr', {}, el('th', { scope: 'row', style: 'white-space:normal' }, key ? key.split(' & ').map((k, i) => [i ? ' and ' : '', el('a', { href: link({ step: step(`back.${k}`) ? `back.${k}` : k }) }, stepTitle(k))]) : 'the loss itself'), el('td', {}, figure(norm, 3)), el('td', { className: 'left' }, el('span', { className: 'meter', style: `width:${Math.max(0.1, 7 * norm / most)}rem` })))))),
    v.gradient !== undefined ? el('p', { className: 'note' }, `Their sum has length ${figure(v.gradient, 3)}. Lengths do not add up where shares point different ways.`) : null,
    s.losses && s.losses.length > 1 ? el('p', { className: 'says' }, 'Of the losses, each for itself: ', s.losses.map(([name, norm], i) => `${i ? ', ' : ''}${name.replaceAll('_', ' ')} ${figure(norm, 3)}`), '.') : null));
  if (v.name) {
    const onPatches = patchGradient(v);
    if (onPatches) cards.push(onPatches);
    cards.push(vectorsCard(s, 'The gradient: a row for each token', 'gradient'));
  }
  if (book().example.small) cards.push(card(null, el('p', { className: 'note' }, 'The loss of this example is small: what comes back is mostly noise.')));
  return cards;
}

function patchGradient(v) {
  const places = v.rows.map(id => (token(id).kind === 'patch' ? token(id).place : -1)), g = array(`grad/${v.name}`, lastTime());
  if (!g || !book().example.grid || places.filter(p => p >= 0).length !== book().example.grid[0] * book().example.grid[1]) return null;
  const C = g.shape[1], norms = [];
  places.forEach((p, i) => { if (p >= 0) norms[p] = Math.sqrt(add([...g.data.slice(i * C, (i + 1) * C)].map(x => x * x))); });
  const top = Math.max(...norms) || 1, best = norms.indexOf(top);
  return card('How long it is at each patch', litPicture(220, null, `length of the gradient at each patch, largest at patch ${best + 1}`, { light: norms.map(x => x / top), grid: true }),
    el('p', { className: 'note' }, `Fully lit: ${figure(top, 3)}, at patch ${best + 1}. Dark: 0.`));
}

function pixelsView() {
  const a = array('pixels'), S = a.shape[0], top = Math.max(...a.data) || 1, at = a.data.indexOf(top);
  const light = [...a.data].map(x => Math.min(1, x / top * 1.6)), read = el('p', { className: 'note' }, ' ');
  const c = canvas(320, 320, `gradient at ${S} by ${S} pixels, largest at row ${Math.floor(at / S) + 1}, column ${at % S + 1}`, pen => paintLit(pen, 320, light, S, S));
  c.onmousemove = event => { const [x, y] = placeIn(c, event, S, S).map(Math.floor); read.textContent = `pixel (${y + 1}, ${x + 1}): ${figure(a.data[y * S + x], 3)}`; };
  return [card('How much each pixel matters to the loss', el('div', { className: 'row' }, el('figure', {}, c, el('figcaption', {}, read)), el('figure', {}, litPicture(160, null, 'the picture', {}), el('figcaption', {}, 'The picture as it is.'))),
    el('p', { className: 'says' }, `The largest is ${figure(top, 3)}, at pixel (${Math.floor(at / S) + 1}, ${at % S + 1}): the sizes of its red, green and blue gradients together.`),
    el('p', { className: 'note' }, `Lit in proportion; the brightest from ${figure(top / 1.6, 2)} on. Kept in 8 bits, off by at most ${figure(a.error, 2)}.${book().example.small ? ' The loss is small, so this is mostly noise.' : ''}`))];
}

function gradientSums(s) {
  if (s.kind === 'pixels') {
    const a = array('pixels', lastTime()), S = a.shape[0];
    return [...a.data.keys()].sort((x, y) => a.data[y] - a.data[x]).slice(0, 3).map(i => ({ at: { name: `pixel (${Math.floor(i / S) + 1}, ${i % S + 1})` }, form: 'copy', value: a.data[i], from: '|red| + |green| + |blue| of its gradient' }));
  }
  const a = array('words', lastTime());
  return [...a.data.keys()].sort((x, y) => a.data[y] - a.data[x]).slice(0, 3).map(i => ({ at: { word: i }, form: 'copy', value: a.data[i], from: 'the length of the gradient at its vector' }));
}

function wordGradientsView() {
  const a = array('words'), e = book().example, most = Math.max(...a.data) || 1, best = a.data.indexOf(most);
  const chips = el('div', { className: 'strip' }, e.words.map((w, i) => el('span', { className: `chip ${i >= e.length ? 'pad' : ''}` }, w, el('small', {}, figure(a.data[i], 2)), el('span', { className: 'bar' }, el('i', { style: `width:${100 * a.data[i] / most}%` })))));
  const pads = [...a.data.slice(e.length)];
  return [card('How much each word matters to the loss', chips, el('p', { className: 'says' }, `The longest gradient is that of “${e.words[best]}”.${pads.length ? pads.every(x => x === 0) ? ' The pads get exactly 0: no way leads back to them.' : ' Pads get something too, so somebody looked at them.' : ''}`))];
}

function headSums() {
  const end = book().times[lastTime()].losses.loss, all = book().sites.flatMap(s => s.changes.map((heads, l) => heads.map((x, h) => [`${s.name.replace('*', String(l + 1))}, head ${h + 1}`, x])).flat());
  return all.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 3).map(([name, x]) => ({ at: { name }, form: 'binary', sign: '−', a: end + x, b: end, value: x }));
}
function trainingSums() {
  const all = book().times.map(t => [t.label, t.losses.loss]), [first, ...rest] = all;
  return rest.slice(-3).map(([label, x]) => ({ at: { name: `change of the loss, ${label}` }, form: 'binary', sign: '−', a: x, b: first[1], value: x - first[1] }));
}

// ---- heads, training, two models -------------------------------------------------------------------------------------------------

function headsView() {
  const all = book().sites.flatMap((s, n) => s.changes.map((heads, l) => heads.map((x, h) => ({ n, l, h, x })))).flat(2);
  if (!all.length) return [card('Heads', el('p', {}, 'This model has too many heads to silence each of them.'))];
  const most = Math.max(...all.map(a => Math.abs(a.x))), worst = [...all].sort((a, b) => b.x - a.x).slice(0, 3), idle = all.filter(a => Math.abs(a.x) < 0.01 * most).length;
  const told = a => el('a', { href: link({ step: book().sites[a.n].home, head: a.h, layer: a.l }) }, `${book().sites[a.n].name.replace(/\.?\*\.?/, ` ${a.l + 1} `)}, head ${a.h + 1}`);
  const rows = book().sites.flatMap((s, n) => s.changes.map((heads, l) => el('tr', {}, el('th', { scope: 'row' }, s.name.replace('*', String(l + 1))), heads.map((x, h) => el('td', {}, `${x < 0 ? '−' : '+'}${figure(Math.abs(x), 2)}`, el('br'), el('span', { className: x < 0 ? 'meter less' : 'meter', style: `width:${Math.max(0.05, 4 * Math.abs(x) / most)}rem`, title: `${n}` }))))));
  const H = Math.max(...book().sites.map(s => s.heads));
  return [card('How the loss changes without it', el('div', { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'heads' }, el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col', className: 'left' }, 'layer'), [...Array(H).keys()].map(h => el('th', { scope: 'col' }, `head ${h + 1}`)))), el('tbody', {}, rows))),
    el('p', { className: 'says' }, 'The loss needs most: ', worst.map((a, i) => [i ? '; ' : '', told(a), ` (+${figure(a.x, 2)})`]), `. ${idle} of ${all.length} heads change it by less than a hundredth of that.`),
    el('p', { className: 'note' }, 'Blue, +: the loss is higher without the head. Brown, −: it is lower, so for these examples the head did harm.'))];
}

function trainingView() {
  const curve = book().curve, times = book().times, cards = [];
  if (curve.step && curve.step.length > 1) cards.push(card('The loss while it was trained', chart(curve, times), el('p', { className: 'note' }, 'Of the batches that it was trained on, from the run’s log. The marks are the checkpoints that the slider reaches; the scale is logarithmic.')));
  const names = Object.keys(times[0].losses), choices = book().steps.find(s => s.kind === 'choices'), e = book().example;
  cards.push(card('This example, as it became', el('div', { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'checkpoints' }, el('table', {}, el('thead', {}, el('tr', {}, el('th', { scope: 'col', className: 'left' }, 'model'), names.map(n => el('th', { scope: 'col' }, n.replaceAll('_', ' '))), choices ? el('th', { scope: 'col', className: 'left' }, 'what it expected to follow each word') : null)),
    el('tbody', {}, times.map((t, i) => el('tr', {}, el('th', { scope: 'row' }, el('button', { id: `time-${i}`, 'aria-pressed': String(i === time()), onclick: () => { state.time = i; render(`time-${i}`); } }, t.label)), names.map(n => el('td', {}, figure(t.losses[n], 3))), choices ? el('td', { className: 'left' }, choices.choices[i].rows.map((r, k) => [k ? ' ' : '', el(r.rank === 1 ? 'b' : 'span', {}, pieceName(r.top[0][0]))])) : null))))),
  choices ? el('p', { className: 'note' }, `Bold where the true word came first. The truth: ${e.words.slice(1, e.length).join(' ')}.`) : null));
  return cards;
}

function chart(curve, times) {
  const W = 640, H = 240, left = 44, bottom = 22, names = Object.keys(curve).filter(n => n !== 'step'), all = names.flatMap(n => curve[n]).filter(x => x > 0);
  const top = Math.log(Math.max(...all)), low = Math.log(Math.max(1e-4, Math.min(...all))), last = curve.step[curve.step.length - 1];
  const x = s => left + s / last * (W - left - 8), y = v => 8 + (top - Math.log(Math.max(v, 1e-4))) / (top - low || 1) * (H - bottom - 14);
  const marks = [0.0001, 0.001, 0.01, 0.1, 1, 10].filter(v => Math.log(v) <= top && Math.log(v) >= low);
  const dashes = ['', '6 3', '2 3', '9 3 2 3'];
  const lines = names.map((n, k) => `<polyline fill="none" stroke="currentColor" stroke-width="${n === 'loss' ? 2 : 1.3}" stroke-dasharray="${dashes[k % 4]}" points="${curve[n].map((v, i) => `${x(curve.step[i]).toFixed(1)},${y(v).toFixed(1)}`).join(' ')}"/>`);
  const labels = names.map((n, k) => `<g transform="translate(${W - 150} ${16 + 15 * k})"><line x2="26" stroke="currentColor" stroke-width="1.6" stroke-dasharray="${dashes[k % 4]}"/><text x="32" y="4">${n.replaceAll('_', ' ')}</text></g>`);
  const ticks = marks.map(v => `<line class="axis" x1="${left}" x2="${W}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${v}</text>`);
  const stops = times.map((t, i) => `<line stroke="currentColor" stroke-opacity=".35" x1="${x(Math.min(t.step, last))}" x2="${x(Math.min(t.step, last))}" y1="8" y2="${H - bottom}"/><text x="${x(Math.min(t.step, last))}" y="${H - 6}" text-anchor="${t.step >= last ? 'end' : 'middle'}">${i + 1 < times.length && x(Math.min(times[i + 1].step, last)) - x(t.step) < 45 ? '' : t.step}</text>`);
  return el('div', { html: `<svg class="chart" viewBox="0 0 ${W} ${H}" role="img" aria-label="the loss fell from ${figure(curve[names[0]][0], 3)} to ${figure(curve[names[0]].at(-1), 3)}">${ticks.join('')}${stops.join('')}${lines.join('')}${labels.join('')}</svg>` });
}

function versusView() {
  const side = books.map((_, b) => inBook(b, () => {
    const e = book().example, masks = book().masks.map((m, i) => el('figure', {}, matrix({ rows: m.queries, columns: m.keys, height: m.queries.length, width: m.keys.length, colour: () => shareColour(2.5), forbidden: (x, y) => !array(`mask/${i}`, lastTime()).data[x * m.keys.length + y], most: 230, label: `mask ${i + 1} of ${book().about.model}` }),
      el('figcaption', {}, m.parts.filter(p => p.whole || m.parts.length > 1).map(p => p.name.replaceAll('_', ' ')).join(' and '))));
    const choices = book().steps.find(s => s.kind === 'choices'), last = Object.entries(book().times[lastTime()].losses);
    return card(`${book().about.model}, run ${book().about.run}`, el('p', {}, `${book().about.parameters.toLocaleString('en')} numbers. `, last.map(([n, v]) => `${n.replaceAll('_', ' ')} ${figure(v)}`).join(', ')),
      choices ? wordBars(choices.choices[lastTime()].rows.map(r => r.row), choices.choices[lastTime()].rows.map(r => r.p), (p, i) => `→ ${pieceName(choices.choices[lastTime()].rows[i].truth)} ${p.toFixed(2)}`, 1) : el('p', {}, `It writes nothing: it only compares “${e.text}” with pictures.`),
      el('h3', {}, masks.length ? 'Its masks' : 'It has no mask'), el('div', { className: 'row' }, masks), el('h3', {}, 'Its steps'), el('ol', {}, book().steps.filter(s => s.depth === 0 && s.comment).map(s => el('li', {}, s.title))));
  }));
  return [el('div', { className: 'columns', style: 'grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))' }, side)];
}
function inBook(b, draw) {
  const before = state.book;
  state.book = b;
  try { return draw(); } finally { state.book = before; }
}
