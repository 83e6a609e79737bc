// Sliders and switches: what of a step is shown.

function slider(id, label, value, most, told, set) {
  const input = el('input', {
    type: 'range',
    id,
    min: 0,
    max: most,
    step: 1,
    'aria-valuetext': told,
    oninput: e => {
      set(Number(e.target.value));
      render(id);
    },
  });
  input.value = value;
  return el('div', { className: 'control' }, el('label', { for: id }, label), input, el('output', { for: id }, told));
}
function pressed(id, label, options, value, set) {
  return el(
    'div',
    { className: 'control' },
    el('span', { id: `${id}-label` }, label),
    el(
      'div',
      { className: 'group', role: 'group', 'aria-labelledby': `${id}-label` },
      options.map(([v, text]) =>
        el(
          'button',
          {
            id: `${id}-${v}`,
            'aria-pressed': String(v === value),
            onclick: () => {
              set(v);
              render(`${id}-${v}`);
            },
          },
          text,
        ),
      ),
    ),
  );
}

function layerCount(s) {
  if (s.sites && s.sites.length) return layersOf(s).filter(l => site(siteNow(s)).kept.includes(l)).length;
  return s.variants.length;
}
function controls(s) {
  const found = [],
    looks = s.sites && s.sites.length;
  if (looks && s.sites.length > 1)
    found.push(
      pressed(
        'site',
        'looking at',
        s.sites.map((e, i) => {
          const n = site(e.site);
          return [i, n.through ? 'the picture' : kindOf(n.queries) === kindOf(n.keys) ? 'each other' : `the ${manyOf(n.keys)}`];
        }),
        Math.min(state.site, s.sites.length - 1),
        v => {
          state.site = v;
        },
      ),
    );
  const layers = layerCount(s);
  if (layers > 1)
    found.push(
      slider(
        'layer',
        'layer',
        Math.min(state.layer, layers - 1),
        layers - 1,
        `${Math.min(state.layer, layers - 1) + 1} of ${layers}`,
        v => {
          state.layer = v;
        },
      ),
    );
  if (looks) {
    const H = site(siteNow(s)).heads,
      single = ['asks', 'scores', 'mixed'].includes(s.kind),
      head = Math.min(single ? Math.max(0, state.head) : state.head, H - 1);
    found.push(
      slider('head', 'head', head + (single ? 0 : 1), single ? H - 1 : H, head < 0 ? 'mean of all' : `${head + 1} of ${H}`, v => {
        state.head = v - (single ? 0 : 1);
      }),
    );
  }
  const ids = queryIds(s);
  if (ids && ids.length > 1 && s.kind !== 'backward')
    found.push(
      slider(
        'query',
        looks || s.mask !== undefined ? 'query' : 'token',
        chosen('query', ids),
        ids.length - 1,
        nameOf(ids[chosen('query', ids)]),
        v => choose('query', ids, v),
      ),
    );
  if (s.mask !== undefined) {
    pairOf(book().masks[s.mask], array(`mask/${s.mask}`, lastTime()));
    const keys = book().masks[s.mask].keys;
    found.push(slider('key', 'key', chosen('key', keys), keys.length - 1, nameOf(keys[chosen('key', keys)]), v => choose('key', keys, v)));
  }
  if (lastTime() > 0 && !['picture', 'text', 'mask', 'heads', 'versus'].includes(s.kind))
    found.push(
      slider('time', 'model', time(), lastTime(), book().times[time()].label, v => {
        state.time = v === lastTime() ? -1 : v;
      }),
    );
  if (
    s.kind === 'overview' ||
    ((s.variants[0].name || looks) && s.kind !== 'backward' && s.part !== 'loss' && !['asks', 'scores', 'mixed'].includes(s.kind))
  )
    found.push(
      pressed(
        'show',
        'show',
        s.kind === 'overview'
          ? [
              ['value', 'forward'],
              ['gradient', 'backward'],
            ]
          : [
              ['value', 'value'],
              ['gradient', 'gradient'],
              ['product', 'value × gradient'],
            ],
        s.kind === 'overview' && state.show === 'product' ? 'gradient' : state.show,
        v => {
          state.show = v;
        },
      ),
    );
  return found.length ? el('div', { className: 'controls' }, found) : null;
}
