// The way back: gradients at each step, at the pixels and at the words.

function backwardView(s) {
  const v = s.variants[0],
    cards = [],
    ways = s.ways,
    most = Math.max(...ways.map(w => w[1]), 1e-30);
  if (v.value)
    cards.push(
      card(
        'The gradient',
        el('p', { style: 'font:600 2.6rem/1.1 var(--serif);margin:.2rem 0' }, figure(v.value[time()])),
        el(
          'p',
          { className: 'says' },
          ways.length
            ? 'A number by which everything before it is multiplied: how much the whole loss rises with this part of it.'
            : 'Where the way back begins: the loss rises by 1 if it rises by 1.',
        ),
      ),
    );
  if (ways.length)
    cards.push(
      card(
        ways.length > 1 ? 'The ways meet here' : 'It came along one way',
        el(
          'table',
          {},
          el(
            'tbody',
            {},
            ways.map(([key, norm]) =>
              el(
                'tr',
                {},
                el(
                  'th',
                  { scope: 'row', style: 'white-space:normal' },
                  key
                    ? key
                        .split(' & ')
                        .map((k, i) => [
                          i ? ' and ' : '',
                          el('a', { href: link({ step: step(`back.${k}`) ? `back.${k}` : k }) }, stepTitle(k)),
                        ])
                    : 'the loss itself',
                ),
                el('td', {}, figure(norm, 3)),
                el('td', { className: 'left' }, el('span', { className: 'meter', style: `width:${Math.max(0.1, (7 * norm) / most)}rem` })),
              ),
            ),
          ),
        ),
        v.gradient !== undefined
          ? el(
              'p',
              { className: 'note' },
              `Their sum has length ${figure(v.gradient, 3)}. Lengths do not add up where shares point different ways.`,
            )
          : null,
        s.losses && s.losses.length > 1
          ? el(
              'p',
              { className: 'says' },
              'Of the losses, each for itself: ',
              s.losses.map(([name, norm], i) => `${i ? ', ' : ''}${name.replaceAll('_', ' ')} ${figure(norm, 3)}`),
              '.',
            )
          : null,
      ),
    );
  if (v.name) {
    const onPatches = patchGradient(v);
    if (onPatches) cards.push(onPatches);
    cards.push(vectorsCard(s, 'The gradient: a row for each token', 'gradient'));
  }
  if (book().example.small)
    cards.push(card(null, el('p', { className: 'note' }, 'The loss of this example is small: what comes back is mostly noise.')));
  return cards;
}

function patchGradient(v) {
  const places = v.rows.map(id => (isPlace(id) ? token(id).place : -1)),
    g = array(`grad/${v.name}`, lastTime());
  if (!g || !placeCount() || places.filter(p => p >= 0).length !== placeCount()) return null;
  const C = g.shape[1],
    norms = [];
  places.forEach((p, i) => {
    if (p >= 0) norms[p] = Math.sqrt(add([...g.data.slice(i * C, (i + 1) * C)].map(x => x * x)));
  });
  const top = Math.max(...norms) || 1,
    best = norms.indexOf(top);
  return card(
    `How long it is at each ${theClip() ? 'patch and tube' : 'patch'}`,
    litPicture(220, null, `length of the gradient at each place, largest at ${nameOf(v.rows[places.indexOf(best)])}`, {
      light: norms.map(x => x / top),
      grid: true,
    }),
    el('p', { className: 'note' }, `Fully lit: ${figure(top, 3)}, at ${nameOf(v.rows[places.indexOf(best)])}. Dark: 0.`),
  );
}

function pixelsView() {
  const a = array('pixels'),
    S = a.shape[0],
    top = Math.max(...a.data) || 1,
    at = a.data.indexOf(top);
  const light = [...a.data].map(x => Math.min(1, (x / top) * 1.6)),
    read = el('p', { className: 'note' }, ' ');
  const where = pixelName(at % S, Math.floor(at / S));
  const c = canvas(320, 320, `gradient at ${S} by ${S} pixels, largest at ${where}`, pen => {
    paintLit(pen, 320, light, S, S);
    if (theClip()) paintFrames(pen, 320);
  });
  c.onmousemove = event => {
    const [x, y] = placeIn(c, event, S, S).map(Math.floor);
    read.textContent = `${pixelName(x, y)}: ${figure(a.data[y * S + x], 3)}`;
  };
  return [
    card(
      'How much each pixel matters to the loss',
      el(
        'div',
        { className: 'row' },
        el('figure', {}, c, el('figcaption', {}, read)),
        el('figure', {}, litPicture(160, null, `the ${shown()}`, {}), el('figcaption', {}, `The ${shown()} as it is.`)),
      ),
      el(
        'p',
        { className: 'says' },
        `The largest is ${figure(top, 3)}, at ${where}: the sizes of its red, green and blue gradients together.`,
      ),
      el(
        'p',
        { className: 'note' },
        `Lit in proportion; the brightest from ${figure(top / 1.6, 2)} on. Kept in 8 bits, off by at most ${figure(a.error, 2)}.${book().example.small ? ' The loss is small, so this is mostly noise.' : ''}`,
      ),
    ),
  ];
}

function gradientSums(s) {
  if (s.kind === 'pixels') {
    const a = array('pixels', lastTime()),
      S = a.shape[0];
    return [...a.data.keys()]
      .sort((x, y) => a.data[y] - a.data[x])
      .slice(0, 3)
      .map(i => ({
        at: { name: pixelName(i % S, Math.floor(i / S)) },
        form: 'copy',
        value: a.data[i],
        from: '|red| + |green| + |blue| of its gradient',
      }));
  }
  const a = array('words', lastTime());
  return [...a.data.keys()]
    .sort((x, y) => a.data[y] - a.data[x])
    .slice(0, 3)
    .map(i => ({ at: { word: i }, form: 'copy', value: a.data[i], from: 'the length of the gradient at its vector' }));
}

function wordGradientsView() {
  const a = array('words'),
    e = book().example,
    most = Math.max(...a.data) || 1,
    best = a.data.indexOf(most);
  const chips = el(
    'div',
    { className: 'strip' },
    e.words.map((w, i) =>
      el(
        'span',
        { className: `chip ${i >= e.length ? 'pad' : ''}` },
        w,
        el('small', {}, figure(a.data[i], 2)),
        el('span', { className: 'bar' }, el('i', { style: `width:${(100 * a.data[i]) / most}%` })),
      ),
    ),
  );
  const pads = [...a.data.slice(e.length)];
  return [
    card(
      'How much each word matters to the loss',
      chips,
      el(
        'p',
        { className: 'says' },
        `The longest gradient is that of “${e.words[best]}”.${pads.length ? (pads.every(x => x === 0) ? ' The pads get exactly 0: no way leads back to them.' : ' Pads get something too, so somebody looked at them.') : ''}`,
      ),
    ),
  ];
}
