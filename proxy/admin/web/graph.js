// The picture: cards of callers at the left, of callees at the right, this workload
// between them, and a line for each, drawn from card to card as they lie. Where
// there is no room the columns stand one above the other, and the lines run down
// a rail at the left.

import { h, s, text, keyed } from './dom.js';
import { health } from './model.js';
import * as f from './format.js';

const at = (id) => document.getElementById(id);

// drawPeers shows the peers of a side, or what it means that there are none.
export function drawPeers(list, peers, nobody, open) {
  list.classList.toggle('empty', peers.length === 0);
  if (peers.length === 0) {
    list.replaceChildren(h('li', { class: 'nobody' }, ...nobody()));
    return;
  }
  keyed(list, peers, {
    key: (peer) => peer.key,
    make: (peer) => h('li', {}, card(() => open(peer.key))),
    update: (item, peer) => fillCard(item.firstElementChild, peer),
  });
}

function card(click) {
  const line = (...parts) => h('span', { class: 'line' }, ...parts.map((part) => h('span', { class: part })));
  return h('button', { type: 'button', class: 'card', click },
    line('name', 'badge'), line('place'), line('rate', 'success', 'latency'), line('bytes', 'open'));
}

function fillCard(button, peer) {
  const { sums } = peer;
  const set = (part, value) => text(button.querySelector(`.${part}`), value);
  button.dataset.provenance = peer.provenance;
  set('name', peer.name);
  set('badge', peer.provenance);
  set('place', [peer.place, protocolsOf(peer)].filter((part) => part).join(' · '));
  set('rate', f.perSecond(sums.rate));
  set('success', sums.success === null ? 'quiet' : `${f.percent(sums.success)} ok`);
  set('latency', sums.p99 === null ? '' : `p99 ${f.duration(sums.p99)}`);
  set('bytes', `↑ ${f.bytes(sums.sent)}/s  ↓ ${f.bytes(sums.received)}/s`);
  set('open', sums.open === 0 ? '' : `${f.count(sums.open)} open`);
  button.querySelector('.success').dataset.health = health(sums.success);
  button.setAttribute('aria-label', spoken(peer));
  button.title = peer.spiffeId ?? '';
}

// spoken says what a card shows, in words.
function spoken(peer) {
  const { sums } = peer;
  return [
    `${peer.direction === 'inbound' ? 'Caller' : 'Callee'} ${peer.name}`, peer.place && `in ${peer.place}`, peer.provenance, protocolsOf(peer),
    `${f.perSecond(sums.rate).replace('/s', ' per second')}`, sums.success === null ? 'quiet' : `${f.percent(sums.success)} succeed`,
    sums.p99 !== null && `99th percentile ${f.duration(sums.p99)}`,
    `${f.bytes(sums.sent)} per second sent, ${f.bytes(sums.received)} received`, sums.open > 0 && `${sums.open} connections open`,
  ].filter((part) => part).join(', ');
}

export function protocolsOf(peer) {
  return [...new Set(peer.edges.map((edge) => edge.detected || edge.protocol))].slice(0, 4).join(', ');
}

// Widths of lines, in pixels: by magnitude of the rate.
const widthOf = (rate) => Math.min(1.5 + Math.log10(1 + rate), 5);

// drawLines draws a line for each card, as the cards lie now.
export function drawLines(callers, callees) {
  const svg = at('lines');
  const frame = at('graph').getBoundingClientRect();
  const self = boxOf(at('self').firstElementChild ?? at('self'), frame);
  const stacked = boxOf(at('callers-column'), frame).bottom <= self.top;
  const draw = stacked ? railOf : curveOf;
  const lines = [
    ...linesOf(at('callers'), callers, frame, (box, share) => draw(box, self, share, 'in')),
    ...linesOf(at('callees'), callees, frame, (box, share) => draw(box, self, share, 'out')),
  ];
  svg.setAttribute('viewBox', `0 0 ${frame.width} ${frame.height}`);
  keyed(svg, lines, {
    key: (line) => line.key,
    make: () => s('g', {}, s('path', { class: 'shaft' }), s('path', { class: 'head' })),
    update: (group, line) => {
      group.setAttribute('class', `edge ${line.peer.provenance}`);
      group.dataset.provenance = line.peer.provenance;
      const [shaft, head] = group.children;
      shaft.setAttribute('d', line.path);
      shaft.setAttribute('stroke-width', widthOf(line.peer.sums.rate).toFixed(1));
      head.setAttribute('d', line.head);
    },
  });
}

function linesOf(list, peers, frame, draw) {
  return [...list.children].flatMap((item, i) => {
    const peer = peers.find(({ key }) => key === item.dataset.key);
    return peer ? [{ key: peer.key, peer, ...draw(boxOf(item, frame), (i + 1) / (peers.length + 1)) }] : [];
  });
}

function boxOf(element, frame) {
  const { left, right, top, bottom } = element.getBoundingClientRect();
  return { left: left - frame.left, right: right - frame.left, top: top - frame.top, bottom: bottom - frame.top };
}

const middle = (box) => (box.top + box.bottom) / 2;

// gap is what arrows keep from what they point at, and tip how long they are.
const gap = 2;
const tip = 9;

// curveOf goes from side to side, and meets this workload at its share of the height.
function curveOf(box, self, share, way) {
  const meets = self.top + (self.bottom - self.top) * share;
  const [x1, y1, x2, y2] = way === 'in'
    ? [box.right, middle(box), self.left - gap, meets]
    : [self.right, meets, box.left - gap, middle(box)];
  const bend = (x2 - x1) / 2;
  return { path: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend - tip} ${y2} ${x2 - tip} ${y2}`, head: arrow(x2, y2) };
}

// railOf goes down the left margin, one line beside the other.
function railOf(box, self, share, way) {
  const far = way === 'in' ? 1 - share : share; // from this workload, where the nearest keep inside
  const x = box.left - 12 - 18 * far;
  const meets = self.top + (self.bottom - self.top) * (way === 'in' ? 0.1 + 0.35 * far : 0.9 - 0.35 * far);
  const [from, y1, to, y2] = way === 'in' ? [box.left, middle(box), self.left, meets] : [self.left, meets, box.left, middle(box)];
  const end = to - gap;
  const turn = Math.min(6, Math.abs(y2 - y1) / 2);
  return {
    path: `M${from} ${y1}H${x + turn}Q${x} ${y1} ${x} ${y1 + turn}V${y2 - turn}Q${x} ${y2} ${x + turn} ${y2}H${Math.max(x + turn, end - tip)}`,
    head: arrow(end, y2),
  };
}

const arrow = (x, y) => `M${x} ${y}l${-tip} ${-tip / 2}v${tip}z`;
