// Losses: what was chosen and what was true, with the term of each.

const pieceName = id => book().pieces[id];

function choicesView(s) {
  const c = s.choices[time()],
    e = book().example;
  const rows = c.rows.map(r => {
    const likely = r.top.filter(([id, p], i) => i === 0 || p >= 0.005 || id === r.truth),
      shown = likely.some(([id]) => id === r.truth) ? likely : [...likely.slice(0, 4), [r.truth, r.p]];
    return el(
      'tr',
      {},
      el('th', { scope: 'row' }, nameOf(r.row)),
      el(
        'td',
        { className: 'left' },
        el(
          'span',
          { className: 'expects' },
          shown.map(([id, p]) =>
            el(
              'span',
              { className: id === r.truth ? 'true' : '' },
              `${id === r.truth ? '✓ ' : ''}${pieceName(id)} ${p.toFixed(2)}`,
              el('i', { style: `width:${100 * p}%` }),
            ),
          ),
        ),
      ),
      el('td', {}, r.rank === 1 ? '1st' : `${r.rank}.`),
      el('td', {}, figure(r.term, 3)),
      el('td', { className: 'left' }, el('span', { className: 'meter', style: `width:${Math.min(6, r.term)}rem` })),
    );
  });
  const own = add(c.rows.map(r => r.term)),
    worst = c.rows.reduce((a, b) => (b.term > a.term ? b : a));
  return [
    card(
      'What the model expects next',
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'expected words' },
        el(
          'table',
          {},
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              el('th', { scope: 'col', className: 'left' }, 'behind'),
              el('th', { scope: 'col', className: 'left' }, 'it expects (✓ and a frame: what really follows)'),
              el('th', { scope: 'col' }, 'place'),
              el('th', { scope: 'col' }, '−log p'),
              el('td'),
            ),
          ),
          el('tbody', {}, rows),
        ),
      ),
      el(
        'p',
        { className: 'says' },
        worst.term < 0.05
          ? 'Nothing here surprises the model.'
          : `What surprised it most is “${pieceName(worst.truth)}” behind “${nameOf(worst.row)}”: it had given it ${(100 * worst.p).toFixed(worst.p < 0.01 ? 2 : 0)} %.`,
      ),
      el(
        'p',
        {},
        `The ${c.rows.length} words of this text: ${figure(own)}; ${c.others[0]} words of the other ${book().about.rows - 1} texts in the batch: ${figure(c.others[1])}. `,
        el('b', {}, `Loss: (${figure(own)} + ${figure(c.others[1])}) / ${c.n} = ${figure((own + c.others[1]) / c.n)}`),
        Math.abs((own + c.others[1]) / c.n - c.loss) < 1e-4 * Math.max(1, c.loss) ? '.' : ` (with label smoothing: ${figure(c.loss)}).`,
      ),
    ),
  ];
}

// The terms of a captioning loss, each as the difference that it is, and their mean.
function termsView(s) {
  const c = s.terms[time()],
    own = add(c.rows.map(r => r.term));
  const rows = c.rows.map(r =>
    el(
      'tr',
      {},
      el('th', { scope: 'row' }, nameOf(r.row)),
      el('td', { className: 'left' }, pieceName(r.truth)),
      el('td', {}, figure(r.term + r.score)),
      el('td', {}, figure(r.score)),
      el('td', {}, el('b', {}, figure(r.term))),
      el('td', { className: 'left' }, el('span', { className: 'meter', style: `width:${Math.min(6, r.term)}rem` })),
    ),
  );
  const heads = ['behind', 'the truth', 'log Σ exp', '− its score', '= term'];
  return [
    card(
      'The terms of the loss',
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'terms of the loss' },
        el(
          'table',
          {},
          el('thead', {}, el('tr', {}, heads.map((name, i) => el('th', { scope: 'col', className: i < 2 ? 'left' : '' }, name)), el('td'))),
          el('tbody', {}, rows),
        ),
      ),
      el('p', {}, `${c.rows.length} terms of this text add up to ${figure(own)}, ${c.others[0]} of the other texts to ${figure(c.others[1])}. `,
        el('b', {}, `Their mean: ${figure((own + c.others[1]) / c.n)}`), '.'),
    ),
  ];
}

function pairShares(a, how) {
  const B = a.shape[0];
  const soft = get => {
    const x = [...Array(B).keys()].map(get),
      top = Math.max(...x),
      e = x.map(v => Math.exp(v - top)),
      sum = add(e);
    return e.map(v => v / sum);
  };
  if (how === 'sigmoid') {
    const p = [...Array(B).keys()].map(i => [...Array(B).keys()].map(j => 1 / (1 + Math.exp(-a.data[i * B + j]))));
    return { rows: p, columns: p };
  }
  const rows = [...Array(B).keys()].map(i => soft(j => a.data[i * B + j])),
    down = [...Array(B).keys()].map(j => soft(i => a.data[i * B + j]));
  return { rows, columns: rows.map((_, i) => down.map(column => column[i])) };
}

function pairsView(s) {
  const a = array(`pairs/${s.key}`),
    B = a.shape[0],
    { rows, columns } = pairShares(a, s.pairs.how),
    others = book().example.others;
  const side = id =>
    token(id).kind === 'picture'
      ? el('img', { src: others[token(id).row].picture, alt: nameOf(id) })
      : el('span', {}, shortened(others[token(id).row].text, 40));
  const softmax = s.pairs.how === 'softmax',
    first = nameOf(s.pairs.rows[0]).split(' ')[0],
    other = nameOf(s.pairs.columns[0]).split(' ')[0];
  const body = s.pairs.rows.map((id, i) =>
    el(
      'tr',
      {},
      el('th', { scope: 'row' }, side(id)),
      s.pairs.columns.map((_, j) => {
        const p = rows[i][j],
          back = shareColour(p * 8);
        return el(
          'td',
          { className: i === j ? 'true' : '', style: `background:${rgb(back)};color:${inkOn(back)}` },
          `${p.toFixed(2)}`,
          el('br'),
          el('small', {}, figure(a.data[i * B + j], 3)),
        );
      }),
    ),
  );
  const right = [...Array(B).keys()].filter(i => Math.max(...rows[i]) === rows[i][i]).length;
  return [
    card(
      softmax ? `Each ${first} chooses among the texts` : 'Each pair by itself',
      el(
        'div',
        { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'pictures and texts' },
        el(
          'table',
          { className: 'pairs' },
          el('caption', { className: 'hidden' }, `share that each ${first} gives to each ${other}; small: the logit`),
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              el('td'),
              s.pairs.columns.map(id => el('th', { scope: 'col' }, side(id))),
            ),
          ),
          el('tbody', {}, body),
        ),
      ),
      el(
        'p',
        { className: 'note' },
        `Large: ${softmax ? `the share of the row, which adds up to 1` : 'the probability that the two belong together'}. Small: the logit, the cosine times ${softmax ? 'e to the temperature' : 'a scale, plus a bias'}. Framed: the truth.`,
      ),
      el(
        'p',
        { className: 'says' },
        `${right} of ${B} ${first}s prefer their own ${other}. This one gives it ${rows[0][0].toFixed(3)}; −log ${figure(rows[0][0])} = ${figure(-Math.log(rows[0][0]))}.`,
        softmax ? ` The other way, ${other} 1 gives its ${first} ${columns[0][0].toFixed(3)}: ${figure(-Math.log(columns[0][0]))}.` : '',
      ),
    ),
  ];
}

function scalarView(s) {
  const v = variantOf(s);
  return [
    card(
      'One number',
      el('p', { style: 'font:600 3rem/1.1 var(--serif);margin:.2rem 0' }, figure(v.value[time()])),
      book().times.length > 1 ? el('p', { className: 'note' }, `At first, untrained: ${figure(v.value[0])}.`) : null,
      el(
        'p',
        { className: 'says' },
        ...Object.entries(book().times[time()].losses).map(([name, x], i) => `${i ? ' · ' : ''}${name.replaceAll('_', ' ')} ${figure(x)}`),
      ),
    ),
  ];
}
