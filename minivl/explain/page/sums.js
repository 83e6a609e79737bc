// Three numbers, worked out again here from the numbers that went into them, beside what the model had.

const add = a => a.reduce((x, y) => x + y, 0);
const erf = x => {
  // Abramowitz & Stegun 7.1.26 is off by 1e-7 at most: as much as the model's own rounding
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const y = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
  return x < 0 ? -y : y;
};
const FUNCTIONS = {
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  tanh: Math.tanh,
  abs: Math.abs,
  neg: x => -x,
  relu: x => Math.max(0, x),
  sigmoid: x => 1 / (1 + Math.exp(-x)),
  softplus: x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  gelu: x => (x * (1 + erf(x / Math.SQRT2))) / 2,
  quick_gelu: x => x / (1 + Math.exp(-1.702 * x)),
};
const mean = a => add(a) / a.length;

// Products in the order of their size: the first few, and the sum of the rest.
function products(a, b, shown = 3) {
  const terms = a.map((x, k) => [x, b[k], x * b[k]]).sort((x, y) => Math.abs(y[2]) - Math.abs(x[2]));
  const first = terms
    .slice(0, shown)
    .map(([x, y]) => `${figure(x, 3)}·${y < 0 ? `(${figure(y, 3)})` : figure(y, 3)}`)
    .join(' + ');
  const rest = terms.slice(shown);
  return first + (rest.length ? ` + ${rest.length} smaller products, together ${figure(add(rest.map(t => t[2])), 3)}` : '');
}

// [what is written, what comes out] of each form of sum; see minivl/explain/arithmetic.py.
const FORMS = {
  dot(s) {
    const sum = add(s.a.map((x, k) => x * s.b[k])) * s.times + s.plus;
    const inner = products(s.a, s.b);
    const scaled = s.times === 1 ? inner : `(${inner}) × ${figure(s.times)}`;
    return [scaled + (s.plus ? ` ${s.plus < 0 ? '−' : '+'} ${figure(Math.abs(s.plus), 3)} (bias)` : ''), sum];
  },
  layernorm(s) {
    const m = mean(s.x),
      variance = mean(s.x.map(x => (x - m) ** 2)),
      root = Math.sqrt(variance + s.eps);
    return [
      `(${figure(s.x[s.i])} − ${figure(m, 3)}) / ${figure(root)} × ${figure(s.weight)} + ${figure(s.bias, 3)}   (mean ${figure(m, 3)} and standard deviation ${figure(root, 3)} of the ${s.x.length} numbers)`,
      ((s.x[s.i] - m) / root) * s.weight + s.bias,
    ];
  },
  normalize(s) {
    const length = Math.sqrt(add(s.x.map(x => x * x)));
    return [`${figure(s.x[s.i])} / ${figure(length)}   (the length of the vector)`, s.x[s.i] / length];
  },
  softmax(s) {
    const top = Math.max(...s.x),
      sum = add(s.x.map(x => Math.exp(x - top)));
    return [`exp(${figure(s.x[s.i])}) / (sum of exp over ${s.x.length} scores)`, Math.exp(s.x[s.i] - top) / sum];
  },
  nll(s) {
    const top = Math.max(...s.x),
      sum = add(s.x.map(x => Math.exp(x - top))),
      p = Math.exp(s.x[s.i] - top) / sum;
    return [`−log( exp(${figure(s.x[s.i])}) / sum of exp over ${s.x.length} logits ) = −log ${figure(p)}`, Math.log(sum) + top - s.x[s.i]];
  },
  binary(s) {
    const value = { '+': s.a + s.b, '−': s.a - s.b, '×': s.a * s.b, '÷': s.a / s.b }[s.sign];
    return [`${figure(s.a)} ${s.sign} ${s.b < 0 ? `(${figure(s.b)})` : figure(s.b)}`, value];
  },
  unary: s => [`${s.function}(${figure(s.a)})`, FUNCTIONS[s.function](s.a)],
  mean: s => [
    `(${s.a
      .slice(0, 3)
      .map(x => figure(x, 3))
      .join(' + ')}${s.a.length > 3 ? ` + ${s.a.length - 3} more` : ''}) / ${s.a.length}`,
    mean(s.a),
  ],
  sum: s => [
    `${s.a
      .slice(0, 3)
      .map(x => figure(x, 3))
      .join(' + ')}${s.a.length > 3 ? ` + ${s.a.length - 3} more` : ''}`,
    add(s.a),
  ],
  pixel: s => [`(${s.p} / 255 − ${figure(s.mean)}) / ${figure(s.std)}`, (s.p / 255 - s.mean) / s.std],
  parts: s => [s.a.map(([key, x]) => figure(x) + (key ? ` (${key})` : '')).join(' + '), add(s.a.map(p => p[1]))],
  copy: s => [s.from, s.value],
  masked: s => [s.from, s.value],
};

function nameOfPlace(at) {
  if (at.name) return at.name;
  if (at.pixel) return `${at.pixel[2]} of ${pixelName(at.pixel[1], at.pixel[0])}`;
  if (at.word !== undefined) return `“${book().example.words[at.word]}”`;
  if (at.op) return at.named ? at.named.replaceAll('_', ' ') : at.op.replace('_', '-');
  const token = nameOf(at.token),
    named = token && token !== 'none' ? token : 'number';
  return at.feature === undefined
    ? named
    : `${named}, ${featureName(current(), at.feature)}${at.of ? `, before it is added (${at.of.replace('_', ' ')})` : ''}`;
}

function sumLine(packed, tolerance = 1e-4) {
  const s = Object.fromEntries(Object.entries(packed).map(([name, x]) => [name, x && x.shape ? [...unpack(x).data] : x]));
  const [written, value] = FORMS[s.form](s),
    off = Math.abs(value - s.value),
    scale = Math.max(1e-3, Math.abs(s.value));
  const agrees =
    off <= tolerance * Math.max(scale, s.form === 'dot' ? add(s.a.map((x, k) => Math.abs(x * s.b[k]))) * 0.1 : 0) || value === s.value;
  const kept = s.form === 'copy' || s.form === 'masked';
  const check = kept
    ? null
    : el(
        'span',
        { className: agrees ? 'ok' : 'off' },
        agrees ? ` ✓ the model had ${figure(s.value, 5)}` : ` the model had ${figure(s.value, 5)}, off by ${figure(off, 2)}`,
      );
  return el(
    'li',
    {},
    el('span', { className: 'what' }, nameOfPlace(s.at)),
    el('div', { className: 'eq' }, kept ? `${figure(value, 5)}: ${written}` : `= ${written} = ${figure(value, 5)}`, check),
    s.form === 'dot' ? allTerms(s) : null,
  );
}

function allTerms(s) {
  const details = el('details', {}, el('summary', {}, `all ${s.a.length} products`));
  details.ontoggle = () => {
    if (details.open && details.childElementCount === 1)
      details.append(
        el(
          'p',
          { className: 'eq' },
          s.a.map((x, k) => `${figure(x, 3)}·${s.b[k] < 0 ? `(${figure(s.b[k], 3)})` : figure(s.b[k], 3)}`).join(' + '),
        ),
      );
  };
  return details;
}

// Attention's three numbers, for the head, query and keys that are chosen now: from q, k and v as they are kept.
function attentionSums(kind, n, layer) {
  const [q, k, v, scores, shares] = ['q', 'k', 'v', 'scores', 'weights'].map(part => weights(n, layer, lastTime(), part));
  if (!q || !atEnd()) return null;
  const s = site(n),
    [H, Tq, D] = q.shape,
    Tk = k.shape[1],
    i = chosen('query', s.queries),
    mask = allowedMask(n, layer);
  const h = Math.max(0, Math.min(state.head, H - 1)),
    from = nameOf(s.queries[i]);
  const take = (a, t, T) => [...a.data.slice((h * T + t) * D, (h * T + t + 1) * D)];
  const row = [...Array(Tk).keys()].map(j => shares.data[(h * Tq + i) * Tk + j]);
  const best = [...row.keys()].filter(j => !mask || mask.data[i * Tk + j]).sort((a, b) => row[b] - row[a]);
  const score = j => ({
    at: { name: `score of ${from} for ${nameOf(s.keys[j])}` },
    form: 'dot',
    a: take(q, i, Tq),
    b: take(k, j, Tk),
    plus: 0,
    times: s.scale,
    value: scores.data[(h * Tq + i) * Tk + j],
  });
  const share = j => {
    const x = best.map(b => scores.data[(h * Tq + i) * Tk + b]);
    return { at: { name: `share of ${nameOf(s.keys[j])} for ${from}` }, form: 'softmax', x, i: best.indexOf(j), value: row[j] };
  };
  const brought = d => ({
    at: { name: `what ${from} brings home, feature ${d + 1}` },
    form: 'dot',
    a: row,
    b: [...Array(Tk).keys()].map(j => v.data[(h * Tk + j) * D + d]),
    plus: 0,
    times: 1,
    value: add(row.map((p, j) => p * v.data[(h * Tk + j) * D + d])),
  });
  if (kind === 'scores') return [h, best.slice(0, 3).map(score)];
  if (kind === 'weights') {
    const no = [...Array(Tk).keys()].find(j => mask && !mask.data[i * Tk + j]);
    const three = best.slice(0, no === undefined ? 3 : 2).map(share);
    if (no !== undefined)
      three.push({
        at: { name: `share of ${nameOf(s.keys[no])} for ${from}` },
        form: 'masked',
        from: 'exp(−∞): the mask forbids it',
        value: 0,
      });
    return [h, three];
  }
  if (kind === 'mixed') return [h, [0, 1, 2].map(brought)];
  return [h, [score(best[0]), share(best[0]), brought(0)]];
}
