// What the API says, as the page shows it: edges by peer.

// provenances are in order of belief, with what the legend says of each.
export const provenances = {
  attested: 'its name is signed by the CA, inside its certificate',
  verified: 'its name follows from its SPIFFE ID, which its certificate proves',
  asserted: 'its certificate proves who it is; what it is called is its own word',
  none: 'nothing names it, or it was not reached',
  plaintext: 'it came without mutual TLS: it could be anybody',
};

// most is how many peers a side of the picture has; the others are one.
export const most = 12;

// peersOf groups the edges of a direction by peer.
export function peersOf(stat, direction) {
  const peers = new Map();
  for (const edge of stat.edges) {
    if (edge.direction !== direction) continue;
    const key = keyOf(edge);
    if (!peers.has(key)) peers.set(key, { key, direction, edges: [], ...nameOf(edge), ...edge.peer, overflow: edge.overflow });
    peers.get(key).edges.push(edge);
  }
  return [...peers.values()].map((peer) => ({ ...peer, sums: sumsOf(peer.edges) }));
}

// shownOf are those of the peers that the picture shows: the busiest, by what
// happened lately, and one that stands for the others. So that they do not change
// places all the time, they stand by the magnitude of what they had in all.
export function shownOf(peers) {
  if (peers.length <= most) return peers.toSorted(byTotal);
  const all = peers.toSorted(byRecent);
  return [...all.slice(0, most - 1).sort(byTotal), othersOf(all.slice(most - 1))];
}

const byRecent = (a, b) =>
  b.sums.rate - a.sums.rate || b.sums.bytes - a.sums.bytes || b.sums.open - a.sums.open || byTotal(a, b);
const byTotal = (a, b) => magnitude(b.sums.total) - magnitude(a.sums.total) || (a.key < b.key ? -1 : 1);

// byPlace is the same of edges, those that come in first.
export const byPlace = (a, b) =>
  a.direction.localeCompare(b.direction) || magnitude(totalOf(b)) - magnitude(totalOf(a)) || (keyOf(a) < keyOf(b) ? -1 : 1);

// magnitude grows by one whenever a number doubles.
const magnitude = (total) => Math.floor(Math.log2(1 + total));

const totalOf = ({ total }) => total.requests + total.connectionsOpened;

function othersOf(peers) {
  const [{ direction }] = peers;
  const edges = peers.flatMap((peer) => peer.edges);
  const believed = Object.keys(provenances).findLast((name) => peers.some((peer) => peer.provenance === name)); // the least of them
  return {
    key: `${direction} others`, direction, others: peers.length, name: `${peers.length} others`, place: '', edges,
    provenance: believed ?? 'none', sums: sumsOf(edges),
  };
}

// keyOf tells peers apart. What has no identity is told apart by where it is.
export function keyOf({ direction, peer, service, overflow }) {
  if (overflow) return `${direction} overflow`;
  if (peer.spiffeId) return `${direction} ${peer.spiffeId}`;
  const place = direction === 'outbound' ? service.host : '';
  return [direction, peer.provenance, peer.namespace, peer.workload, place].join(' ');
}

// nameOf says what the peer of an edge is called, and where it is.
export function nameOf({ direction, peer, service, overflow }) {
  if (overflow) return { name: 'others', place: 'too many to be told apart' };
  const last = peer.spiffeId?.split('/').at(-1);
  const place = peer.namespace ?? '';
  if (peer.workload ?? last) return { name: peer.workload ?? last, place };
  if (direction === 'outbound') return { name: service.name ?? service.host ?? 'unknown', place: peer.provenance === 'none' ? 'not reached' : place };
  return { name: peer.provenance === 'plaintext' ? 'plaintext clients' : 'unknown', place };
}

// sumsOf adds up edges. Quantiles do not add up: the slowest edge's stand for all.
export function sumsOf(edges, period = 'recent') {
  const add = (pick) => edges.reduce((sum, edge) => sum + pick(edge[period], edge), 0);
  const slowest = (pick) => edges.reduce((worst, edge) => Math.max(worst ?? -1, pick(edge[period]) ?? -1), -1);
  const orNull = (value) => (value < 0 ? null : value);
  const all = add((c) => c.requests + c.connectionsOpened);
  return {
    rate: add((c) => c.requestsPerSecond + c.connectionsPerSecond),
    requests: add((c) => c.requestsPerSecond),
    connections: add((c) => c.connectionsPerSecond),
    success: all === 0 ? null : 1 - add((c) => c.requestsFailed + c.connectionsFailed) / all,
    p50: orNull(slowest((c) => c.p50Ms)),
    p95: orNull(slowest((c) => c.p95Ms)),
    p99: orNull(slowest((c) => c.p99Ms)),
    open: add((_, edge) => edge.connectionsOpen),
    sent: add((c) => c.bytesSentPerSecond),
    received: add((c) => c.bytesReceivedPerSecond),
    bytes: add((c) => c.bytesSentPerSecond + c.bytesReceivedPerSecond),
    total: edges.reduce((sum, edge) => sum + totalOf(edge), 0),
  };
}

// health is how a success rate is to be taken.
export function health(success) {
  if (success === null) return 'quiet';
  return success >= 0.999 ? 'well' : success >= 0.95 ? 'poor' : 'bad';
}
