// What is known of a peer, and what happens between it and this workload as it
// happens, in a drawer.

import { h } from './dom.js';
import { Live } from './live.js';
import { attributes } from './self.js';
import { drawTable } from './table.js';
import { provenances } from './model.js';

// Details is the drawer. Escape closes it, and the focus goes back to where it
// was: the dialog element sees to both.
export class Details {
  #dialog = document.getElementById('details');
  #live = null;
  #key = null;
  #openOther = null;

  constructor() {
    this.#dialog.addEventListener('close', () => this.#end());
    this.#dialog.addEventListener('click', ({ target }) => target === this.#dialog && this.#dialog.close()); // beside it
  }

  // open shows a peer, or everything for null; openOther is called with the key of
  // another one that is asked for.
  open(peer, openOther) {
    this.#end();
    this.#key = peer?.key ?? null;
    this.#openOther = openOther;
    this.#live = new Live(peer);
    const close = h('button', { type: 'button', class: 'quiet', 'aria-label': 'Close', click: () => this.#dialog.close() }, '✕');
    this.#dialog.replaceChildren(h('div', { class: 'drawer' },
      h('div', { class: 'line' }, h('h2', { id: 'details-title' }, peer ? titleOf(peer) : 'Everything, live'), close),
      peer && h('div', { class: 'known' }), this.#live.element));
    if (peer) this.update(peer);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#live.start();
  }

  // update shows what has changed of the peer that is shown.
  update(peer) {
    if (!peer || peer.key !== this.#key || !this.#live) return;
    const known = this.#dialog.querySelector('.known');
    const print = JSON.stringify([peer.spiffeId, peer.provenance, peer.attributes, peer.others]);
    if (known.dataset.print !== print) {
      known.dataset.print = print;
      known.replaceChildren(...facts(peer), edgesTable());
    }
    const section = known.querySelector('.edges');
    section.classList.toggle('several', Boolean(peer.others));
    drawTable(section, { edges: peer.edges, truncated: false }, this.#openOther);
  }

  get key() { return this.#key; }

  // sleep and wake stop and go on with the stream of a page that nobody sees.
  sleep() { this.#live?.stop(); }
  wake() { this.#live?.start(); }

  #end() {
    this.#live?.stop();
    this.#live = this.#key = null;
  }
}

const titleOf = (peer) => `${peer.direction === 'inbound' ? 'From' : 'To'} ${peer.name}${peer.place ? `, ${peer.place}` : ''}`;

function facts(peer) {
  return [
    peer.spiffeId && h('code', { class: 'id' }, peer.spiffeId),
    h('p', {}, h('span', { class: 'badge', 'data-provenance': peer.provenance }, peer.provenance), ' ',
      peer.others ? 'Several peers, each with less traffic than those of the picture.' : h('span', { class: 'meaning' }, `${provenances[peer.provenance] ?? 'that is new'}.`)),
    attributes(peer.attributes ?? []),
  ].filter((part) => part);
}

// edgesTable is the page's table, of this peer.
function edgesTable() {
  const head = document.querySelector('#table thead').cloneNode(true);
  return h('section', { class: 'edges', 'aria-label': 'Traffic' },
    h('div', { class: 'scroll', role: 'region', 'aria-label': 'Traffic', tabindex: '0' }, h('table', {}, head, h('tbody'))),
    h('p', { class: 'left-out muted', hidden: true }));
}
