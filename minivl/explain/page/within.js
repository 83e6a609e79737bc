// Within attention: queries, keys and values; scores; and what is brought home.

function scoresView(s) {
  const n = siteNow(s),
    layer = layerNow(s),
    home = site(n),
    a = weights(n, layer, time(), 'scores');
  if (!a) return lookCards(s);
  const [, Tq, Tk] = a.shape,
    head = Math.max(0, state.head),
    query = chosen('query', home.queries),
    key = chosen('key', home.keys);
  const rows = [...Array(Tq).keys()].map(i => rowOf(a, head, i)),
    largest = Math.max(...rows.map(r => Math.max(...r.map(Math.abs)))) || 1;
  const read = el('p', { className: 'note' }, ' ');
  const best = rows[query].indexOf(Math.max(...rows[query]));
  return [
    card(
      `Scores · ${home.layers > 1 ? `layer ${layer + 1}, ` : ''}head ${head + 1}`,
      tokenStrip(home.queries, 'query', 'who asks'),
      matrix({
        rows: home.queries,
        columns: home.keys,
        height: Tq,
        width: Tk,
        colour: (i, j) => signColour(rows[i][j] / largest),
        chosen: [query, key],
        most: 400,
        label: `scores of ${Tq} queries and ${Tk} keys, from ${figure(-largest, 3)} to ${figure(largest, 3)}`,
        pick: (i, j) => {
          choose('query', home.queries, i);
          choose('key', home.keys, j);
          render();
        },
        over: at => {
          read.textContent = at ? `${nameOf(home.queries[at[0]])} and ${nameOf(home.keys[at[1]])}: ${figure(rows[at[0]][at[1]])}` : ' ';
        },
      }),
      read,
      signLegend(largest),
      el(
        'p',
        { className: 'says' },
        `“${nameOf(home.queries[query])}” matches “${nameOf(home.keys[best])}” best, with ${figure(rows[query][best], 3)}${allowedMask(n, layer) && !allowedMask(n, layer).data[query * Tk + best] ? '; but the mask will forbid it' : ''}. The mask is not in these numbers yet.`,
      ),
      asTable('scores', home.queries.map(nameOf), home.keys.map(nameOf), (i, j) => figure(rows[i][j], 3)),
    ),
  ];
}

// One head's queries, keys, values: a row for each token.
function asksView(s) {
  const n = siteNow(s),
    layer = layerNow(s),
    home = site(n),
    head = Math.max(0, state.head);
  const one = (part, ids, title, named = true) => {
    const a = weights(n, layer, lastTime(), part);
    if (!a) return null;
    const [, T, D] = a.shape,
      at = (i, d) => a.data[(head * T + i) * D + d],
      largest = a.data.slice(head * T * D, (head + 1) * T * D).reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
    return el(
      'figure',
      {},
      matrix({
        rows: named ? ids : null,
        columns: null,
        height: T,
        width: D,
        colour: (i, d) => signColour(at(i, d) / largest),
        chosen: [part === 'q' ? chosen('query', ids) : -1, -1],
        most: 212,
        tallest: 15,
        label: `${title} of ${T} tokens, ${D} numbers each`,
      }),
      el('figcaption', {}, `${title}: ${T} × ${D}, at most ${figure(largest, 3)}`),
    );
  };
  return [
    card(
      `Head ${head + 1}${home.layers > 1 ? ` of layer ${layer + 1}` : ''}`,
      el('div', { className: 'row' }, one('q', home.queries, 'Queries'), one('k', home.keys, 'Keys'), one('v', home.keys, 'Values', false)),
      el('p', { className: 'note' }, `Blue is positive, orange negative.${atEnd() ? '' : ' Of the finished model.'}`),
      el(
        'p',
        { className: 'says' },
        kindOf(home.queries) === kindOf(home.keys)
          ? 'Queries, keys and values are made of the same tokens: self-attention.'
          : `The ${manyOf(home.queries)} ask, the ${manyOf(home.keys)} are asked: cross-attention.`,
      ),
    ),
  ];
}

function mixedView(s) {
  const n = siteNow(s),
    layer = layerNow(s),
    home = site(n),
    head = Math.max(0, state.head),
    v = weights(n, layer, lastTime(), 'v'),
    a = weights(n, layer, lastTime());
  if (!v) return lookCards(s);
  const [, Tq, Tk] = a.shape,
    D = v.shape[2],
    query = chosen('query', home.queries),
    share = rowOf(a, head, query);
  const out = [...Array(Tq).keys()].map(i => {
    const w = rowOf(a, head, i);
    return [...Array(D).keys()].map(d => add([...Array(Tk).keys()].map(j => w[j] * v.data[(head * Tk + j) * D + d])));
  });
  const largest = Math.max(...out.map(r => Math.max(...r.map(Math.abs)))) || 1,
    order = [...share.keys()].sort((x, y) => share[y] - share[x]).slice(0, 6);
  const value = [...order.map(j => [...Array(D).keys()].map(d => v.data[(head * Tk + j) * D + d])), out[query]],
    most = Math.max(...value.flat().map(Math.abs)) || 1;
  const table = el(
    'div',
    { className: 'scroll', tabindex: 0, role: 'group', 'aria-label': 'the average' },
    el(
      'table',
      {},
      el(
        'tbody',
        {},
        value.map((r, i) =>
          el(
            'tr',
            {},
            el(
              'th',
              { scope: 'row' },
              i < order.length
                ? `${figure(share[order[i]], 2)} × ${nameOf(home.keys[order[i]])}`
                : `= what ${nameOf(home.queries[query])} brings home`,
            ),
            el(
              'td',
              {},
              canvas(8 * D, 14, `${D} numbers`, pen =>
                r.forEach((x, d) => {
                  pen.fillStyle = rgb(signColour(x / most));
                  pen.fillRect(8 * d, 0, 7, 13);
                }),
              ),
            ),
          ),
        ),
      ),
    ),
  );
  return [
    card(
      `What “${nameOf(home.queries[query])}” brings home · head ${head + 1}`,
      tokenStrip(home.queries, 'query', 'who asks'),
      table,
      el('p', { className: 'note' }, order.length < Tk ? `The ${order.length} largest shares of ${Tk}; the others are added too.` : ''),
    ),
    card(
      'All queries',
      matrix({
        rows: home.queries,
        columns: null,
        height: Tq,
        width: D,
        colour: (i, d) => signColour(out[i][d] / largest),
        chosen: [query, -1],
        most: 300,
        tallest: 15,
        label: `averages of ${Tq} queries, ${D} numbers each`,
        pick: i => {
          choose('query', home.queries, i);
          render();
        },
      }),
      signLegend(largest),
    ),
  ];
}
