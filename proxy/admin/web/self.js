// The workload in the middle, and the sums above it.

import { h, s, text } from './dom.js';
import { health, sumsOf } from './model.js';
import * as f from './format.js';

// drawSelf shows who this is.
export function drawSelf(place, stat, open) {
  const { self } = stat;
  const name = self.workload ?? self.spiffeId?.split('/').at(-1) ?? 'no identity yet';
  document.title = `${name} · hallmark`;
  text(document.getElementById('title'), name);
  const focused = place.contains(document.activeElement);
  const watch = place.querySelector('button') ?? h('button', { type: 'button', class: 'quiet', click: open }, 'Watch everything live');
  place.replaceChildren(h('div', { class: 'card self' },
    h('span', { class: 'line' }, h('span', { class: 'name' }, name), !self.spiffeId && h('span', { class: 'badge' }, 'waiting')),
    self.namespace && h('span', { class: 'place' }, self.namespace),
    self.spiffeId && h('code', { class: 'id' }, self.spiffeId),
    expiry(self, stat.time),
    attributes(self.attributes ?? []),
    watch));
  if (focused) watch.focus();
}

// expiry says how long the certificate is good for, by the proxy's clock.
function expiry({ notAfter, spiffeId }, now) {
  if (!notAfter) return spiffeId ? undefined : h('p', { class: 'soon' }, 'It has not received a certificate yet.');
  const left = (new Date(notAfter) - new Date(now)) / 1000;
  if (left <= 0) return h('p', { class: 'soon', 'data-health': 'bad' }, `Its certificate ran out at ${f.clock(notAfter)}.`);
  return h('p', { class: 'expiry', title: notAfter }, `Its certificate is good for ${f.span(left)}, until ${f.clock(notAfter)}.`);
}

// attributes lists facts, each with how far it is to be believed.
export function attributes(all) {
  if (all.length === 0) return undefined;
  return h('ul', { class: 'attributes' }, ...all.map(({ name, value, provenance }) =>
    h('li', {}, h('span', { class: 'fact' }, name, ' ', h('b', {}, value)), h('span', { class: 'badge', 'data-provenance': provenance }, provenance))));
}

// A side's rates of the last minutes, for its curve.
const past = { inbound: [], outbound: [] };
const remembered = 60;

// drawTotals shows the sums of both directions.
export function drawTotals(place, stat) {
  place.replaceChildren(...['inbound', 'outbound'].map((direction) => {
    const sums = sumsOf(stat.edges.filter((edge) => edge.direction === direction));
    past[direction] = [...past[direction], sums.rate].slice(-remembered);
    return h('div', { class: 'total', id: `total-${direction}` },
      h('h2', {}, direction === 'inbound' ? 'Coming in' : 'Going out'),
      h('dl', {},
        figure('rate', f.perSecond(sums.rate)),
        figure('success', f.percent(sums.success), health(sums.success)),
        figure('p99', f.duration(sums.p99)),
        figure('open', f.count(sums.open)),
        figure('bytes', `${f.bytes(sums.bytes)}/s`)),
      past[direction].length > 1 && curve(past[direction]));
  }));
}

function figure(name, value, state) {
  return h('div', {}, h('dt', {}, name), h('dd', { class: `figure ${name}`, 'data-health': state }, value));
}

// curve draws rates one after the other, the greatest at the top.
function curve(rates) {
  const top = Math.max(...rates, 1e-9);
  const x = (i) => (i * 120) / (rates.length - 1);
  const points = rates.map((rate, i) => `${x(i).toFixed(1)} ${(31 - (28 * rate) / top).toFixed(1)}`);
  return s('svg', { class: 'curve', viewBox: '0 0 120 32', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    s('path', { class: 'area', d: `M${x(0).toFixed(1)} 32L${points.join('L')}L120 32z` }),
    s('path', { class: 'stroke', d: `M${points.join('L')}` }));
}
