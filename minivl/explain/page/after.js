// What stands behind the walk: the heads that matter, the training, two models side by side.

function headSums() {
  const end = book().times[lastTime()].losses.loss,
    all = book().sites.flatMap(s =>
      s.changes.map((heads, l) => heads.map((x, h) => [`${s.name.replace('*', String(l + 1))}, head ${h + 1}`, x])).flat(),
    );
  return all
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, 3)
    .map(([name, x]) => ({ at: { name }, form: 'binary', sign: '−', a: end + x, b: end, value: x }));
}
function trainingSums() {
  const all = book().times.map(t => [t.label, t.losses.loss]),
    [first, ...rest] = all;
  return rest
    .slice(-3)
    .map(([label, x]) => ({
      at: { name: `change of the loss, ${label}` },
      form: 'binary',
      sign: '−',
      a: x,
      b: first[1],
      value: x - first[1],
    }));
}

function headsView() {
  const all = book()
    .sites.flatMap((s, n) => s.changes.map((heads, l) => heads.map((x, h) => ({ n, l, h, x }))))
    .flat(2);
  if (!all.length) return [card('Heads', el('p', {}, 'This model has too many heads to silence each of them.'))];
  const most = Math.max(...all.map(a => Math.abs(a.x))),
    worst = [...all].sort((a, b) => b.x - a.x).slice(0, 3),
    idle = all.filter(a => Math.abs(a.x) < 0.01 * most).length;
  const told = a =>
    el(
      'a',
      { href: link({ step: book().sites[a.n].home, head: a.h, layer: a.l }) },
      `${book().sites[a.n].name.replace(/\.?\*\.?/, ` ${a.l + 1} `)}, head ${a.h + 1}`,
    );
  const rows = book().sites.flatMap((s, n) =>
    s.changes.map((heads, l) =>
      el(
        'tr',
        {},
        el('th', { scope: 'row', className: 'long' }, s.name.replace('*', String(l + 1)).replace(/[._]/g, '$&\u200b')),
        heads.map((x, h) =>
          el(
            'td',
            {},
            `${x < 0 ? '−' : '+'}${figure(Math.abs(x), 2)}`,
            el('br'),
            el('span', {
              className: x < 0 ? 'meter less' : 'meter',
              style: `width:${Math.max(0.05, (4 * Math.abs(x)) / most)}rem`,
              title: `${n}`,
            }),
          ),
        ),
      ),
    ),
  );
  const H = Math.max(...book().sites.map(s => s.heads));
  return [
    card(
      'How the loss changes without it',
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'heads' },
        el(
          'table',
          {},
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              el('th', { scope: 'col', className: 'left' }, 'layer'),
              [...Array(H).keys()].map(h => el('th', { scope: 'col' }, `head ${h + 1}`)),
            ),
          ),
          el('tbody', {}, rows),
        ),
      ),
      el(
        'p',
        { className: 'says' },
        'The loss needs most: ',
        worst.map((a, i) => [i ? '; ' : '', told(a), ` (+${figure(a.x, 2)})`]),
        `. ${idle} of ${all.length} heads change it by less than a hundredth of that.`,
      ),
      el(
        'p',
        { className: 'note' },
        'Blue, +: the loss is higher without the head. Brown, −: it is lower, so for these examples the head did harm.',
      ),
    ),
  ];
}

function trainingView() {
  const curve = book().curve,
    times = book().times,
    cards = [];
  if (curve.step && curve.step.length > 1)
    cards.push(
      card(
        'The loss while it was trained',
        chart(curve, times),
        el(
          'p',
          { className: 'note' },
          'Of the batches that it was trained on, from the run’s log. The marks are the checkpoints that the slider reaches; the scale is logarithmic.',
        ),
      ),
    );
  const names = Object.keys(times[0].losses),
    choices = book().steps.find(s => s.kind === 'choices'),
    e = book().example;
  cards.push(
    card(
      'This example, as it became',
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'checkpoints' },
        el(
          'table',
          {},
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              el('th', { scope: 'col', className: 'left' }, 'model'),
              names.map(n => el('th', { scope: 'col' }, n.replaceAll('_', ' '))),
              choices ? el('th', { scope: 'col', className: 'left' }, 'what it expected to follow each word') : null,
            ),
          ),
          el(
            'tbody',
            {},
            times.map((t, i) =>
              el(
                'tr',
                {},
                el(
                  'th',
                  { scope: 'row' },
                  el(
                    'button',
                    {
                      id: `time-${i}`,
                      'aria-pressed': String(i === time()),
                      onclick: () => {
                        state.time = i;
                        render(`time-${i}`);
                      },
                    },
                    t.label,
                  ),
                ),
                names.map(n => el('td', {}, figure(t.losses[n], 3))),
                choices
                  ? el(
                      'td',
                      { className: 'left said' },
                      choices.choices[i].rows.map((r, k) => [k ? ' ' : '', el(r.rank === 1 ? 'b' : 'span', {}, pieceName(r.top[0][0]))]),
                    )
                  : null,
              ),
            ),
          ),
        ),
      ),
      choices
        ? el('p', { className: 'note' }, `Bold where the true word came first. The truth: ${e.words.slice(1, e.length).join(' ')}.`)
        : null,
    ),
  );
  return cards;
}

function chart(curve, times) {
  const W = 640,
    H = 240,
    left = 44,
    bottom = 22,
    names = Object.keys(curve).filter(n => n !== 'step'),
    all = names.flatMap(n => curve[n]).filter(x => x > 0);
  const top = Math.log(Math.max(...all)),
    low = Math.log(Math.max(1e-4, Math.min(...all))),
    last = curve.step[curve.step.length - 1];
  const x = s => left + (s / last) * (W - left - 8),
    y = v => 8 + ((top - Math.log(Math.max(v, 1e-4))) / (top - low || 1)) * (H - bottom - 14);
  const marks = [0.0001, 0.001, 0.01, 0.1, 1, 10].filter(v => Math.log(v) <= top && Math.log(v) >= low);
  const dashes = ['', '6 3', '2 3', '9 3 2 3'];
  const lines = names.map(
    (n, k) =>
      `<polyline fill="none" stroke="currentColor" stroke-width="${n === 'loss' ? 2 : 1.3}" stroke-dasharray="${dashes[k % 4]}" points="${curve[n].map((v, i) => `${x(curve.step[i]).toFixed(1)},${y(v).toFixed(1)}`).join(' ')}"/>`,
  );
  const labels = names.map(
    (n, k) =>
      `<g transform="translate(${W - 150} ${16 + 15 * k})"><line x2="26" stroke="currentColor" stroke-width="1.6" stroke-dasharray="${dashes[k % 4]}"/><text x="32" y="4">${n.replaceAll('_', ' ')}</text></g>`,
  );
  const ticks = marks.map(
    v =>
      `<line class="axis" x1="${left}" x2="${W}" y1="${y(v)}" y2="${y(v)}"/><text x="${left - 6}" y="${y(v) + 4}" text-anchor="end">${v}</text>`,
  );
  const stops = times.map(
    (t, i) =>
      `<line stroke="currentColor" stroke-opacity=".35" x1="${x(Math.min(t.step, last))}" x2="${x(Math.min(t.step, last))}" y1="8" y2="${H - bottom}"/><text x="${x(Math.min(t.step, last))}" y="${H - 6}" text-anchor="${t.step >= last ? 'end' : 'middle'}">${i + 1 < times.length && x(Math.min(times[i + 1].step, last)) - x(t.step) < 45 ? '' : t.step}</text>`,
  );
  return el('div', {
    html: `<svg class="chart" viewBox="0 0 ${W} ${H}" role="img" aria-label="the loss fell from ${figure(curve[names[0]][0], 3)} to ${figure(curve[names[0]].at(-1), 3)}">${ticks.join('')}${stops.join('')}${lines.join('')}${labels.join('')}</svg>`,
  });
}

function versusView() {
  const side = books.map((_, b) =>
    inBook(b, () => {
      const e = book().example,
        masks = book().masks.map((m, i) =>
          el(
            'figure',
            {},
            matrix({
              rows: m.queries,
              columns: m.keys,
              height: m.queries.length,
              width: m.keys.length,
              colour: () => shareColour(2.5),
              forbidden: (x, y) => !array(`mask/${i}`, lastTime()).data[x * m.keys.length + y],
              most: 330,
              label: `mask ${i + 1} of ${book().about.model}`,
            }),
            el(
              'figcaption',
              {},
              (m.parts.some(p => p.whole) ? m.parts.filter(p => p.whole).slice(-1) : m.parts)
                .map(p => p.name.replaceAll('_', ' '))
                .join(' and '),
            ),
          ),
        );
      const choices = book().steps.find(s => s.kind === 'choices'),
        last = Object.entries(book().times[lastTime()].losses);
      return card(
        `${book().about.model}, run ${book().about.run}`,
        el(
          'p',
          {},
          `${book().about.parameters.toLocaleString('en')} numbers. `,
          last.map(([n, v]) => `${n.replaceAll('_', ' ')} ${figure(v)}`).join(', '),
        ),
        choices
          ? wordBars(
              choices.choices[lastTime()].rows.map(r => r.row),
              choices.choices[lastTime()].rows.map(r => r.p),
              (p, i) => `→ ${pieceName(choices.choices[lastTime()].rows[i].truth)} ${p.toFixed(2)}`,
              1,
            )
          : el('p', {}, `It writes nothing: it only compares “${e.text}” with pictures.`),
        el('h3', {}, masks.length ? 'Its masks' : 'It has no mask'),
        el('div', { className: 'row' }, masks),
        el('h3', {}, 'Its steps'),
        el(
          'ol',
          {},
          book()
            .steps.filter(s => s.depth === 0 && s.comment)
            .map(s => el('li', {}, s.title)),
        ),
      );
    }),
  );
  return [el('div', { className: 'columns', style: 'grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))' }, side)];
}
function inBook(b, draw) {
  const before = state.book;
  state.book = b;
  try {
    return draw();
  } finally {
    state.book = before;
  }
}
