// Virtual: of many rows of one height those that are in sight, and some before and after. What scrolls out of sight is
// drawn anew as what comes into it: the elements stay, so a row costs a few texts.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./html.js";

const SPARE = 6;

// `row(at, key, style)` draws a row; `cursor` is kept in sight when it changes; `onNearEnd` is called when the end comes near.
export function VirtualRows({ count, height, row, cursor = -1, onNearEnd }) {
  const box = useRef(null);
  const focused = useRef(-1);
  const [view, setView] = useState({ first: 0, shown: 40 });
  const look = () => {
    const { scrollTop, clientHeight } = box.current;
    const first = Math.max(0, Math.floor(scrollTop / height) - SPARE);
    const shown = Math.ceil(clientHeight / height) + 2 * SPARE;
    if (focused.current >= 0 && (focused.current < first || focused.current >= first + shown)) letGo(box.current);
    setView((old) => (old.first === first && old.shown === shown ? old : { first, shown }));
  };
  useLayoutEffect(() => {
    look();
    const watcher = new ResizeObserver(look);
    watcher.observe(box.current);
    return () => watcher.disconnect();
  }, [height]);
  useEffect(() => {
    if (view.first + view.shown > count - 100) onNearEnd?.();
  }, [view, count]);
  useEffect(() => {
    if (cursor < 0) return;
    const { scrollTop, clientHeight } = box.current;
    const top = cursor * height;
    if (top < scrollTop) box.current.scrollTop = top;
    else if (top + height > scrollTop + clientHeight) box.current.scrollTop = top + height - clientHeight;
  }, [cursor, height]);
  const onFocus = (event) => { focused.current = Number(event.target.closest("[data-at]")?.dataset.at ?? -1); };
  const last = Math.min(count, view.first + view.shown);
  const rows = [];
  for (let at = view.first; at < last; at += 1) rows.push(row(at, at % view.shown, { transform: `translateY(${at * height}px)`, height: `${height}px` }));
  rows.sort((a, b) => a.key - b.key); // elements that keep their order are not moved about in the page
  return html`<div class="virtual" ref=${box} onScroll=${look} onFocusIn=${onFocus} onFocusOut=${() => { focused.current = -1; }} role="presentation">
    <div class="virtual-all" role="rowgroup" style=${{ height: `${count * height}px` }}>${rows}</div>
  </div>`;
}

// The element with the focus is about to show another row, which nobody has chosen.
function letGo(box) {
  if (box.contains(document.activeElement)) document.activeElement.blur();
}
