// Store: a value that others hear of when it changes.

import { useEffect, useState } from "./html.js";

export function store(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(change) {
      value = typeof change === "function" ? change(value) : { ...value, ...change };
      for (const listener of [...listeners]) listener(value);
    },
    hear(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

export function useStore(one) {
  const [value, setValue] = useState(one.get());
  useEffect(() => {
    setValue(one.get());
    return one.hear(setValue);
  }, [one]);
  return value;
}
