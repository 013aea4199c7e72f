// The pages work without scripts. This one adds what a still page cannot: buttons
// that copy, and numbers, lists and progress that follow the server's events.
// charts.js and swarm.js stand on what it puts into window.dropseed.
(function () {
'use strict';

const root = document.documentElement.dataset.root || '';
const release = document.body.dataset.release || '';
const said = document.getElementById('said');

// say has a screen reader read a line, also if it is the same as the last one.
function say(line) {
  if (!said) return;
  said.textContent = '';
  setTimeout(() => { said.textContent = line; }, 50);
}

// el makes an element. Texts become text nodes: what the server says is never markup.
function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

// Numbers are written as the server writes them.
const format = {
  count: n => Math.round(n).toLocaleString('en'),
  bytes(n) {
    n = Math.max(0, n);
    if (n < 10) return Math.round(n) + ' B';
    const e = Math.min(6, Math.floor(Math.log10(n) / 3 + 1e-9));
    const v = Math.round(n / 1000 ** e * 10) / 10;
    return v.toFixed(v < 10 ? 1 : 0) + ' ' + ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'][e];
  },
  rate: n => format.bytes(n) + '/s',
  copies: n => n.toFixed(2),
  percent: n => (100 * n).toFixed(1) + ' %',
};

// ---- Copying

function showCopyButtons() {
  for (const b of document.querySelectorAll('button.copy[hidden]')) b.hidden = false;
}

// copy works without navigator.clipboard too, which only https and localhost have.
async function copy(text, button) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = el('textarea', { class: 'visually-hidden', readonly: '' });
  area.value = text;
  button.after(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  button.focus();
  if (!done) throw new Error('the browser does not let a page copy');
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button.copy');
  if (!button || button.dataset.label) return;
  let label = 'Copied';
  try {
    await copy(button.dataset.copy, button);
  } catch {
    label = 'Not copied';
  }
  say(label);
  button.dataset.label = button.textContent;
  button.textContent = label;
  setTimeout(() => {
    button.textContent = button.dataset.label;
    delete button.dataset.label;
  }, 1500);
});

// ---- Parts of the page that are fetched anew

const parts = ['pending', 'releases'].filter(id => document.getElementById(id));
const rendered = {}; // by id: what the server last rendered, so that only changes are put in
for (const id of parts) rendered[id] = document.getElementById(id).innerHTML;
let fetching = false, again = false;

// renew fetches this page and puts in the parts that changed. Calls while it does
// so become one more round.
async function renew() {
  if (fetching) { again = true; return; }
  fetching = true;
  do {
    again = false;
    try {
      const answer = await fetch(location.href, { cache: 'no-cache' });
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), 'text/html'));
    } catch {
      // The server is away: the events say when it is back.
    }
    await new Promise(done => setTimeout(done, 1000));
  } while (again);
  fetching = false;
}

function swap(page) {
  for (const id of parts) {
    const old = document.getElementById(id), fresh = page.getElementById(id);
    if (!fresh || fresh.innerHTML === rendered[id]) continue;
    const selection = getSelection();
    if (!selection.isCollapsed && old.contains(selection.anchorNode)) {
      // Somebody is about to copy what they selected.
      document.addEventListener('selectionchange', renew, { once: true });
      continue;
    }
    const known = new Set(Array.from(old.querySelectorAll('li a[href]:first-of-type'), a => a.href));
    const focus = focusOf(old);
    rendered[id] = fresh.innerHTML;
    old.hidden = fresh.hidden;
    old.replaceChildren(...fresh.childNodes);
    if (id === 'releases') {
      for (const li of old.querySelectorAll('ul > li')) {
        const a = li.querySelector('a[href]');
        if (a && !known.has(a.href)) li.classList.add('fresh');
      }
    }
    restoreFocus(old, focus);
  }
  showCopyButtons();
}

const focusable = 'a[href], button, input, select, summary';

// focusOf says which element within e has the focus: the n-th of those that lead
// to the same place.
function focusOf(e) {
  const a = document.activeElement;
  if (!e.contains(a) || a === e) return null;
  const same = Array.from(e.querySelectorAll(focusable)).filter(x => sameTarget(x, a));
  return { like: a.cloneNode(false), n: same.indexOf(a) };
}

function sameTarget(x, y) {
  return x.tagName === y.tagName && x.getAttribute('href') === y.getAttribute('href') &&
    x.getAttribute('name') === y.getAttribute('name') && x.dataset.copy === y.dataset.copy;
}

function restoreFocus(e, focus) {
  if (!focus) return;
  const same = Array.from(e.querySelectorAll(focusable)).filter(x => sameTarget(x, focus.like));
  const to = same[Math.max(0, focus.n)] || same[0] || e.querySelector(focusable);
  if (to) to.focus({ preventScroll: true });
}

// ---- What the server tells

const listeners = {}; // by kind of event

// on has fn called with the object of each event of a kind.
function on(kind, fn) { (listeners[kind] ||= []).push(fn); }

// Numbers in place. An element names the event's kind and the path into its object.
function showNumbers(kind, object) {
  for (const e of document.querySelectorAll(`[data-live^="${kind}."]`)) {
    const v = e.dataset.live.split('.').slice(1).reduce((o, key) => o?.[key], object);
    if (typeof v !== 'number') continue;
    let text = (format[e.dataset.format] || format.count)(v);
    if (e.dataset.many) text += ' ' + (v === 1 ? e.dataset.one : e.dataset.many);
    if (e.textContent !== text) e.textContent = text;
  }
}
on('stats', o => showNumbers('stats', o));
on('release', o => showNumbers('release', o));

// Hashing moves its bar; anything else that is new about what is pending is
// rendered by the server.
let pendingShown;
on('pending', ({ pending }) => {
  if (!parts.includes('pending')) return;
  const now = JSON.stringify(pending.map(p => [p.source, p.name, p.state, p.reason, p.path, !p.total]));
  if (now !== pendingShown && (pendingShown !== undefined || pending.length || document.querySelector('#pending li'))) renew();
  pendingShown = now;
  const items = Array.from(document.querySelectorAll('#pending li[data-name]'));
  for (const p of pending) {
    const li = items.find(li => li.dataset.name === p.name && (li.dataset.source || '') === (p.source || ''));
    const bar = li?.querySelector('progress');
    if (!bar || !p.total) continue;
    bar.max = p.total;
    bar.value = p.done;
    const small = bar.parentElement.querySelector('small');
    if (small) small.textContent = format.bytes(p.done) + ' of ' + format.bytes(p.total);
  }
});

let releasesShown;
on('releases', ({ total, size }) => {
  if (!parts.includes('releases')) return;
  const now = total + ' ' + size;
  // The first event comes right after the page, and mostly tells nothing new.
  if (now !== releasesShown) renew();
  if (releasesShown !== undefined && now !== releasesShown) say(format.count(total) + ' releases');
  releasesShown = now;
});

// Swarms of the listed releases are in the page only: look again now and then.
let swarmShown, swarmAt = Date.now();
on('stats', ({ swarm }) => {
  const now = JSON.stringify(swarm);
  if (now === swarmShown || Date.now() - swarmAt < 20000) return;
  if (swarmShown !== undefined && parts.includes('releases')) renew();
  swarmShown = now;
  swarmAt = Date.now();
});

// A stream is open while the page is seen. When it breaks it is opened again,
// each time after a longer while, and never by all readers at the same moment.
let stream, timer, failures = 0;

function connect() {
  clearTimeout(timer);
  if (stream || document.visibilityState === 'hidden') return;
  stream = new EventSource(root + '/api/v1/events' + (release ? '?release=' + release : ''));
  stream.onopen = () => {
    failures = 0;
    document.documentElement.dataset.events = 'open';
  };
  stream.onerror = () => {
    disconnect();
    const wait = Math.min(60, 2 ** failures++) * (500 + 500 * Math.random());
    timer = setTimeout(connect, wait);
  };
  for (const kind of Object.keys(listeners)) {
    stream.addEventListener(kind, event => {
      const object = JSON.parse(event.data);
      for (const fn of listeners[kind]) fn(object);
    });
  }
}

function disconnect() {
  clearTimeout(timer);
  stream?.close();
  stream = undefined;
  document.documentElement.dataset.events = 'closed';
}

// Who may not see the operator's figures gets a page without any of these, and a
// stream would only make the browser ask for a password.
const live = () => document.querySelector('#pending, #charts, #swarm, [data-live]');

window.dropseed = Object.freeze({ root, release, el, format, on });

showCopyButtons();
// The other scripts have run by then, and said what they want to hear of.
document.addEventListener('DOMContentLoaded', () => {
  if (!live()) return;
  connect();
  document.addEventListener('visibilitychange', () => document.visibilityState === 'hidden' ? disconnect() : connect());
  addEventListener('pagehide', disconnect);
  addEventListener('pageshow', connect);
});
})();
