// Requests and connections as they happen, the newest first.

import { h, text } from './dom.js';
import { tap } from './api.js';
import { keyOf } from './model.js';
import * as f from './format.js';

// kept is how many are shown. The older ones go.
const kept = 200;

// rate is how many a second the proxy is to send at the most: nobody reads more.
const rate = 100;

// Live is a list of what happens. A peer narrows it down.
export class Live {
  #peer;
  #abort = null;
  #paused = false;
  #waiting = [];
  #shown = 0;
  #missed = 0;
  #state = h('p', { class: 'muted', role: 'status' });
  #body = h('tbody');
  #pause = h('button', { type: 'button', class: 'quiet', id: 'pause', 'aria-pressed': 'false', click: () => this.#toggle() }, 'Pause');

  constructor(peer) {
    this.#peer = peer;
    const heads = ['Time', 'What', 'Result', 'Took', 'Sent', 'Received', 'Peer'].map((name) =>
      h('th', { scope: 'col', class: ['Took', 'Sent', 'Received'].includes(name) ? 'number' : undefined }, name));
    this.element = h('section', { class: 'live', 'aria-labelledby': 'live-title' },
      h('div', { class: 'line' }, h('h3', { id: 'live-title' }, 'Live'), this.#pause),
      this.#state,
      h('div', { class: 'scroll', role: 'region', 'aria-labelledby': 'live-title', tabindex: '0' },
        h('table', {}, h('thead', {}, h('tr', {}, ...heads)), this.#body)));
  }

  // start goes on, unless the user has paused it.
  async start() {
    if (this.#abort || this.#paused) return;
    const { signal } = (this.#abort = new AbortController());
    this.#say();
    try {
      for await (const events of tap(filterOf(this.#peer), signal)) this.#take(events);
      if (!signal.aborted) this.#fail('the proxy has ended the stream');
    } catch (error) {
      if (!signal.aborted) this.#fail(error.message);
    }
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#pause.setAttribute('aria-pressed', String(this.#paused));
    text(this.#pause, this.#paused ? 'Go on' : 'Pause');
    if (this.#paused) this.stop();
    else this.start();
    this.#say();
  }

  #fail(why) {
    this.#abort = null;
    this.#paused = false;
    this.#toggle();
    text(this.#state, `It has stopped: ${why}. “Go on” tries again.`);
  }

  // take keeps the newest for the next frame: however many there are, the page is
  // drawn once a frame.
  #take(events) {
    for (const event of events) {
      if (event.kind === 'dropped') this.#missed += event.dropped;
    }
    const ours = events.filter((event) => event.source && isOf(event, this.#peer));
    if (this.#waiting.length === 0) requestAnimationFrame(() => this.#draw());
    this.#waiting = [...this.#waiting, ...ours].slice(-kept);
  }

  #draw() {
    const rows = this.#waiting.reverse().map(rowOf);
    this.#waiting = [];
    this.#shown += rows.length;
    this.#body.prepend(...rows);
    while (this.#body.children.length > kept) this.#body.lastElementChild.remove();
    this.#say();
  }

  #say() {
    const missed = this.#missed ? ` ${f.count(this.#missed)} were too many to show.` : '';
    if (this.#paused) text(this.#state, `Paused.${missed}`);
    else text(this.#state, (this.#shown === 0 ? 'Waiting for the next request or connection…' : 'The newest first.') + missed);
  }
}

// filterOf has the proxy leave out what is not of the peer, as far as it can tell.
function filterOf(peer) {
  if (!peer) return { rate };
  const who = peer.spiffeId ?? (peer.provenance === 'plaintext' && !peer.others ? 'plaintext' : undefined);
  return { direction: peer.direction, rate, ...(who && { peer: who }) };
}

// isOf reports whether an event is of the peer, who may stand for several.
function isOf(event, peer) {
  if (!peer) return true;
  const other = event.direction === 'inbound' ? event.source : event.destination;
  const key = keyOf({ direction: event.direction, peer: other, service: { host: event.service } });
  return event.direction === peer.direction && (peer.overflow || key === peer.key || peer.edges.some((edge) => keyOf(edge) === key));
}

function rowOf(event) {
  const { request, connection } = event;
  const other = event.direction === 'inbound' ? event.source : event.destination;
  const sent = request?.requestBytes ?? connection?.bytesSent ?? 0;
  const received = request?.responseBytes ?? connection?.bytesReceived ?? 0;
  return h('tr', { class: event.failed ? 'failed' : undefined, title: event.error },
    h('td', {}, f.clock(event.time)),
    h('td', { class: 'what' }, ...whatOf(event)),
    h('td', { class: 'result', 'data-health': event.failed ? 'bad' : undefined }, resultOf(event)),
    h('td', { class: 'number' }, f.duration(event.durationMs)),
    h('td', { class: 'number' }, f.bytes(sent)),
    h('td', { class: 'number' }, f.bytes(received)),
    h('td', {}, `${event.direction === 'inbound' ? 'from' : 'to'} ${other.workload ?? other.spiffeId ?? other.provenance}`));
}

function whatOf({ request, kind, protocol, connection }) {
  if (request) return [h('b', {}, request.method), ' ', h('span', { class: 'path' }, request.path)];
  return [h('b', {}, protocol || 'tcp'), ` connection ${connection?.id ?? ''} ${kind}`];
}

function resultOf({ request, outcome, kind }) {
  const parts = [request?.status || '', request?.grpcStatus !== undefined ? `grpc ${request.grpcStatus}` : ''];
  if (outcome && outcome !== 'ok') parts.push(outcome);
  return parts.filter((part) => part !== '').join(' ') || (kind === 'opened' ? 'open' : 'ok');
}
