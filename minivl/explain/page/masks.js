// Masks, each an object of its own: who may look at whom, and if not, why.

function whyNot(m, number, i, j) {
  const q = token(m.queries[i]),
    k = token(m.keys[j]),
    whole = array(`mask/${number}`, lastTime());
  const from = nameOf(m.queries[i]),
    to = nameOf(m.keys[j]),
    T = m.keys.length;
  if (whole.data[i * T + j]) return `Yes: “${from}” may look at “${to}”${i === j ? ', itself' : ''}.`;
  const by = m.parts.filter((_, p) => !array(`mask/${number}/${p}`, lastTime()).data[i * T + j]).map(p => p.name);
  const reasons = [];
  if (k.pad) reasons.push(`“${to}” is no word, it only fills the row`);
  if (j > i && m.queries.length === m.keys.length)
    reasons.push(
      k.kind === 'learned'
        ? `“${to}” stands behind all words: if words saw it, they would see through it what comes later`
        : `“${to}” comes later: “${from}” must help to predict what follows without having seen it`,
    );
  if (!reasons.length) reasons.push(q.pad ? `“${from}” itself is a pad` : `they do not belong to the same group`);
  return `No: ${reasons.join('; and ')}. ${by.length ? `Forbidden by ${by.join(' and by ')}.` : ''}`;
}

// The pair that is asked about: as chosen, or at first one that is forbidden.
function pairOf(m, whole) {
  const i = chosen('query', m.queries),
    T = m.keys.length;
  if (state.key[kindOf(m.keys)] === undefined) {
    const no = [...Array(T).keys()].filter(j => !whole.data[i * T + j]);
    if (no.length) choose('key', m.keys, no[Math.min(1, no.length - 1)]);
  }
  return [i, chosen('key', m.keys)];
}

function maskView(s) {
  const m = book().masks[s.mask],
    whole = array(`mask/${s.mask}`, lastTime()),
    [R, T] = whole.shape,
    [i, j] = pairOf(m, whole);
  const why = el('p', { className: 'says', id: 'why', 'aria-live': 'polite' }, whyNot(m, s.mask, i, j));
  const drawn = (a, most, at) =>
    matrix({
      rows: m.queries,
      columns: m.keys,
      height: R,
      width: T,
      colour: () => shareColour(2.5),
      forbidden: (x, y) => !a.data[x * T + y],
      chosen: at,
      most,
      label: `mask of ${R} by ${T} pairs, ${add([...a.data])} allowed`,
      pick: (x, y) => {
        choose('query', m.queries, x);
        choose('key', m.keys, y);
        render();
      },
      over: at => {
        why.textContent = at ? whyNot(m, s.mask, ...at) : whyNot(m, s.mask, i, j);
      },
    });
  const allowed = add([...whole.data]);
  const cards = [
    card(
      'May the row look at the column?',
      drawn(whole, 480, [i, j]),
      why,
      el('p', { className: 'note' }, `Filled: it may. Crossed out: it may not. ${allowed} of ${R * T} pairs are allowed.`),
      asTable('mask', m.queries.map(nameOf), m.keys.map(nameOf), (x, y) => (whole.data[x * T + y] ? 'yes' : 'no')),
    ),
  ];
  if (m.parts.length)
    cards.push(
      card(
        m.parts.length > 1 ? 'What it is made of' : 'Where it comes from',
        el(
          'div',
          { className: 'row' },
          m.parts.map((part, p) =>
            el(
              'figure',
              {},
              m.parts.length > 1 && !part.whole ? drawn(array(`mask/${s.mask}/${p}`, lastTime()), 290, [-1, -1]) : null,
              el('figcaption', {}, el('code', {}, part.told), el('br'), part.says, el('br'), el('span', { className: 'note' }, part.place)),
            ),
          ),
        ),
      ),
    );
  return cards;
}

function maskSums(s) {
  const m = book().masks[s.mask],
    whole = array(`mask/${s.mask}`, lastTime()),
    T = m.keys.length,
    [i, j] = pairOf(m, whole);
  const pairs = [
    [i, j],
    [i, i],
    [i, T - 1],
  ].filter((p, n, all) => all.findIndex(q => q[0] === p[0] && q[1] === p[1]) === n);
  for (const extra of [
    [0, T - 1],
    [0, 0],
  ])
    if (pairs.length < 3) pairs.push(extra);
  return pairs.map(([a, b]) => ({
    at: { name: `M of ${nameOf(m.queries[a])} and ${nameOf(m.keys[b])}` },
    form: 'masked',
    value: whole.data[a * T + b] ? 0 : -Infinity,
    from: whyNot(m, s.mask, a, b),
  }));
}
