// What pages do with HTTP, each as a function that throws unless all went well.

export async function resources(count) {
  const loads = Array.from({ length: count }, (_, i) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => image.naturalWidth === i + 1 ? resolve() : reject(new Error(`image ${i + 1} is ${image.naturalWidth} wide`));
    image.onerror = () => reject(new Error(`image ${i + 1} did not load`));
    image.src = `/image/${i + 1}`;
  }));
  await Promise.all(loads);
  const spoken = new Set(performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol));
  return [...spoken].filter((protocol) => protocol).join(' '); // none for what its cache had
}

// Each event and each piece of a body is sent once this asks for the next one.
const next = () => fetch('/next', { method: 'POST' });

export function events(count) {
  return new Promise((resolve, reject) => {
    const source = new EventSource('/events');
    let seen = 0;
    source.onerror = () => reject(new Error(`the stream of events ended after ${seen}`));
    source.onmessage = (event) => {
      if (event.data !== `event ${seen}`) return reject(new Error(`event ${seen} is ${event.data}`));
      if (++seen < count) return next();
      source.close();
      return resolve();
    };
  });
}

export async function pieces(count) {
  const reader = (await fetch('/pieces')).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let i = 0; i < count; i++) {
    const { value } = await reader.read();
    if (value !== `piece ${i}`) throw new Error(`piece ${i} is ${value}`);
    await next();
  }
  if (!(await reader.read()).done) throw new Error('there is more');
}

// An unread download ends, here and at the application, when it is aborted.
export async function abort() {
  const controller = new AbortController();
  const res = await fetch('/endless', { signal: controller.signal });
  await res.body.getReader().read();
  controller.abort();
}

export async function download(size) {
  let got = 0;
  for await (const piece of (await fetch('/big', { cache: 'no-store' })).body) {
    if (!piece.every((byte, i) => byte === (got + i) % 251)) throw new Error(`a wrong byte after ${got}`);
    got += piece.length;
  }
  if (got !== size) throw new Error(`${got} bytes came`);
}

export async function upload(size) {
  const sent = Uint8Array.from({ length: size }, (_, i) => i % 251);
  const form = new FormData();
  form.append('file', new Blob([sent]), 'file "1" ä');
  form.append('field', 'ä\r\nb');
  const back = await (await fetch('/form', { method: 'POST', body: form })).json();
  if (back.size !== size || back.name !== 'file %221%22 ä' || back.field !== 'ä\r\nb') throw new Error(JSON.stringify(back));
  const echo = new Uint8Array(await (await fetch('/mirror', { method: 'PUT', body: sent })).arrayBuffer());
  if (echo.length !== size || !echo.every((byte, i) => byte === i % 251)) throw new Error(`${echo.length} bytes came back`);
}

// The second time the application answers 304, and the body is the browser's own.
export async function revalidate() {
  const bodies = [];
  for (let i = 0; i < 2; i++) {
    const res = await fetch('/cached', { cache: 'no-cache' });
    bodies.push(`${res.status} ${await res.text()}`);
  }
  return bodies.join(', ');
}

export function socket(size) {
  return new Promise((resolve, reject) => {
    const ws = new WebSocket(`ws://${location.host}/socket`, 'echo');
    const sent = 'w'.repeat(size);
    ws.onopen = () => ws.send(sent);
    ws.onmessage = ({ data }) => data === sent ? ws.send('leave') : reject(new Error(`${data.length} characters came back`));
    ws.onerror = () => reject(new Error('the socket failed'));
    ws.onclose = ({ code, reason }) => resolve(`${ws.protocol} ${code} ${reason}`);
  });
}

export async function statuses() {
  const got = [];
  for (const status of [204, 404, 410, 500, 503]) {
    const res = await fetch(`/status/${status}`);
    got.push(res.status);
  }
  return got.join(', ');
}
