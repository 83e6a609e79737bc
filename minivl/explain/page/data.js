// What the page holds: one book, or two to compare. Arrays are unpacked when they are first asked for.

const whole = JSON.parse(document.getElementById('book').textContent);
const books = whole.books;
const unpacked = new Map();

const state = { book: 0, step: 'overview', layer: 0, head: -1, query: {}, key: {}, time: -1, show: 'value', site: 0 };
const book = () => books[state.book];
const lastTime = () => book().times.length - 1;
const time = () => (state.time < 0 ? lastTime() : Math.min(state.time, lastTime()));
const atEnd = () => time() === lastTime();

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    fraction = bits & 1023;
  if (exponent === 0) return sign * 2 ** -24 * fraction;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

function unpack(packed) {
  const data = typeof packed.data === 'number' ? whole.shared[packed.data] : packed.data,
    raw = Uint8Array.from(atob(data), c => c.charCodeAt(0)),
    view = new DataView(raw.buffer);
  const n = packed.shape.reduce((a, b) => a * b, 1),
    out = new Float32Array(n);
  for (let i = 0; i < n; i++) {
    if (packed.kind === 'f4') out[i] = view.getFloat32(4 * i, true);
    else if (packed.kind === 'f2') out[i] = half(view.getUint16(2 * i, true));
    else if (packed.kind === 'i1') out[i] = (view.getInt8(i) * packed.scale) / 127;
    else if (packed.kind === 'u1') out[i] = (raw[i] * packed.scale) / 255;
    else out[i] = (raw[i >> 3] >> (i & 7)) & 1;
  }
  return { data: out, shape: packed.shape, error: packed.error, kind: packed.kind };
}

// The array `name` of a model in time; null where it was not kept.
function array(name, t = time(), b = state.book) {
  const full = t === books[b].times.length - 1 ? name : `${name}@${t}`,
    place = `${b} ${full}`;
  if (!unpacked.has(place)) {
    const packed = books[b].arrays[full];
    unpacked.set(place, packed ? unpack(packed) : null);
  }
  return unpacked.get(place);
}

// ---- tokens ------------------------------------------------

const token = id => {
  const [kind, name, place, row] = book().tokens[id] || ['none', '', 0, -1];
  return { kind, name, place, row, pad: kind === 'word' && place >= book().example.length };
};
const nameOf = id => {
  const t = token(id);
  if (t.kind === 'picture') return `picture ${t.row + 1}`;
  if (t.kind === 'text') return `text ${t.row + 1}`;
  return t.pad ? `pad ${t.place + 1}` : t.name;
};
const kindOf = ids => {
  const kinds = new Set(ids.map(id => token(id).kind));
  return kinds.size === 1 ? [...kinds][0] : 'mixed';
};
const plural = {
  patch: 'patches',
  word: 'words',
  learned: 'learned tokens',
  mixed: 'tokens',
  none: 'rows',
  tube: 'patches and tubes',
  together: 'means',
};
const manyOf = ids => {
  if (kindOf(ids) === 'learned' && nameOf(ids[0]).includes('question')) return ids.length > 1 ? 'questions' : 'question';
  return plural[kindOf(ids)] || 'tokens';
};
// Which row of a step is chosen: remembered for each kind of row, so that "patch 7" stays from step to step.
const chosen = (what, ids) => {
  const kept = state[what][kindOf(ids)],
    first = what === 'query' ? defaultQuery(ids) : 0;
  return Math.max(0, Math.min(kept ?? first, ids.length - 1));
};
const choose = (what, ids, i) => {
  state[what][kindOf(ids)] = Math.max(0, Math.min(i, ids.length - 1));
};
const defaultQuery = ids => {
  const kind = kindOf(ids);
  if (kind === 'patch' || kind === 'tube') return Math.floor(ids.length * 0.4);
  if (kind === 'word') return Math.min(2, ids.length - 1);
  const cls = ids.findIndex(id => token(id).name === '[CLS]');
  return cls >= 0 ? cls : 0;
};

// ---- attention ------------------------------------------------

const site = n => book().sites[n];
function weights(n, layer, t = time(), what = 'weights') {
  return array(`look/${n}/${layer}/${what}`, t);
}

// One query's row of an array (H, Tq, Tk): of a head, or the mean of all (head -1).
function rowOf(a, head, query) {
  const [H, Tq, Tk] = a.shape,
    out = new Float32Array(Tk);
  const heads = head < 0 ? [...Array(H).keys()] : [Math.min(head, H - 1)];
  for (const h of heads) for (let j = 0; j < Tk; j++) out[j] += a.data[(h * Tq + query) * Tk + j] / heads.length;
  return out;
}

// How a query's row falls on the patches: directly, or through the answers of a pooler, whose own shares are multiplied
// with it. {shares, through}; null where no picture is looked at.
function onPicture(n, row, t = time()) {
  const s = site(n),
    N = placeCount(),
    shares = new Float32Array(N);
  if (!N) return null;
  const places = s.keys.map(id => (isPlace(id) ? token(id).place : -1));
  if (places.filter(p => p >= 0).length === N) {
    places.forEach((p, j) => {
      if (p >= 0) shares[p] += row[j];
    });
    return { shares, through: null };
  }
  if (!s.through) return null;
  const [before, layer] = s.through,
    a = weights(before, layer, t);
  if (!a) return null;
  for (let j = 0; j < row.length; j++) {
    const deeper = onPicture(before, rowOf(a, -1, j), t);
    if (!deeper) return null;
    deeper.shares.forEach((share, p) => {
      shares[p] += row[j] * share;
    });
  }
  return { shares, through: before };
}

const allowedMask = (n, layer) => {
  const number = site(n).masks[layer];
  return number === null || number === undefined ? null : array(`mask/${number}`, lastTime());
};
// How many keys a query may look at.
function allowedKeys(n, layer, query) {
  const mask = allowedMask(n, layer),
    Tk = site(n).keys.length;
  if (!mask) return Tk;
  let count = 0;
  for (let j = 0; j < Tk; j++) count += mask.data[query * Tk + j];
  return count;
}

// What can honestly be said of a row of shares: spread like so many equal ones (the exponential of its entropy).
function spread(row, allowed) {
  let entropy = 0,
    sum = 0;
  for (const p of row) sum += p;
  for (const p of row) if (p > 0) entropy -= (p / sum) * Math.log(p / sum);
  const like = Math.exp(entropy),
    top = [...row.keys()].sort((a, b) => row[b] - row[a]);
  return { like, even: allowed > 1 && like > 0.9 * allowed, top, share: 1 / allowed };
}
