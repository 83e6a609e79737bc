// Places: where on the drawing a patch was cut out, or a tube of a clip, which is drawn as a sheet of its frames.

const isPlace = id => ['patch', 'tube'].includes(token(id).kind);
const theClip = () => book().example.clip;
const shown = () => (theClip() ? 'clip' : 'picture');
function placeCount() {
  const e = book().example;
  return e.grid ? e.grid[0] * e.grid[1] : e.boxes.length;
}

// [x, y] of a frame's corner on the sheet.
const cornerOf = frame => {
  const { columns, side } = theClip();
  return [(frame % columns) * side, Math.floor(frame / columns) * side];
};

// The boxes [x, y, width, height] of a place, in pixels of the drawing: one for a patch, one in each frame for a tube.
function boxesOf(place) {
  const e = book().example;
  if (e.grid) {
    const [rows, columns] = e.grid,
      w = e.size / columns,
      h = e.size / rows;
    return [[(place % columns) * w, Math.floor(place / columns) * h, w, h]];
  }
  const [first, top, left, frames, height, width] = e.boxes[place];
  return [...Array(frames).keys()].map(k => {
    const [x, y] = cornerOf(first + k);
    return [x + left, y + top, width, height];
  });
}

// How much was cut out: "8 × 8 pixels in three colours, 192 numbers"
function cutOf(place) {
  const boxes = boxesOf(place),
    [, , w, h] = boxes[0],
    frames = boxes.length > 1 ? `${boxes.length} frames of ` : '';
  return `${frames}${w} × ${h} pixels in three colours, ${3 * boxes.length * w * h} numbers`;
}

// Numbers of the places, from 0 to 1, as light for each pixel of the drawing: that of the brightest place that sees it.
function lightOf(numbers) {
  const S = book().example.size,
    light = new Float32Array(S * S);
  numbers.forEach((f, p) => {
    for (const [left, top, width, height] of boxesOf(p))
      for (let y = top; y < top + height; y++)
        for (let x = left; x < left + width; x++) light[y * S + x] = Math.max(light[y * S + x], f);
  });
  return light;
}

// The place at a pixel of the drawing. Of several that see it, the one behind `now`, so that one press more goes on.
function placeAt(x, y, now) {
  const all = [...Array(placeCount()).keys()].filter(p => boxesOf(p).some(([l, t, w, h]) => x >= l && x < l + w && y >= t && y < t + h));
  return all.length ? all[(all.indexOf(now) + 1) % all.length] : now;
}

// A pixel of the drawing by name; rows and columns are those of its frame.
function pixelName(x, y) {
  const clip = theClip();
  if (!clip) return `pixel (${y + 1}, ${x + 1})`;
  const frame = Math.floor(y / clip.side) * clip.columns + Math.floor(x / clip.side);
  return frame < clip.frames ? `pixel (${(y % clip.side) + 1}, ${(x % clip.side) + 1}) of frame ${frame + 1}` : 'no frame';
}

// The frames of a clip, each set off from the next, with its number where there is room.
function paintFrames(pen, size) {
  const { frames, columns } = theClip(),
    w = size / columns;
  pen.strokeStyle = rgb(paper());
  pen.lineWidth = size > 120 ? 3 : 1.5;
  pen.fillStyle = rgb(paper());
  for (let f = 0; f < columns * columns; f++) {
    const x = (f % columns) * w,
      y = Math.floor(f / columns) * w;
    if (f >= frames) pen.fillRect(x, y, w, w);
    pen.strokeRect(x, y, w, w);
  }
  if (w < 44) return;
  pen.font = '600 10px system-ui, sans-serif';
  pen.textAlign = 'left';
  for (let f = 0; f < frames; f++) {
    const x = (f % columns) * w + 5,
      y = Math.floor(f / columns) * w + 10;
    pen.lineWidth = 3;
    pen.strokeStyle = 'rgba(0,0,0,.75)';
    pen.strokeText(String(f + 1), x, y);
    pen.fillStyle = '#fff';
    pen.fillText(String(f + 1), x, y);
  }
}
