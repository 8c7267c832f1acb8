// The same as the picture, as a table: an edge a row.

import { h, text, keyed } from './dom.js';
import { byPlace, health, keyOf, nameOf } from './model.js';
import * as f from './format.js';

// mostRows bounds the table: the API may have a thousand edges.
const mostRows = 200;

// drawTable shows the edges; open is called with the key of the peer whose name is
// pressed.
export function drawTable(section, stat, open) {
  keyed(section.querySelector('tbody'), stat.edges.slice(0, mostRows).sort(byPlace), {
    key: (edge) => [keyOf(edge), edge.service.host, edge.service.name, edge.protocol].join(' '),
    make: () => row(open),
    update: fillRow,
  });
  const left = stat.edges.length - mostRows;
  const note = section.querySelector('.left-out');
  note.hidden = left <= 0 && !stat.truncated;
  text(note, `${stat.truncated ? 'Over a thousand' : left} more are not shown: the busiest are.`);
  section.hidden = stat.edges.length === 0;
}

const numbers = ['rate', 'success', 'p50', 'p95', 'p99', 'open', 'sent', 'received', 'all'];

function row(open) {
  const element = h('tr', {},
    h('th', { scope: 'row' }, h('button', { type: 'button', class: 'link', click: () => open(element.dataset.peer) })),
    h('td', {}, h('span', { class: 'badge' })), h('td', { class: 'service' }), h('td', { class: 'protocol' }),
    ...numbers.map((name) => h('td', { class: `number ${name}` })));
  return element;
}

function fillRow(element, edge) {
  const set = (selector, value) => text(element.querySelector(selector), value);
  const { name, place } = nameOf(edge);
  const way = edge.direction === 'inbound' ? 'from' : 'to';
  element.dataset.peer = keyOf(edge);
  set('button', `${way} ${name}${place ? ` (${place})` : ''}`);
  element.querySelector('button').title = edge.peer.spiffeId ?? '';
  element.querySelector('.badge').dataset.provenance = edge.peer.provenance;
  set('.badge', edge.peer.provenance);
  set('.service', edge.service.name ?? edge.service.host ?? '–');
  set('.protocol', edge.detected ? `${edge.protocol}, ${edge.detected}` : edge.protocol);
  fillNumbers(set, edge);
  element.querySelector('.success').dataset.health = health(successOf(edge.recent));
}

function fillNumbers(set, { recent, total, connectionsOpen }) {
  set('.rate', f.perSecond(recent.requestsPerSecond + recent.connectionsPerSecond));
  set('.success', f.percent(successOf(recent)));
  for (const quantile of ['p50', 'p95', 'p99']) set(`.${quantile}`, f.duration(recent[`${quantile}Ms`]));
  set('.open', f.count(connectionsOpen));
  set('.sent', `${f.bytes(recent.bytesSentPerSecond)}/s`);
  set('.received', `${f.bytes(recent.bytesReceivedPerSecond)}/s`);
  set('.all', f.count(total.requests + total.connectionsOpened));
}

// successOf is that of requests, or of connections where nothing knows requests.
function successOf(c) {
  if (c.requests > 0) return c.successRate;
  return c.connectionsOpened > 0 ? 1 - c.connectionsFailed / c.connectionsOpened : null;
}
