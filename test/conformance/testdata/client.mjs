// Has a file mirrored by fetch, node:http and node:http2, in the ways that they know.
import http from 'node:http';
import http2 from 'node:http2';
import { readFileSync } from 'node:fs';

const [url, path] = process.argv.slice(2);
const content = readFileSync(path);

function check(what, got, want = content) {
  if (!Buffer.from(got).equals(want)) {
    throw new Error(`${what}: ${got.byteLength} bytes came back of ${want.length}`);
  }
}

async function all(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

check('fetch', await (await fetch(url + '/big')).arrayBuffer());
check('fetch POST', await (await fetch(url, { method: 'POST', body: content })).arrayBuffer());

const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
function one(method, target, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const req = http.request(url + target, { method, agent, headers }, (res) => all(res).then(resolve, reject));
    req.on('error', reject);
    for (let i = 0; body && i < body.length; i += 10000) req.write(body.subarray(i, i + 10000)); // in chunks
    req.end();
  });
}
await Promise.all(Array.from({ length: 20 }, async () => {
  check('http GET', await one('GET', '/big'));
  check('http POST', await one('POST', '/', content));
  check('http PUT', await one('PUT', '/', content, { 'Content-Length': content.length, Expect: '100-continue' }));
}));
agent.destroy();

// Node counts what it has yet to send, here up to 20 MB, and resets streams past 10 MB.
const session = http2.connect(url, { maxSessionMemory: 100 });
const failed = new Promise((_, reject) => session.on('error', reject));
await Promise.race([failed, Promise.all(Array.from({ length: 20 }, async () => {
  check('http2 GET', await all(session.request({ ':path': '/big' })));
  const stream = session.request({ ':path': '/', ':method': 'POST' });
  stream.end(content);
  check('http2 POST', await all(stream));
}))]);
await new Promise((resolve) => session.close(resolve));
console.log('well');
