// Charts of the last hour and day, by uPlot: what was delivered and by whom, and
// the peers. A chart is a picture with a summary as its name; the same figures
// are in a table below.
(function () {
'use strict';

const section = document.getElementById('charts');
if (!section || !window.uPlot || !window.dropseed) return;
const { root, el, format } = window.dropseed;

const charts = [
  {
    title: 'Delivered', format: format.rate, atLeast: 1000, stacked: true,
    // From the bottom up: what the server sent, and on top what peers spared it.
    series: [
      { key: 'direct', label: 'Direct downloads', color: '--direct' },
      { key: 'webseed', label: 'Webseed', color: '--webseed' },
      { key: 'peers', label: 'To peers', color: '--peers' },
      { key: 'carried', label: 'Among peers', color: '--carried' },
    ],
  },
  {
    title: 'Peers', short: true, format: n => (Number.isInteger(n) ? format.count(n) : n.toFixed(1)), atLeast: 4,
    series: [
      { key: 'seeders', label: 'Other seeders', color: '--green' },
      { key: 'leechers', label: 'Leechers', color: '--orange' },
      { key: 'connected', label: 'Connected here', color: '--peers', dash: [5, 4] },
    ],
  },
];
const ranges = { hour: 'Last hour', day: 'Last day' };

const leastPoints = 18; // of 360, that are shown of a server that started just now

let range = 'hour', history, timer;

// ---- The frame around the charts

const tabs = {};
for (const [key, label] of Object.entries(ranges)) {
  tabs[key] = el('button', { type: 'button', role: 'tab', id: 'tab-' + key, 'aria-controls': 'chart-panel' }, label);
  tabs[key].addEventListener('click', () => choose(key));
}
const tablist = el('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Time' }, ...Object.values(tabs));
tablist.addEventListener('keydown', event => {
  if (!['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key)) return;
  event.preventDefault();
  const other = event.key === 'Home' ? 'hour' : event.key === 'End' ? 'day' : range === 'hour' ? 'day' : 'hour';
  choose(other);
  tabs[other].focus();
});

for (const c of charts) {
  c.at = el('div', { class: 'plot none', role: 'img' });
  c.empty = el('p', { class: 'nothing' }, 'Nothing is known of this time yet.');
  for (const s of c.series) {
    s.value = el('b');
    s.item = el('li', {}, el('i', { 'data-key': s.key, class: s.dash ? 'dash' : '' }), s.label + ' ', s.value);
    s.item.firstChild.style.setProperty('--c', `var(${s.color})`);
  }
  c.figure = el('figure', { class: 'panel chart' },
    el('figcaption', {}, el('h3', {}, c.title), el('ul', { class: c.short ? 'legend short' : 'legend' }, ...c.series.map(s => s.item))),
    c.at, c.empty);
}
const table = el('details', { class: 'figures' }, el('summary', {}, 'The same figures as a table'));
table.addEventListener('toggle', fillTable);
const panel = el('div', { id: 'chart-panel', role: 'tabpanel' }, ...charts.map(c => c.figure), table);
section.append(tablist, panel);
section.hidden = false;

function choose(key) {
  range = key;
  for (const [k, tab] of Object.entries(tabs)) {
    tab.setAttribute('aria-selected', String(k === key));
    tab.tabIndex = k === key ? 0 : -1;
  }
  panel.setAttribute('aria-labelledby', 'tab-' + key);
  load();
}

// ---- The figures

// load asks for the history, and again when it has a new point. Nothing is asked
// while the page is not seen.
async function load() {
  clearTimeout(timer);
  if (document.visibilityState === 'hidden') return;
  const asked = range;
  let wait = 30;
  try {
    const release = section.dataset.release;
    const answer = await fetch(`${root}/api/v1/history?range=${asked}` + (release ? '&release=' + release : ''));
    if (answer.ok) {
      const h = await answer.json();
      if (asked !== range) return; // another tab was chosen meanwhile
      history = cut(h);
      wait = Math.max(5, Math.min(60, h.step));
      show();
    }
  } catch {
    // The server is away; what is shown is still true of its time.
  }
  if (asked !== range) return;
  clearTimeout(timer);
  timer = setTimeout(load, 1000 * wait);
}
document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' ? clearTimeout(timer) : load());

// cut leaves out the time before the first figure, so that a young server's charts
// are not all emptiness.
function cut(h) {
  const all = Object.values(h.series);
  const n = all[0].length;
  let from = 0;
  while (from < n - leastPoints && all.every(values => !isNumber(values[from]))) from++;
  for (const key of Object.keys(h.series)) h.series[key] = h.series[key].slice(from);
  h.from += from * h.step;
  return h;
}

const isNumber = v => typeof v === 'number';
const times = () => history.series.peers.map((_, i) => history.from + i * history.step);
const known = key => (history.series[key] || []).filter(isNumber);
const last = key => known(key).at(-1);
const sum = values => values.reduce((a, b) => a + b, 0);

function show() {
  for (const c of charts) {
    const data = [times(), ...c.series.map(s => history.series[s.key] || times().map(() => null))];
    const something = c.series.some(s => known(s.key).length > 0);
    c.empty.hidden = something;
    c.at.classList.toggle('none', !something);
    c.data = data;
    c.drawn = c.stacked ? stack(data) : data;
    c.at.setAttribute('aria-label', summary(c));
    if (c.plot) c.plot.setData(c.drawn); else draw(c);
    showValues(c, null);
  }
  fillTable();
}

// stack puts each series upon the ones before it. What is not known stays a gap.
function stack([x, ...series]) {
  const sums = x.map(() => 0);
  return [x, ...series.map(values => values.map((v, i) => isNumber(v) ? sums[i] += v : null))];
}

// summary says a chart in a sentence.
function summary(c) {
  const over = ranges[range].toLowerCase();
  if (c.stacked) {
    const bytes = c.series.map(s => sum(known(s.key)) * history.step);
    const all = sum(bytes), now = sum(c.series.map(s => last(s.key) || 0));
    return `Delivered in the ${over}: about ${format.bytes(all)}` +
      (all ? `, of which peers carried ${format.percent(bytes.at(-1) / all)}` : '') + `; ${format.rate(now)} now.`;
  }
  return `Peers in the ${over}: ` + c.series.map(s =>
    `${s.label.toLowerCase()} ${c.format(last(s.key) || 0)} now, at most ${c.format(Math.max(0, ...known(s.key)))}`).join('; ') + '.';
}

// showValues writes the values at a point, or the newest, into the legend.
function showValues(c, index) {
  c.series.forEach((s, i) => {
    const v = index === null ? last(s.key) : c.data[i + 1][index];
    s.value.textContent = isNumber(v) ? c.format(v) : '–';
  });
}

// fillTable makes twelve rows of averages, if the table is open.
function fillTable() {
  if (!table.open || !history) return;
  const all = charts.flatMap(c => c.series.map(s => ({ ...s, format: c.format, whole: !c.stacked })));
  const x = times(), rows = [], per = Math.ceil(x.length / 12);
  for (let from = 0; from < x.length; from += per) {
    const cells = all.map(s => {
      const values = (history.series[s.key] || []).slice(from, from + per).filter(isNumber);
      if (!values.length) return '–';
      const mean = sum(values) / values.length;
      return s.format(s.whole ? Math.round(10 * mean) / 10 : mean);
    });
    rows.push(el('tr', {}, el('th', { scope: 'row' }, clock(x[from])), ...cells.map(c => el('td', {}, c))));
  }
  const scroll = el('div', { class: 'scroll', tabindex: '0', role: 'group', 'aria-label': 'Table of the figures' }, el('table', {},
    el('caption', {}, `Averages from the time in each row on, ${ranges[range].toLowerCase()}`),
    el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, 'From'), ...all.map(s => el('th', { scope: 'col' }, s.label)))),
    el('tbody', {}, ...rows)));
  table.querySelector('.scroll')?.remove();
  table.append(scroll);
}

// ---- Drawing

// Labels have no seconds, so none are closer than a minute.
const minutes = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360].map(m => 60 * m);
const two = n => String(n).padStart(2, '0');
const clock = t => { const d = new Date(1000 * t); return two(d.getHours()) + ':' + two(d.getMinutes()); };

function draw(c) {
  const style = getComputedStyle(section);
  const color = name => style.getPropertyValue(name).trim();
  const font = '12px ' + style.fontFamily;
  const axis = { stroke: color('--soft'), font, grid: { stroke: color('--line'), width: 1 }, ticks: { show: false } };
  c.plot?.destroy();
  c.plot = new uPlot({
    width: c.at.clientWidth || 300, height: 200, padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: {
      y: false, drag: { x: false, y: false }, sync: { key: 'charts' },
      points: { size: 7, fill: (_, i) => color(c.series[i - 1].color), stroke: () => color('--panel'), width: 2 },
    },
    scales: {
      x: { time: true, range: (_, min, max) => [min, max] },
      y: { range: (_, min, max) => [0, 1.1 * Math.max(max || 0, c.atLeast)] },
    },
    axes: [
      { ...axis, values: (_, at) => at.map(clock), space: 70, size: 30, gap: 6, incrs: minutes },
      {
        ...axis, size: 78, gap: 8, space: 36, values: (_, at) => at.map(c.format),
        incrs: c.stacked ? undefined : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000],
      },
    ],
    series: [{}, ...c.series.map(s => ({
      stroke: color(s.color), width: 1.5, dash: s.dash, points: { show: false }, 
      paths: c.stacked ? uPlot.paths.spline() : uPlot.paths.stepped({ align: 1 }),
      fill: c.stacked ? fill(color(s.color)) : undefined,
    }))],
    // Each series is filled down to the one below it, the first to the axis.
    bands: c.stacked ? c.series.slice(1).map((s, i) => ({ series: [i + 2, i + 1], fill: fill(color(s.color)) })) : [],
    hooks: { setCursor: [u => showValues(c, u.cursor.left >= 0 && u.cursor.idx != null ? u.cursor.idx : null)] },
  }, c.drawn, c.at);
}

// fill is a color that lets the grid through.
function fill(c) { return `color-mix(in srgb, ${c} 45%, transparent)`; }

new ResizeObserver(() => {
  for (const c of charts) if (c.plot && c.at.clientWidth) c.plot.setSize({ width: c.at.clientWidth, height: 200 });
}).observe(panel);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { for (const c of charts) if (c.plot) draw(c); });

choose('hour');
})();
