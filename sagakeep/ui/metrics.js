// Metrics: reads Prometheus' text format, as far as it is shown here.

const LINE = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)$/i;
const LABEL = /([a-z_]\w*)="((?:[^"\\]|\\.)*)"/gi;

// Map of a name to its samples, {labels, value}.
export function readMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : LINE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    if (!found.has(match[1])) found.set(match[1], []);
    found.get(match[1]).push({ labels, value: Number(match[3]) });
  }
  return found;
}

export const valueOf = (metrics, name) => metrics.get(name)?.[0]?.value ?? 0;

// The value below which a share of a histogram's observations are, as exact as its buckets; NaN when there are none.
export function quantile(metrics, name, share) {
  const buckets = (metrics.get(`${name}_bucket`) ?? []).map(({ labels, value }) => ({ upTo: labels.le === "+Inf" ? Infinity : Number(labels.le), value }));
  buckets.sort((a, b) => a.upTo - b.upTo);
  const wanted = share * (buckets.at(-1)?.value ?? 0);
  if (!wanted) return NaN;
  let before = { upTo: 0, value: 0 };
  for (const bucket of buckets) {
    if (bucket.value >= wanted) {
      if (bucket.upTo === Infinity) return before.upTo;
      return before.upTo + ((wanted - before.value) / Math.max(1, bucket.value - before.value)) * (bucket.upTo - before.upTo);
    }
    before = bucket;
  }
  return before.upTo;
}
