// The first steps: the picture, the text, patches and words. A view is a function of a step, and returns cards.

function pictureView() {
  const e = book().example,
    read = el('p', { className: 'note' }, 'Point at a pixel to read it.'),
    image = thePicture(),
    size = 320;
  const c = canvas(size, size, `the ${shown()}, ${e.size} by ${e.size} pixels: ${e.text}`, pen => {
    paintLit(pen, size, null, 1, 1);
    if (theClip()) paintFrames(pen, size);
  });
  c.onmousemove = event => {
    const [x, y] = placeIn(c, event, e.size, e.size).map(Math.floor),
      o = (y * image.width + x) * 4;
    read.textContent = `${pixelName(x, y)}: red ${image.data[o]}, green ${image.data[o + 1]}, blue ${image.data[o + 2]}`;
  };
  const channel = k =>
    canvas(100, 100, `the ${['red', 'green', 'blue'][k]} of each pixel`, pen => {
      const S = image.width,
        f = 100 / S;
      for (let y = 0; y < S; y++)
        for (let x = 0; x < S; x++) {
          const v = image.data[(y * S + x) * 4 + k];
          pen.fillStyle = rgb([0, 1, 2].map(i => (i === k ? v : v * 0.12)));
          pen.fillRect(x * f, y * f, f + 0.5, f + 0.5);
        }
    });
  return [
    card(
      'What the model sees',
      el(
        'div',
        { className: 'row' },
        el('figure', {}, c, el('figcaption', {}, read)),
        el(
          'div',
          { className: 'smalls', style: 'flex-direction:column' },
          [0, 1, 2].map(k => el('figure', {}, channel(k), el('figcaption', {}, ['red', 'green', 'blue'][k]))),
        ),
      ),
    ),
  ];
}

function textView() {
  const e = book().example;
  return [
    card(
      'Pieces and their numbers',
      el(
        'div',
        { className: 'strip' },
        e.words.map((w, t) =>
          el(
            'span',
            { className: `chip ${t >= e.length ? 'pad' : t === 0 || t === e.length - 1 ? 'learned' : ''}` },
            w,
            el('small', {}, String(e.ids[t])),
          ),
        ),
      ),
      el(
        'p',
        { className: 'says' },
        `“${e.text}” is ${e.length - 2} pieces; with start and end ${e.length} tokens${e.words.length > e.length ? `, and ${e.words.length - e.length} pads` : ''}.`,
      ),
    ),
  ];
}

function patchesView(s) {
  const rows = variantOf(s).rows.filter(isPlace),
    e = book().example,
    i = chosen('query', rows),
    cut = theClip()
      ? `the ${theClip().frames} frames of the clip; ${nameOf(rows[i])} is chosen`
      : `the picture cut into ${e.grid[0]} rows of ${e.grid[1]} patches; patch ${i + 1} is chosen`;
  return [
    card(
      theClip() ? 'The patches and tubes' : 'The patches',
      el(
        'div',
        { className: 'row' },
        el(
          'figure',
          {},
          litPicture(288, null, cut, {
            grid: true,
            ring: token(rows[i]).place,
            pick: p => {
              choose(
                'query',
                rows,
                rows.findIndex(id => token(id).place === p),
              );
              render();
            },
          }),
          el('figcaption', {}, theClip() ? 'Press a place to choose what sees it; once more for the next.' : 'Press a patch to choose it.'),
        ),
        el(
          'figure',
          {},
          patchTile(token(rows[i]).place, 150, nameOf(rows[i])),
          el(
            'figcaption',
            {},
            `${nameOf(rows[i])}: ${cutOf(token(rows[i]).place)}`,
          ),
        ),
      ),
      tokenStrip(rows, 'query', 'the places in their order'),
    ),
    vectorsCard(s),
  ];
}

const wordsView = s => [
  card(
    'Each piece looks up its row',
    el(
      'div',
      { className: 'strip' },
      variantOf(s).rows.map(id =>
        el(
          'span',
          { className: `chip ${token(id).pad ? 'pad' : ''}` },
          nameOf(id),
          el('small', {}, `row ${book().example.ids[token(id).place]}, place ${token(id).place + 1}`),
        ),
      ),
    ),
  ),
  vectorsCard(s),
];
