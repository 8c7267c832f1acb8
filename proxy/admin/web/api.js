// The JSON API of this port.

// stat asks who talks to whom.
export async function stat(signal) {
  const res = await fetch('/api/v1/stat', { signal, cache: 'no-store' });
  if (!res.ok) throw new Error(`the proxy answers ${res.status}: ${(await res.text()).slice(0, 200).trim()}`);
  return res.json();
}

// longest bounds a line of the stream, in characters.
const longest = 1 << 20;

// tap yields what happens, in batches, until the signal ends it.
export async function* tap(filter, signal) {
  const res = await fetch(`/api/v1/tap?${new URLSearchParams(filter)}`, { signal, cache: 'no-store' });
  if (!res.ok) throw new Error(`the proxy answers ${res.status}: ${(await res.text()).slice(0, 200).trim()}`);
  const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    if (rest.length > longest) throw new Error('a line of the stream is too long');
    const events = lines.filter((line) => line).map((line) => JSON.parse(line));
    if (events.length > 0) yield events;
  }
}
