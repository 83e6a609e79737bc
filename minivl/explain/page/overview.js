// The beginning: what the model makes of the example, and the map of its steps.

function overviewView() {
  const e = book().example,
    about = book().about,
    choices = book().steps.find(s => s.kind === 'choices'),
    pairs = book().steps.find(s => s.kind === 'pairs');
  const says = [];
  if (about.says)
    says.push(
      el(
        'p',
        { className: 'says' },
        'Asked to describe the picture, it writes: ',
        el('b', {}, `“${about.says}”`),
        about.says === e.text ? ' — word for word.' : '.',
      ),
    );
  if (choices) {
    const rows = choices.choices[time()].rows;
    says.push(
      el('p', { className: 'says' }, 'Reading the sentence, it gave each next word this probability:'),
      wordBars(
        rows.map(r => r.row),
        rows.map(r => r.p),
        (p, i) => `→ ${pieceName(rows[i].truth)} ${p.toFixed(2)}`,
        1,
      ),
    );
  }
  if (pairs) {
    const p = pairShares(array(`pairs/${pairs.key}`), pairs.pairs.how).rows[0],
      best = p.indexOf(Math.max(...p));
    says.push(
      el(
        'p',
        { className: 'says' },
        `Among ${p.length} texts, it prefers `,
        el('b', {}, `“${e.others[best].text}”`),
        ` for this ${shown()} (${p[best].toFixed(3)})${best === 0 ? ', the right one.' : ', which is not the right one.'}`,
      ),
    );
  }
  const go = el('button', { className: 'begin', onclick: () => move(1), id: 'begin' }, 'Walk through it  →');
  const hero = el(
    'section',
    { className: 'card' },
    el(
      'div',
      { className: 'hero' },
      el('img', { src: e.picture, alt: `the ${shown()}: ${e.text}` }),
      el(
        'div',
        {},
        el('blockquote', {}, `“${e.text}”`),
        says,
        el(
          'p',
          { className: 'no-print' },
          go,
          ' ',
          el(
            'span',
            { className: 'note' },
            el('kbd', {}, '→'),
            ' next  ',
            el('kbd', {}, '↓'),
            ' look inside  ',
            el('kbd', {}, '?'),
            ' all keys',
          ),
        ),
      ),
    ),
  );
  const small = e.small
    ? el(
        'p',
        { className: 'note' },
        'The model is nearly sure of this example: its loss is small, and so are its gradients. They show what is left to learn, not what matters.',
      )
    : null;
  const run = el(
    'p',
    { className: 'note' },
    `${about.model}, ${about.parameters.toLocaleString('en')} numbers, ${about.steps ? `trained for ${about.steps} steps on ${about.data}` : about.data} (run ${about.run}). ${about.told[0].toUpperCase()}${about.told.slice(1)}; not the paper's weights. ${about.calls} ops ran forward.`,
  );
  return [
    hero,
    card(state.show === 'value' ? 'The way of the numbers' : 'The way back: how long the gradient is at each', mapView(), small, run),
  ];
}

// The steps as boxes, in rows by how far they are from the input; the picture's on the left, the text's on the right.
function mapView() {
  const steps = book().steps.filter(s => s.depth === 0 && s.comment),
    edges = book().map,
    rank = {};
  for (const s of steps) rank[s.key] = Math.max(0, ...edges.filter(e => e[1] === s.key).map(e => (rank[e[0]] ?? 0) + 1));
  const lane = s => (s.sees.length === 1 ? s.sees[0] : 'both'),
    holder = el('div', { className: 'map' });
  const nodes = new Map();
  // A row of the grid holds one step of each lane, or one that belongs to both, or two of these side by side.
  const grid = {};
  let row = 0;
  for (const r of [...new Set(Object.values(rank))].sort((a, b) => a - b)) {
    const here = steps.filter(s => rank[s.key] === r),
      single = here.filter(s => lane(s) !== 'both'),
      both = here.filter(s => lane(s) === 'both');
    for (const name of ['picture', 'text'])
      single
        .filter(s => lane(s) === name)
        .forEach((s, i) => {
          grid[s.key] = [row + i + 1, ''];
        });
    row += Math.max(...['picture', 'text'].map(name => single.filter(s => lane(s) === name).length));
    both.forEach((s, i) => {
      const pair = both.length - (i - (i % 2)) > 1;
      grid[s.key] = [row + (i - (i % 2)) / 2 + 1, pair ? ['left', 'right'][i % 2] : ''];
    });
    row += Math.ceil(both.length / 2);
  }
  for (const s of [...steps].sort((a, b) => grid[a.key][0] - grid[b.key][0])) {
    const v = s.variants[s.variants.length - 1],
      axes = v.axes
        .filter(([l]) => l !== 'B' && l !== '1')
        .map(([, size]) => size)
        .join(' × ');
    const told = v.value
      ? figure(v.value[time()])
      : state.show !== 'value' && v.gradient
        ? `gradient ${figure(v.gradient, 2)}`
        : axes
          ? `${axes} numbers`
          : '';
    const node = el(
      'a',
      { className: `node ${lane(s)} ${grid[s.key][1]}`, href: link({ step: s.key }), style: `grid-row:${grid[s.key][0]}` },
      s.title,
      el('small', {}, told),
    );
    nodes.set(s.key, node);
    holder.append(node);
  }
  const svg = el('div', { html: '<svg aria-hidden="true"></svg>' }).firstChild;
  holder.prepend(svg);
  requestAnimationFrame(() => {
    const box = holder.getBoundingClientRect();
    for (const [from, to] of edges) {
      if (!nodes.has(from) || !nodes.has(to)) continue;
      const a = nodes.get(from).getBoundingClientRect(),
        b = nodes.get(to).getBoundingClientRect();
      const x1 = a.left + a.width / 2 - box.left,
        y1 = a.bottom - box.top,
        x2 = b.left + b.width / 2 - box.left,
        y2 = b.top - box.top - 5;
      const path = document.createElementNS(svg.namespaceURI, 'path'),
        head = document.createElementNS(svg.namespaceURI, 'path');
      path.setAttribute('d', `M${x1} ${y1} C${x1} ${y1 + 24} ${x2} ${y2 - 26} ${x2} ${y2}`);
      head.setAttribute(
        'd',
        state.show === 'value'
          ? `M${x2 - 4} ${y2 - 3} L${x2} ${y2 + 3} L${x2 + 4} ${y2 - 3}`
          : `M${x1 - 4} ${y1 + 7} L${x1} ${y1 + 1} L${x1 + 4} ${y1 + 7}`,
      );
      svg.append(path, head);
    }
  });
  return holder;
}
