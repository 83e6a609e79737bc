// Attention: who looks where, over the picture and over words, in each layer and head.

// Which site and layer of it a step shows now. A step of the walk may look through several sites; one inside has one.
const entryNow = s => s.sites[Math.min(state.site, s.sites.length - 1)];
const siteNow = s => entryNow(s).site;
function layersOf(s) {
  const e = entryNow(s);
  return s.variants.length > 1 ? e.layers.map(l => l[0]) : e.layers[0];
}
function layerNow(s) {
  const all = layersOf(s).filter(l => site(siteNow(s)).kept.includes(l));
  return all[Math.min(state.layer, all.length - 1)];
}
const headTold = h => (h < 0 ? 'mean of all heads' : `head ${h + 1}`);
const keysTold = n => (site(n).through ? `answers of the pooler` : manyOf(site(n).keys));
const keyName = (n, id) => (site(n).through ? nameOf(id).replace('question', 'answer') : nameOf(id));

// "patch 7 spreads over about 3.1 of 16 patches; most to ..."
function observation(n, layer, head, query) {
  const s = site(n),
    row = rowOf(weights(n, layer), head, query),
    allowed = allowedKeys(n, layer, query),
    o = spread(row, allowed);
  const from = nameOf(s.queries[query]);
  if (allowed === 0) return `“${from}” may look at nothing here.`;
  if (allowed === 1) return `“${from}” may look at one only, and gives it everything.`;
  const best = o.top
    .slice(0, 3)
    .filter(j => row[j] > 0.005)
    .map(j => `${keyName(n, s.keys[j])} (${row[j].toFixed(2)}, ${(row[j] / o.share).toFixed(1)}× an even share)`);
  return o.even
    ? `Nearly uniform: “${from}” looks at all ${allowed} ${keysTold(n)} alike; its largest share is ${row[o.top[0]].toFixed(3)}, an even one would be ${o.share.toFixed(3)}.`
    : `“${from}” spreads its attention like ${o.like.toFixed(1)} equal shares among ${allowed} ${keysTold(n)}. Most goes to ${best.join(', ')}.`;
}

// The small picture of one row: lit, or a column of shares.
function rowPicture(n, layer, head, query, size, label) {
  const row = rowOf(weights(n, layer), head, query),
    seen = onPicture(n, row),
    s = site(n);
  const ring = isPlace(s.queries[query]) ? token(s.queries[query]).place : -1;
  if (seen) return litPicture(size, seen.shares, label, { ring });
  const allowed = allowedKeys(n, layer, query) || 1,
    a = weights(n, layer),
    [H, Tq, Tk] = a.shape,
    mask = allowedMask(n, layer);
  return canvas(size, size, label, pen => {
    const heads = head < 0 ? [...Array(H).keys()] : [head],
      w = size / Tk,
      h = size / Tq;
    for (let i = 0; i < Tq; i++)
      for (let j = 0; j < Tk; j++) {
        const share = add(heads.map(g => a.data[(g * Tq + i) * Tk + j])) / heads.length;
        const may = mask ? add([...mask.data.slice(i * Tk, (i + 1) * Tk)]) : Tk;
        pen.fillStyle = mask && !mask.data[i * Tk + j] ? rgb(mix(paper(), [128, 128, 128], 0.12)) : rgb(shareColour(share * may));
        pen.fillRect(j * w, i * h, w + 0.3, h + 0.3);
      }
    if (Tq > 1) {
      pen.strokeStyle = accent();
      pen.lineWidth = 2;
      pen.strokeRect(1, query * h, size - 2, h);
    }
  });
}

function headsRow(s, n, layer, query) {
  const home = site(n),
    small = home.heads > 8 ? 56 : 76;
  const layers = layersOf(s).filter(l => home.kept.includes(l)),
    whole = s.depth === 0 && layers.length > 1 ? layers : [layer];
  const rows = whole.map(l =>
    el(
      'div',
      { className: 'smalls', style: 'margin-bottom:.5rem' },
      whole.length > 1 ? el('span', { className: 'layer' }, `layer ${l + 1}`) : null,
      [...Array(home.heads).keys()].map(h => {
        const change = home.changes[l] ? home.changes[l][h] : null,
          on = l === layer && state.head === h;
        return el(
          'figure',
          {},
          el(
            'button',
            {
              'aria-pressed': String(on),
              id: `head-${l}-${h}`,
              'aria-label': `layer ${l + 1}, head ${h + 1}`,
              onclick: () => {
                state.layer = layers.indexOf(l);
                state.head = on ? -1 : h;
                render(`head-${l}-${h}`);
              },
            },
            rowPicture(n, l, h, query, small, `layer ${l + 1}, head ${h + 1}`),
          ),
          el(
            'figcaption',
            {},
            `head ${h + 1}`,
            change === null
              ? null
              : [
                  el('br'),
                  el(
                    'span',
                    { title: 'how much the loss changes without this head' },
                    `${change < 0 ? '−' : '+'}${figure(Math.abs(change), 2)}`,
                  ),
                ],
          ),
        );
      }),
    ),
  );
  const left =
    home.layers > home.kept.length
      ? el(
          'p',
          { className: 'note' },
          `Of ${home.layers} layers, ${home.kept.length} are kept in this page: ${home.kept.map(l => l + 1).join(', ')}.`,
        )
      : null;
  return card(
    'Every head, for this query',
    rows,
    left,
    el(
      'p',
      { className: 'note' },
      home.changes.length
        ? 'Below each: how the loss of the batch changes when that head is silenced. Near 0: nobody misses what it saw.'
        : '',
    ),
  );
}

// Each word's own picture, in the order in which the words are said.
function wordsRow(s, n, layer) {
  const home = site(n);
  if (kindOf(home.queries) !== 'word' || !onPicture(n, rowOf(weights(n, layer), state.head, 0))) return null;
  const e = book().example,
    count = Math.min(e.length, home.queries.length);
  return card(
    'Where each word looks',
    el(
      'div',
      { className: 'smalls' },
      home.queries.slice(0, count).map((id, i) => {
        const next = i + 1 < count ? e.words[i + 1] : null,
          on = chosen('query', home.queries) === i;
        return el(
          'figure',
          {},
          el(
            'button',
            {
              'aria-pressed': String(on),
              id: `look-${i}`,
              'aria-label': `where ${nameOf(id)} looks`,
              onclick: () => {
                choose('query', home.queries, i);
                render(`look-${i}`);
              },
            },
            rowPicture(n, layer, state.head, i, 84, `where ${nameOf(id)} looks`),
          ),
          el('figcaption', {}, el('b', {}, nameOf(id)), next ? [el('br'), `→ ${next}`] : null),
        );
      }),
    ),
    el(
      'p',
      { className: 'note' },
      `${headTold(state.head)}, layer ${layer + 1}. Below each word: the one that follows it, which this look helps to predict.`,
    ),
    litLegend(placeCount()),
  );
}

function lookCards(s, { gradient = true } = {}) {
  const n = siteNow(s),
    layer = layerNow(s),
    home = site(n),
    query = chosen('query', home.queries);
  const a = weights(n, layer);
  if (!a) return [card('Attention', el('p', {}, 'This layer is not kept in this page.'))];
  const row = rowOf(a, state.head, query),
    seen = onPicture(n, row),
    [, Tq, Tk] = a.shape,
    mask = allowedMask(n, layer);
  const from = nameOf(home.queries[query]),
    key = chosen('key', home.keys);
  const parts = [];
  if (seen) {
    const ring = isPlace(home.queries[query]) ? token(home.queries[query]).place : -1,
      N = seen.shares.length;
    const pick =
      ring >= 0
        ? p => {
            choose(
              'query',
              home.queries,
              home.queries.findIndex(id => isPlace(id) && token(id).place === p),
            );
            render();
          }
        : null;
    parts.push(
      el(
        'figure',
        {},
        litPicture(252, seen.shares, `where ${from} looks, ${headTold(state.head)}: ${observation(n, layer, state.head, query)}`, {
          ring,
          figures: true,
          pick,
        }),
        litLegend(N),
        el(
          'figcaption',
          {},
          seen.through === null
            ? pick
              ? `Press ${theClip() ? 'a place, once more for another that sees it,' : 'a patch'} to ask what it looks at.`
              : `What ${from} gives to each ${theClip() ? 'patch and tube: a pixel is as bright as the brightest that sees it' : 'patch'}.`
            : `“${from}” looks at the answers of a pooler, and these looked at the patches: the shares are multiplied. Mean of the pooler's heads.`,
        ),
      ),
    );
  }
  const cellAt = at =>
    at
      ? `${nameOf(home.queries[at[0]])} gives ${keyName(n, home.keys[at[1]])} ${mask && !mask.data[at[0] * Tk + at[1]] ? 'nothing: forbidden' : `${rowOf(a, state.head, at[0])[at[1]].toFixed(3)}`}`
      : `${from} gives ${keyName(n, home.keys[key])} ${row[key].toFixed(3)}`;
  const read = el('p', { className: 'note' }, cellAt(null)),
    may = [...Array(Tq).keys()].map(i => allowedKeys(n, layer, i) || 1);
  const rows = [...Array(Tq).keys()].map(i => rowOf(a, state.head, i));
  parts.push(
    el(
      'figure',
      {},
      matrix({
        rows: home.queries,
        columns: home.keys,
        height: Tq,
        width: Tk,
        colour: (i, j) => shareColour(rows[i][j] * may[i]),
        forbidden: mask ? (i, j) => !mask.data[i * Tk + j] : null,
        chosen: [query, key],
        most: 318,
        label: `attention of ${Tq} ${manyOf(home.queries)} to ${Tk} ${keysTold(n)}`,
        pick: (i, j) => {
          choose('query', home.queries, i);
          choose('key', home.keys, j);
          render();
        },
        over: at => {
          read.textContent = cellAt(at);
        },
      }),
      read,
      shareLegend(may[query] ? 1 / may[query] : 0),
    ),
  );
  const shares = weights(n, layer);
  return [
    card(
      `${from} asks · ${home.layers > 1 ? `layer ${layer + 1}, ` : ''}${headTold(state.head)}`,
      tokenStrip(home.queries, 'query', 'who asks'),
      el('div', { className: 'row' }, parts),
      el('p', { className: 'says' }, observation(n, layer, state.head, query)),
      el(
        'p',
        { className: 'note' },
        mask ? '' : 'There is no mask here: every pair is allowed. ',
        `Weights are kept with an error of at most ${figure(shares.error, 2)}.`,
      ),
      asTable('attention', home.queries.map(nameOf), home.keys.map(nameOf), (i, j) => rows[i][j].toFixed(3)),
    ),
    headsRow(s, n, layer, query),
    wordsRow(s, n, layer),
    gradient ? weightGradient(n, layer) : null,
  ];
}

// What the loss wants of the weights: up where the gradient is negative.
function weightGradient(n, layer) {
  if (state.show === 'value') return null;
  const g = weights(n, layer, lastTime(), 'dweights'),
    a = weights(n, layer, lastTime()),
    home = site(n);
  if (!g) return card('Gradient of the weights', el('p', {}, 'No gradient came back to here.'));
  const [, Tq, Tk] = g.shape,
    times = state.show === 'product';
  const rows = [...Array(Tq).keys()].map(i => {
    const r = rowOf(g, state.head, i),
      w = rowOf(a, state.head, i);
    return times ? r.map((x, j) => x * w[j]) : r;
  });
  const largest = Math.max(...rows.map(r => Math.max(...r.map(Math.abs)))) || 1;
  return card(
    times ? 'Weight × gradient' : 'Gradient of the weights',
    matrix({
      rows: home.queries,
      columns: home.keys,
      height: Tq,
      width: Tk,
      colour: (i, j) => signColour(rows[i][j] / largest),
      most: 290,
      label: `gradient of the weights, largest ${figure(largest)}`,
    }),
    signLegend(largest),
    el(
      'p',
      { className: 'note' },
      `Negative: the loss would fall if this pair's share were larger. Length of each head's gradient: ${home.gradients[layer].map((x, h) => `head ${h + 1} ${figure(x, 2)}`).join(', ')}.`,
    ),
  );
}
