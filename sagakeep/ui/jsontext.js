// Json text: reads JSON as a person typed it, and knows where in the text each value stands.

export class JsonFault extends Error {
  constructor(message, offset) {
    super(message);
    this.offset = offset;
  }
}

// Returns {value, places}: `places` maps the JSON Pointer of each value to its [start, end) in the text. Throws JsonFault.
export function readJson(text) {
  const places = new Map();
  let at = 0;
  const fail = (message, offset = at) => { throw new JsonFault(message, offset); };
  const space = () => {
    while (" \t\n\r".includes(text[at] ?? "x")) at += 1;
  };
  const found = () => (at >= text.length ? "the end" : JSON.stringify(text[at]));

  function string() {
    const match = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
    match.lastIndex = at;
    const hit = match.exec(text);
    if (!hit) fail("this text has no end on its line, or a character that must be escaped");
    try {
      const value = JSON.parse(hit[0]);
      at += hit[0].length;
      return value;
    } catch {
      return fail("this text has an escape that JSON does not know");
    }
  }
  function plain() {
    const match = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
    match.lastIndex = at;
    const hit = match.exec(text);
    if (!hit) fail(`a value is expected here, and there is ${found()}`);
    at += hit[0].length;
    return JSON.parse(hit[0]);
  }
  function members(pointer) {
    const object = {};
    at += 1;
    space();
    if (text[at] === "}") return close(object);
    for (;;) {
      space();
      if (text[at] !== '"') fail(`a name in quotes is expected here, and there is ${found()}`);
      const start = at;
      const name = string();
      if (Object.hasOwn(object, name)) fail(`${JSON.stringify(name)} is here twice`, start);
      space();
      if (text[at] !== ":") fail(`a colon is expected here, and there is ${found()}`);
      at += 1;
      Object.defineProperty(object, name, { value: value(`${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`), enumerable: true, configurable: true, writable: true });
      if (!goesOn("}")) return close(object);
    }
  }
  function items(pointer) {
    const list = [];
    at += 1;
    space();
    if (text[at] === "]") return close(list);
    for (;;) {
      list.push(value(`${pointer}/${list.length}`));
      if (!goesOn("]")) return close(list);
    }
  }
  function goesOn(end) {
    space();
    if (text[at] === end) return false;
    if (text[at] !== ",") fail(`a comma or ${end} is expected here, and there is ${found()}`);
    at += 1;
    return true;
  }
  function close(whole) {
    at += 1;
    return whole;
  }
  function value(pointer) {
    space();
    const start = at;
    const read = text[at] === "{" ? members(pointer) : text[at] === "[" ? items(pointer) : text[at] === '"' ? string() : plain();
    places.set(pointer, [start, at]);
    return read;
  }
  const read = value("");
  space();
  if (at < text.length) fail(`nothing is expected after the value, and there is ${found()}`);
  return { value: read, places };
}

// The place of a pointer, or of the nearest value around it.
export function placeOf(places, pointer) {
  while (!places.has(pointer) && pointer) pointer = pointer.slice(0, pointer.lastIndexOf("/"));
  return places.get(pointer) ?? [0, 0];
}

export function lineOf(text, offset) {
  const before = text.slice(0, offset).split("\n");
  return { line: before.length, column: before.at(-1).length + 1 };
}
