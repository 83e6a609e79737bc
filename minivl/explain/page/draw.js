// Pictures, on canvas: lit pictures, matrices, strips. Colours mean the same everywhere, and numbers stand beside them.

const dark = () =>
  getComputedStyle(document.documentElement).colorScheme.trim() === 'dark' ||
  (document.documentElement.dataset.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
const paper = () => (dark() ? [28, 31, 37] : [255, 255, 255]);
const ink = () => (dark() ? '#e6e4df' : '#1c1d20');
const soft = () => (dark() ? '#a8adb8' : '#595d66');
const accent = () => (dark() ? '#7cc0ee' : '#0a5c8a');
const rgb = c => `rgb(${c.map(Math.round)})`;
const mix = (a, b, f) => a.map((x, i) => x + (b[i] - x) * f);
const between = (stops, x) => {
  for (let i = 1; i < stops.length; i++)
    if (x <= stops[i][0]) return mix(stops[i - 1][1], stops[i][1], (x - stops[i - 1][0]) / (stops[i][0] - stops[i - 1][0]));
  return stops[stops.length - 1][1];
};
// Multiples of an even share: 0 is the paper, 1 the even share, from 8 on all look the same.
const LIGHT_SHARES = [
  [0, [246, 246, 244]],
  [1, [205, 222, 235]],
  [2, [140, 187, 220]],
  [4, [45, 122, 178]],
  [8, [8, 48, 92]],
];
const DARK_SHARES = [
  [0, [33, 37, 44]],
  [1, [44, 70, 92]],
  [2, [52, 108, 150]],
  [4, [92, 168, 220]],
  [8, [222, 240, 255]],
];
const shareColour = x => between(dark() ? DARK_SHARES : LIGHT_SHARES, Math.min(8, x));
// Black or white, whichever stands out more from a colour (WCAG's relative luminance).
const inkOn = colour => {
  const [r, g, b] = colour.map(v => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? '#000' : '#fff';
};
// From -1 over 0, which is the paper, to 1: orange is negative, blue positive.
const signColour = x =>
  mix(paper(), x < 0 ? (dark() ? [240, 150, 60] : [190, 84, 0]) : dark() ? [95, 175, 245] : [10, 92, 160], Math.min(1, Math.abs(x)) ** 0.8);

function el(tag, properties = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) e[name] = value;
    else if (name === 'html') e.innerHTML = value;
    else if (name === 'style') e.style.cssText = value;
    else e.setAttribute(name === 'className' ? 'class' : name, value === true ? '' : value);
  }
  e.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false));
  return e;
}

function canvas(width, height, label, paint) {
  const ratio = Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  const c = el('canvas', { role: 'img', 'aria-label': label });
  c.width = Math.round(width * ratio);
  c.height = Math.round(height * ratio);
  c.style.width = `${width}px`;
  c.style.height = 'auto';
  c.style.aspectRatio = `${width} / ${height}`;
  const pen = c.getContext('2d');
  pen.scale(ratio, ratio);
  pen.textBaseline = 'middle';
  pen.font = '12px system-ui, sans-serif';
  paint(pen);
  return c;
}
// Where on its drawing a click or a movement fell, in the units in which it was drawn.
const placeIn = (c, event, width, height) => {
  const box = c.getBoundingClientRect();
  return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
};

// ---- the picture ------------------------------------------------

const images = new Map(); // address -> {width, height, data}: the pixels of a picture
function loadPictures(done) {
  const wanted = [...new Set(books.flatMap(b => [b.example.picture, ...b.example.others.map(o => o.picture)]))];
  let left = wanted.length;
  for (const source of wanted) {
    const image = new Image();
    image.onload = () => {
      const c = document.createElement('canvas');
      c.width = image.naturalWidth;
      c.height = image.naturalHeight;
      const pen = c.getContext('2d');
      pen.drawImage(image, 0, 0);
      images.set(source, pen.getImageData(0, 0, c.width, c.height));
      if (--left === 0) done();
    };
    image.src = source;
  }
}
const thePicture = () => images.get(book().example.picture);

// The picture as lit by numbers from 0 to 1, one for each cell of a grid (or each pixel): dark where nothing falls.
function paintLit(pen, size, light, rows, columns) {
  const image = thePicture(),
    S = image.width,
    small = document.createElement('canvas');
  small.width = small.height = S;
  const inner = small.getContext('2d'),
    out = inner.createImageData(S, S);
  for (let y = 0; y < S; y++)
    for (let x = 0; x < S; x++) {
      const o = (y * S + x) * 4,
        [r, g, b] = [image.data[o], image.data[o + 1], image.data[o + 2]];
      const f = light ? light[Math.floor((y / S) * rows) * columns + Math.floor((x / S) * columns)] : 1;
      const grey = (0.3 * r + 0.59 * g + 0.11 * b) / 255,
        night = [10 + 52 * grey, 10 + 52 * grey, 24 + 62 * grey];
      [r, g, b].forEach((v, k) => {
        out.data[o + k] = night[k] + (v - night[k]) * f;
      });
      out.data[o + 3] = 255;
    }
  inner.putImageData(out, 0, 0);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(small, 0, 0, size, size);
}

function paintGrid(pen, size, rows, columns) {
  pen.strokeStyle = 'rgba(255,255,255,.28)';
  pen.lineWidth = 1;
  for (let i = 1; i < columns; i++) {
    pen.beginPath();
    pen.moveTo((i * size) / columns, 0);
    pen.lineTo((i * size) / columns, size);
    pen.stroke();
  }
  for (let i = 1; i < rows; i++) {
    pen.beginPath();
    pen.moveTo(0, (i * size) / rows);
    pen.lineTo(size, (i * size) / rows);
    pen.stroke();
  }
}

function paintRing(pen, size, place) {
  const f = size / book().example.size,
    inset = theClip() ? 1.5 : 2.5;
  for (const [colour, width] of [
    ['#111', 2 * inset],
    ['#ffd54a', inset],
  ])
    for (const [x, y, w, h] of boxesOf(place)) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(x * f + inset, y * f + inset, w * f - 2 * inset, h * f - 2 * inset);
    }
}

// shares: of the places, adding up to 1 or less. ring: the patch that asks. figures: write multiples on the patches.
function litPicture(size, shares, label, { ring = -1, figures = false, grid = false, light = null, pick = null } = {}) {
  const S = book().example.size,
    [rows, columns] = book().example.grid || [S, S],
    N = placeCount();
  const c = canvas(size, size, label, pen => {
    const bright = light || (shares ? shares.map(s => Math.min(1, (s * N) / 4)) : null);
    paintLit(pen, size, bright && theClip() ? lightOf(bright) : bright, rows, columns);
    if (theClip()) paintFrames(pen, size);
    else if (grid || figures) paintGrid(pen, size, rows, columns);
    if (figures && shares && size / columns >= 40) {
      pen.font = '600 11px system-ui, sans-serif';
      pen.textAlign = 'center';
      shares.forEach((s, p) => {
        const x = (((p % columns) + 0.5) * size) / columns,
          y = ((Math.floor(p / columns) + 0.5) * size) / rows,
          text = `${(s * N).toFixed(1)}×`;
        pen.lineWidth = 3;
        pen.strokeStyle = 'rgba(0,0,0,.75)';
        pen.strokeText(text, x, y);
        pen.fillStyle = '#fff';
        pen.fillText(text, x, y);
      });
    }
    if (ring >= 0) paintRing(pen, size, ring);
  });
  c.style.borderRadius = '6px';
  if (pick) {
    c.classList.add('pick');
    c.onclick = event => {
      const [x, y] = placeIn(c, event, S, S).map(v => Math.max(0, Math.min(S - 0.5, v)));
      pick(placeAt(x, y, ring));
    };
  }
  return c;
}

// A bar of colours with numbers below it. marks: [place from 0 to 1, text]
function legend(label, colour, marks, width = 232) {
  return el(
    'p',
    { className: 'legend' },
    canvas(width, 30, label, pen => {
      for (let x = 4; x < width - 4; x++) {
        pen.fillStyle = rgb(colour((x - 4) / (width - 8)));
        pen.fillRect(x, 0, 1.5, 10);
      }
      pen.strokeStyle = soft();
      pen.lineWidth = 0.6;
      pen.strokeRect(4, 0.3, width - 8, 9.7);
      pen.font = '11px system-ui, sans-serif';
      pen.fillStyle = soft();
      for (const [at, text] of marks) {
        const x = 4 + at * (width - 8);
        pen.fillRect(x - 0.5, 8, 1, 6);
        pen.textAlign = at < 0.05 ? 'left' : at > 0.95 ? 'right' : 'center';
        pen.fillText(text, at < 0.05 ? 0 : at > 0.95 ? width : x, 22);
      }
    }),
  );
}
const litLegend = N =>
  legend(`brightness: dark is 0, fully lit 4 even shares of 1/${N}`, x => mix([30, 30, 48], [255, 255, 255], x), [
    [0, '0'],
    [0.25, `even, ${(1 / N).toFixed(3)}`],
    [0.5, '2×'],
    [1, '4× and more'],
  ]);

// One patch, cut out; of a tube the middle one of its frames.
function patchTile(place, size, label) {
  const boxes = boxesOf(place),
    box = boxes[Math.floor(boxes.length / 2)],
    image = thePicture(),
    S = image.width;
  const source = document.createElement('canvas');
  source.width = source.height = S;
  source.getContext('2d').putImageData(image, 0, 0);
  return canvas(size, size, label, pen => {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(source, ...box, 0, 0, size, size);
  });
}

// ---- matrices ------------------------------------------------

const shortened = (text, most) => (text.length > most ? text.slice(0, most - 1) + '…' : text);

// rows, columns: ids of tokens, or null. colour(i, j) -> [r, g, b]; forbidden(i, j): hatched. chosen: [i, j], -1 for none.
function matrix({
  rows,
  columns,
  height,
  width,
  colour,
  forbidden = null,
  chosen = [-1, -1],
  label,
  pick = null,
  over = null,
  most = 430,
  tallest = 22,
}) {
  const named = rows && rows.length === height && height <= 64,
    above = columns && columns.length === width && width <= 40;
  const left = named ? (kindOf(rows) === 'patch' ? 62 : 82) : 4,
    words = above && columns.some(id => !isPlace(id) && !nameOf(id).includes('question'));
  const cell = Math.max(3, Math.min(26, Math.floor((most - left - (words ? 28 : 6)) / width))),
    tall = height > 40 ? Math.max(2, Math.floor(480 / height)) : Math.max(11, Math.min(tallest, cell > 11 ? cell : 13));
  const top = words ? 58 : above && cell >= 14 ? 20 : 4;
  const W = left + cell * width + (top > 40 ? 28 : 6),
    H = top + tall * height + 4;
  const c = canvas(W, H, label, pen => {
    for (let i = 0; i < height; i++)
      for (let j = 0; j < width; j++) {
        const x = left + j * cell,
          y = top + i * tall,
          no = forbidden && forbidden(i, j);
        pen.fillStyle = no ? rgb(mix(paper(), [128, 128, 128], 0.12)) : rgb(colour(i, j));
        pen.fillRect(x, y, cell - (cell > 6 ? 1 : 0), tall - (tall > 6 ? 1 : 0));
        if (no && cell > 4) {
          pen.strokeStyle = soft();
          pen.lineWidth = 0.8;
          pen.beginPath();
          pen.moveTo(x + 3, y + tall - 4);
          pen.lineTo(x + cell - 4, y + 3);
          pen.stroke();
        }
      }
    pen.fillStyle = ink();
    if (named)
      rows.forEach((id, i) => {
        pen.fillStyle = i === chosen[0] ? ink() : soft();
        pen.textAlign = 'right';
        pen.font = `${i === chosen[0] ? '600 ' : ''}${Math.min(12, tall)}px system-ui, sans-serif`;
        pen.fillText(shortened(nameOf(id).split(' (')[0], 12), left - 5, top + (i + 0.5) * tall);
      });
    if (above && top > 10)
      columns.forEach((id, j) => {
        pen.save();
        pen.font = '11px system-ui, sans-serif';
        pen.fillStyle = j === chosen[1] ? ink() : soft();
        pen.textAlign = 'left';
        pen.translate(left + (j + 0.5) * cell, top - 4);
        if (top > 40) {
          pen.rotate(-Math.PI / 3.2);
          pen.fillText(isPlace(id) ? String(token(id).place + 1) : shortened(nameOf(id), 10), 2, 0);
        } else {
          pen.textAlign = 'center';
          pen.fillText(String(token(id).place + 1), 0, -4);
        }
        pen.restore();
      });
    pen.lineWidth = 2;
    pen.strokeStyle = accent();
    if (chosen[0] >= 0) pen.strokeRect(left - 1, top + chosen[0] * tall - 1, width * cell + 1, tall + 1);
    if (chosen[1] >= 0) {
      pen.strokeStyle = dark() ? '#f0b45c' : '#8a4a00';
      pen.strokeRect(left + chosen[1] * cell - 1, top + Math.max(0, chosen[0]) * tall - 1, cell + 1, tall + 1);
    }
  });
  const cellAt = event => {
    const [x, y] = placeIn(c, event, W, H),
      i = Math.floor((y - top) / tall),
      j = Math.floor((x - left) / cell);
    return i >= 0 && i < height && j >= 0 && j < width ? [i, j] : null;
  };
  if (pick) {
    c.classList.add('pick');
    c.onclick = event => {
      const at = cellAt(event);
      if (at) pick(...at);
    };
  }
  if (over) {
    c.onmousemove = event => {
      const at = cellAt(event);
      over(at);
    };
    c.onmouseleave = () => over(null);
  }
  return c;
}

const shareLegend = share =>
  legend('colour: from 0 to 8 even shares', x => shareColour(8 * x), [
    [0, '0'],
    [0.125, '1×'],
    [0.25, '2×'],
    [0.5, share ? `4× = ${figure(4 * share, 2)}` : '4×'],
    [1, '8× and more'],
  ]);
const signLegend = largest =>
  legend(`colour: from ${figure(-largest, 3)} over 0 to ${figure(largest, 3)}`, x => signColour(2 * x - 1), [
    [0, figure(-largest, 3)],
    [0.5, '0'],
    [1, `+${figure(largest, 3)}`],
  ]);

// Numbers as people write them: four significant digits, a true minus.
function figure(x, digits = 4) {
  if (!Number.isFinite(x)) return x < 0 ? '−∞' : '∞';
  const size = Math.abs(x);
  const text =
    size !== 0 && (size < 1e-3 || size >= 1e5)
      ? size
          .toExponential(digits - 2)
          .replace('e-', 'e−')
          .replace('e+', 'e')
      : Number(size.toPrecision(digits)).toString();
  return (x < 0 ? '−' : '') + text;
}
