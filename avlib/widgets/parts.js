// What the modules of all widgets share; it goes before them.
// Traits of bytes arrive as DataViews, at any offset.
const typed = (Kind, view) => new Kind(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
// A new element in `parent`.
const text = (parent, kind, words, at = {}) => Object.assign(parent.appendChild(document.createElement(kind)), { textContent: words }, at);
