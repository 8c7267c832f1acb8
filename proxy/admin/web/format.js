// Numbers for people: three figures at most, and "–" for what cannot be said.

const none = '–';

function figures(value) {
  if (value === 0) return '0';
  if (value < 0.01) return '<0.01';
  return value.toLocaleString('en', { maximumFractionDigits: value < 1 ? 2 : value < 100 ? 1 : 0 });
}

export const count = (value) => value.toLocaleString('en', value < 1e5 ? {} : { notation: 'compact', maximumFractionDigits: 1 });

export const perSecond = (value) => `${value < 1e5 ? figures(value) : count(value)}/s`;

// percent says 100% of nothing less than all.
export function percent(share) {
  if (share === null || share === undefined) return none;
  return `${(Math.floor(share * 1000) / 10).toLocaleString('en')}%`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return none;
  if (ms < 1) return `${figures(ms)} ms`;
  return ms < 1000 ? `${figures(ms)} ms` : `${figures(ms / 1000)} s`;
}

export function bytes(value) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), units.length - 1);
  return `${figures(value / 1000 ** power)} ${units[power]}`;
}

// span is how long something is, roughly.
export function span(seconds) {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 120 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const clock = (time) => new Date(time).toLocaleTimeString('en-GB');
