// Virtual: of many rows of one height those that are in sight, and some before and after.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";

const SPARE = 8;

// `cursor` is kept in sight when it changes; `onNearEnd` is called when the last rows come near.
export function VirtualRows({ count, height, row, cursor = -1, onNearEnd, children }) {
  const box = useRef(null);
  const [view, setView] = useState({ first: 0, shown: 40 });
  const look = () => {
    const { scrollTop, clientHeight } = box.current;
    const first = Math.max(0, Math.floor(scrollTop / height) - SPARE);
    const shown = Math.ceil(clientHeight / height) + 2 * SPARE;
    setView((old) => (old.first === first && old.shown === shown ? old : { first, shown }));
  };
  useLayoutEffect(() => {
    look();
    const watcher = new ResizeObserver(look);
    watcher.observe(box.current);
    return () => watcher.disconnect();
  }, [height]);
  useEffect(() => {
    if (view.first + view.shown > count - 40) onNearEnd?.();
  }, [view, count]);
  useEffect(() => {
    if (cursor < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const top = cursor * height;
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) box.current.scrollTop = top + height - clientHeight;
  }, [cursor, height]);
  const last = Math.min(count, view.first + view.shown);
  const rows = [];
  for (let at = view.first; at < last; at += 1) rows.push(row(at, { transform: `translateY(${at * height}px)`, height: `${height}px` }));
  return html`<div class="virtual" ref=${box} onScroll=${look} role="presentation">
    <div class="virtual-all" role="rowgroup" style=${{ height: `${count * height}px` }}>${rows}</div>
    ${children}
  </div>`;
}
