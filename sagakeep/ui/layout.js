// Layout: where the steps of a saga stand. Columns by what they wait for, rows so that lines seldom cross. A line that
// passes a column has a place of its own in it, so that it goes behind no step.

const SWEEPS = 4;

// `steps` are {id, dependsOn}; without dependsOn a step follows the one before it. Returns {columns, rows, places, edges}:
// `places` maps an id to {column, row}; each edge is {from, to, by}, `by` the places that its line goes through.
export function layoutOf(steps) {
  const needs = needsOf(steps);
  const columns = columnsOf(steps, needs);
  const layers = [];
  for (const step of steps) (layers[columns.get(step.id)] ??= []).push({ key: step.id, before: [], after: [] });
  const nodes = new Map(layers.flat().map((node) => [node.key, node]));
  const edges = steps.flatMap((step) => needs.get(step.id).map((from) => threaded(from, step.id, columns, layers, nodes)));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    for (let at = 1; at < layers.length; at += 1) arrange(layers[at], layers[at - 1], "before");
    for (let at = layers.length - 2; at >= 0; at -= 1) arrange(layers[at], layers[at + 1], "after");
  }
  const places = new Map();
  layers.forEach((layer, column) => layer.forEach((node, row) => places.set(node.key, { column, row })));
  return {
    columns: layers.length,
    rows: Math.max(1, ...layers.map((layer) => layer.length)),
    places,
    edges: edges.map(({ from, to, by }) => ({ from, to, by: by.map((key) => places.get(key)) })),
  };
}

// Lay a line from step to step, with a node of its own in each column between.
function threaded(from, to, columns, layers, nodes) {
  const by = [];
  let last = nodes.get(from);
  for (let column = columns.get(from) + 1; column < columns.get(to); column += 1) {
    const node = { key: `${from} > ${to} in ${column}`, before: [], after: [] };
    layers[column].push(node);
    link(last, node);
    by.push(node.key);
    last = node;
  }
  link(last, nodes.get(to));
  return { from, to, by };
}

function link(from, to) {
  from.after.push(to);
  to.before.push(from);
}

function arrange(layer, beside, side) {
  const rows = new Map(beside.map((node, row) => [node, row]));
  const wished = new Map(layer.map((node, row) => [node, meanOf(node[side].map((other) => rows.get(other)).filter((one) => one !== undefined), row)]));
  layer.sort((a, b) => wished.get(a) - wished.get(b));
}

const meanOf = (values, otherwise) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : otherwise);

function needsOf(steps) {
  const known = new Set(steps.map((step) => step.id));
  return new Map(steps.map((step, at) => {
    const needs = Array.isArray(step.dependsOn) ? step.dependsOn : at ? [steps[at - 1].id] : [];
    return [step.id, [...new Set(needs)].filter((id) => known.has(id) && id !== step.id)];
  }));
}

// The longest way to a step. A draft may have a cycle: then the lines that go back are left out.
function columnsOf(steps, needs) {
  const columns = new Map();
  const walk = (id, path) => {
    if (columns.has(id)) return columns.get(id);
    path.add(id);
    const kept = needs.get(id).filter((one) => !path.has(one));
    needs.set(id, kept);
    const column = Math.max(-1, ...kept.map((one) => walk(one, path))) + 1;
    path.delete(id);
    columns.set(id, column);
    return column;
  };
  for (const step of steps) walk(step.id, new Set());
  return columns;
}
