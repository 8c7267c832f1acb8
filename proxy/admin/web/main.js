// The page of a proxy: who calls this workload, whom it calls, how that goes, and
// how far each is to be believed to be who it says. It asks the API of this port
// every other second, for as long as somebody sees the page.

import { h, s, text } from './dom.js';
import * as api from './api.js';
import * as f from './format.js';
import { peersOf, shownOf, provenances } from './model.js';
import { drawPeers, drawLines } from './graph.js';
import { drawSelf, drawTotals } from './self.js';
import { drawTable } from './table.js';
import { Details } from './details.js';

// pause is the time between two answers; after a failure it doubles up to
// longestPause. An answer that takes longer than patience is given up.
const pause = 2000;
const longestPause = 16000;
const patience = 10000;

// roomy is up to how many peers of a side there is room for all that a card has.
const roomy = 6;

const at = (id) => document.getElementById(id);
const details = new Details();
let peers = new Map(); // all of them, by key
let callers = []; // those of the picture
let callees = [];
let last = null; // when the proxy answered last
let wait = pause;
let timer = null;
let asking = null;

async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = (asking = new AbortController());
  try {
    show(await api.stat(AbortSignal.any([mine.signal, AbortSignal.timeout(patience)])));
    wait = pause;
  } catch (error) {
    if (mine.signal.aborted) return;
    wait = Math.min(wait * 2, longestPause);
    lost(error);
  }
  if (!document.hidden) timer = setTimeout(ask, wait);
}

// show draws an answer.
function show(stat) {
  last = new Date();
  text(at('state'), `Live: the last ${f.span(stat.windowSeconds)}`);
  at('trouble').hidden = true;
  document.body.dataset.state = 'live';
  at('graph').removeAttribute('aria-busy');
  const [inbound, outbound] = [peersOf(stat, 'inbound'), peersOf(stat, 'outbound')];
  [callers, callees] = [shownOf(inbound), shownOf(outbound)];
  peers = new Map([...inbound, ...outbound, ...callers, ...callees].map((peer) => [peer.key, peer]));
  at('graph').toggleAttribute('data-dense', Math.max(callers.length, callees.length) > roomy);
  drawPeers(at('callers'), callers, nobodyCalls, open);
  drawPeers(at('callees'), callees, nobodyIsCalled, open);
  drawSelf(at('self'), stat, () => details.open(null, open));
  at('totals').hidden = stat.edges.length === 0;
  drawTotals(at('totals'), stat);
  drawTable(at('table'), stat, open);
  drawLines(callers, callees);
  details.update(peers.get(details.key));
}

// open shows a peer's details.
function open(key) {
  if (peers.has(key)) details.open(peers.get(key), open);
}

// lost says that what is shown is old.
function lost(error) {
  const since = last ? `What you see is from ${f.clock(last)}.` : 'Nothing has been heard of it yet.';
  const why = error.name === 'TypeError' ? 'it cannot be reached' : error.name === 'TimeoutError' ? 'it does not answer' : error.message;
  text(at('trouble'), `No answer from the proxy: ${why}. ${since} Trying again every few seconds.`);
  at('trouble').hidden = false;
  text(at('state'), 'Disconnected');
  document.body.dataset.state = 'lost';
}

const nobodyCalls = () => [
  h('b', {}, 'Nobody has called yet.'),
  h('span', {}, 'Callers appear here by themselves, once one has connected to an inbound listener. '),
  h('a', { href: '/config' }, 'Which ones are there?'),
];

const nobodyIsCalled = () => [
  h('b', {}, 'It has called nobody yet.'),
  h('span', {}, 'Have the application connect to an outbound listener, instead of to the service itself. '),
  h('a', { href: '/config' }, 'Which ones are there?'),
];

function legend() {
  at('legend').querySelector('dl').append(...Object.entries(provenances).map(([name, meaning]) => h('div', {},
    h('dt', {}, sample(name), h('span', { class: 'badge', 'data-provenance': name }, name)), h('dd', {}, meaning))));
}

const sample = (name) => s('svg', { class: `edge ${name}`, viewBox: '0 0 56 8', 'aria-hidden': 'true' }, s('path', { class: 'shaft', d: 'M1 4H55', 'stroke-width': 2.5 }));

// A page that nobody sees asks for nothing.
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    clearTimeout(timer);
    asking?.abort();
    details.sleep();
  } else {
    ask();
    details.wake();
  }
});

legend();
new ResizeObserver(() => drawLines(callers, callees)).observe(at('graph'));
if (!document.hidden) ask();
