// The swarm of a release: a row per connected peer with the parts that it has,
// and above them how often each part is there. Parts that have just come are
// bright for a moment, so that one sees the pieces spread. It is a real table:
// what the pictures show is in their names.
(function () {
'use strict';

const section = document.getElementById('swarm');
if (!section || !window.dropseed) return;
const { el, format, on } = window.dropseed;

const brightFor = 4000; // milliseconds
const still = matchMedia('(prefers-reduced-motion: reduce)');

const empty = el('p', { class: 'panel nothing' }, 'No peer is connected right now.');
const body = el('tbody', { role: 'rowgroup' });
const table = el('table', { class: 'panel peers', role: 'table', 'aria-label': 'Connected peers and the parts that they have' },
  el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' },
    ...['Client', 'Parts', 'Has', 'Receives'].map(t => el('th', { scope: 'col', role: 'columnheader' }, t)))),
  body);
const more = el('p', { class: 'more' }, 'There are more peers than are shown.');
const legend = el('p', { class: 'more' }, 'Blue: what a peer has, bright when it is new. Availability counts the peers alone: orange parts are at fewer than one, green ones at more. This server has all of them.');
table.hidden = more.hidden = legend.hidden = true;
section.append(table, empty, legend, more);
section.hidden = false;

const rows = new Map(); // by the peer's id

function makeRow(kind) {
  const r = {
    who: el('th', { scope: 'row', role: 'rowheader' }), canvas: el('canvas', { role: 'img', class: kind }),
    has: el('td', { role: 'cell' }), rate: el('td', { role: 'cell' }), parts: [], bright: [],
  };
  r.tr = el('tr', { role: 'row', class: kind }, r.who, el('td', { role: 'cell', class: 'parts' }, r.canvas), r.has, r.rate);
  return r;
}

const all = makeRow('all');
all.who.textContent = 'Availability';
all.rate.remove();
all.has.colSpan = 2;
body.append(all.tr);

function put(e, text) { if (e.textContent !== text) e.textContent = text; }

on('swarm', swarm => {
  const now = performance.now();
  const seen = new Set();
  for (const p of swarm.peers) {
    let r = rows.get(p.id);
    const isNew = !r;
    if (isNew) {
      r = makeRow('peer');
      r.who.append(el('bdi'), el('small'));
      rows.set(p.id, r);
      body.append(r.tr);
    }
    seen.add(p.id);
    const parts = Uint8Array.from(atob(p.parts), c => c.charCodeAt(0));
    parts.forEach((v, i) => { if (!isNew && v > (r.parts[i] || 0)) r.bright[i] = now; });
    r.parts = parts;
    put(r.who.firstChild, p.client || 'Unknown client');
    put(r.who.lastChild, p.address || '');
    put(r.has, p.progress === 1 ? 'all' : (100 * p.progress).toFixed(p.progress > 0.999 ? 2 : 1) + ' %');
    put(r.rate, p.rate > 0 ? format.rate(p.rate) : '–');
    r.tr.classList.toggle('done', p.progress === 1);
    r.canvas.setAttribute('aria-label', `has ${format.percent(p.progress)}`);
  }
  for (const [id, r] of rows) {
    if (seen.has(id)) continue;
    r.tr.remove();
    rows.delete(id);
  }
  all.parts = swarm.availability;
  const least = all.parts.length ? Math.min(...all.parts) : 0;
  const mean = all.parts.reduce((a, b) => a + b, 0) / (all.parts.length || 1);
  put(all.has, `mean ${mean.toFixed(1)} · rarest ${least.toFixed(1)}`);
  all.canvas.setAttribute('aria-label', `each part is at ${mean.toFixed(1)} of ${swarm.peers.length} peers on average, the rarest is at ${least.toFixed(1)}`);
  table.hidden = legend.hidden = rows.size === 0;
  empty.hidden = !table.hidden;
  more.hidden = !swarm.truncated;
  draw();
});

// ---- Drawing

let colors, frame;

function readColors() {
  const style = getComputedStyle(section);
  colors = Object.fromEntries(['peers', 'carried', 'orange', 'line', 'bright'].map(n => [n, style.getPropertyValue('--' + n).trim()]));
}

// draw paints all rows, and goes on while parts are bright.
function draw() {
  cancelAnimationFrame(frame);
  if (!colors) readColors();
  const now = performance.now();
  const top = Math.max(1, ...all.parts);
  // Who has all of a part makes it as high as the most frequent one; parts that
  // less than one peer has are the ones that still hang on the server.
  paint(all, all.parts.length, v => ({ height: v / top, alpha: 1, color: v < 1 ? colors.orange : colors.carried }));
  let moving = false;
  for (const r of rows.values()) {
    const done = r.tr.classList.contains('done');
    paint(r, r.parts.length, v => ({ height: 1, alpha: v / 255, color: done ? colors.carried : colors.peers }));
    if (still.matches) continue;
    moving = brighten(r, now) || moving;
  }
  if (moving) frame = requestAnimationFrame(draw);
}

// paint draws a row's parts from edge to edge, in the screen's own pixels.
function paint(r, n, look) {
  const canvas = r.canvas, scale = devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const g = r.g ||= canvas.getContext('2d');
  g.globalAlpha = 1;
  g.fillStyle = colors.line;
  g.fillRect(0, 0, width, height);
  r.edges = (i => Math.round(i * width / n));
  r.gap = width / n > 5 * scale ? Math.round(scale) : 0;
  for (let i = 0; i < n; i++) {
    const { height: h, alpha, color } = look(r.parts[i]);
    if (!alpha || !h) continue;
    const x = r.edges(i), high = Math.max(scale, Math.round(h * height));
    g.globalAlpha = alpha;
    g.fillStyle = color;
    g.fillRect(x, height - high, Math.max(1, r.edges(i + 1) - x - r.gap), high);
  }
}

// brighten paints the parts that have just come, and says whether any is left.
function brighten(r, now) {
  let left = false;
  r.g.fillStyle = colors.bright;
  r.bright.forEach((since, i) => {
    const age = (now - since) / brightFor;
    if (age >= 1) { delete r.bright[i]; return; }
    left = true;
    r.g.globalAlpha = (1 - age * age) * (r.parts[i] / 255);
    r.g.fillRect(r.edges(i), 0, Math.max(1, r.edges(i + 1) - r.edges(i) - r.gap), r.canvas.height);
  });
  return left;
}

new ResizeObserver(draw).observe(section);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { colors = undefined; draw(); });
})();
